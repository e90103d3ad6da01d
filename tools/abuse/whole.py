"""Whether the finished files of a folder are whole: none half-written, none left over."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

UNFINISHED = re.compile(r"\.part\b")


def broken(folder: Path) -> list[str]:
    """The finished files that are not whole, by name."""
    checks = {
        "mesh.glb": _glb,
        "preview.png": _png,
        "turntable.mp4": _video,
        "metrics.json": lambda path: bool(json.loads(path.read_bytes())),
        "index.html": lambda path: path.read_bytes().rstrip().endswith(b"</html>"),
        "config.yaml": lambda path: path.stat().st_size > 0,
    }
    found = [name for name, check in checks.items() if (folder / name).exists() and not _holds(check, folder / name)]
    traces = [path for path in sorted(folder.glob("trace/*.png")) if not UNFINISHED.search(path.name)]
    return found + [f"trace/{path.name}" for path in traces if not _holds(_png, path)]


def unfinished(folder: Path) -> list[str]:
    """Temporary files, which a finished run does not leave."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if UNFINISHED.search(path.name))


def _holds(check: object, path: Path) -> bool:
    try:
        return bool(check(path))  # type: ignore[operator]
    except (OSError, ValueError, SyntaxError, struct.error):
        return False


def _glb(path: Path) -> bool:
    content = path.read_bytes()
    return content[:4] == b"glTF" and struct.unpack("<I", content[8:12])[0] == len(content)


def _png(path: Path) -> bool:
    return path.read_bytes().endswith(b"IEND\xaeB`\x82")


def _video(path: Path) -> bool:
    """Whether the boxes of an MP4 fill it, the index among them."""
    content, at, kinds = path.read_bytes(), 0, set()
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        kinds.add(kind)
        if size < 8:
            return False
        at += size
    return at == len(content) and b"moov" in kinds
