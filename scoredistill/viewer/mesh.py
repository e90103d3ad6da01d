"""mesh.glb for the browser, which must not fetch anything on behalf of a file that somebody sent."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from scoredistill.files import read_limited

LARGEST = 1 << 28  # bytes of a mesh that is sent

log = logging.getLogger(__name__)


def read_mesh(path: Path) -> bytes | None:
    """The bytes of a GLB that contains all of itself; None, with a warning, for anything else."""
    try:
        content = read_limited(path, LARGEST)
        if content[:4] != b"glTF":
            raise ValueError(f"{path} is not a GLB file")
        about = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
        linked = [part for kind in ("buffers", "images") for part in about.get(kind, ()) if "uri" in part]
        if linked or about.get("extensionsUsed"):  # decoders of extensions are fetched from the net
            raise ValueError(f"{path} refers to other files or extensions of glTF")
    except (ValueError, OSError, AttributeError, TypeError, RecursionError) as error:
        log.warning("the mesh is not shown: %s", error)
        return None
    return content
