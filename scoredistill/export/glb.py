"""Meshes as binary glTF 2.0 (.glb), which all common viewers and engines open.

This exporter exists because general ones store vertex colors in eight bits, too coarse for the linear light that glTF
requires: the darkest tones on a display would be wrong by six of its 255 steps.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from scoredistill.export.images import png
from scoredistill.export.mesh import Mesh
from scoredistill.files import write_safely

FLOAT, UINT32 = 5126, 5125  # glTF component types
VERTICES, INDICES = 34962, 34963  # glTF buffer targets
CLAMP, LINEAR, MIPMAPS = 33071, 9729, 9987  # glTF modes of texture wrapping, magnification and minification
SMOOTH = {"wrapS": CLAMP, "wrapT": CLAMP, "magFilter": LINEAR, "minFilter": MIPMAPS}
ROUGHNESS = 0.9  # the scenes are shaded without highlights: nearly matte


def linear(srgb: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """sRGB values in [0, 1] to linear light (IEC 61966-2-1), as glTF defines COLOR_0."""
    return (srgb / 12.92).where(srgb <= 0.04045, ((srgb + 0.055) / 1.055) ** 2.4)


def write_glb(mesh: Mesh, path: Path, *, name: str = "mesh", extras: Mapping[str, Any] | None = None) -> None:
    """Write `mesh` with normals, its texture or else linear vertex colors, and one matte double-sided material.

    `extras` (JSON values) record its origin. The world frame equals that of glTF (y up, front +z), so coordinates are
    stored unchanged. OSError if the file cannot be written.
    """
    paint = {"COLOR_0": linear(mesh.colors)} if mesh.uv is None else {"TEXCOORD_0": mesh.uv}
    vertices = {"POSITION": mesh.vertices, "NORMAL": mesh.normals} | paint
    arrays = {key: values.numpy().astype("<f4") for key, values in vertices.items()}
    arrays["indices"] = mesh.faces.numpy().astype("<u4").reshape(-1)
    image = b"" if mesh.texture is None else png(mesh.texture)
    content = _content(arrays, len(image), name, dict(extras or {}))
    write_safely(path, pack(content, [*arrays.values(), np.frombuffer(image, np.uint8)]))


def pack(content: Mapping[str, Any], arrays: Iterable[np.ndarray]) -> bytes:
    """A GLB file from its JSON and its one buffer; all arrays but the last have 4-byte values, so they are aligned."""
    header = json.dumps(content, allow_nan=False).encode()
    blob = b"".join(array.tobytes() for array in arrays)
    chunks = _chunk(b"JSON", header + b" " * (-len(header) % 4)) + _chunk(b"BIN\0", blob + bytes(-len(blob) % 4))
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("<I4s", len(data), kind) + data


def _content(arrays: Mapping[str, np.ndarray], image: int, name: str, extras: dict[str, Any]) -> dict[str, Any]:
    """The JSON part: a node, a mesh, an accessor and a buffer view per array, and a view of a PNG of `image` bytes."""
    views: list[dict[str, int]] = []
    accessors, start = [], 0
    for key, array in arrays.items():
        indices = key == "indices"
        accessor = {"count": len(array), "componentType": UINT32 if indices else FLOAT}
        accessor |= {"bufferView": len(views), "type": "SCALAR" if indices else f"VEC{array.shape[1]}"}
        if key == "POSITION":
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        accessors.append(accessor)
        target = INDICES if indices else VERTICES
        views.append({"buffer": 0, "byteOffset": start, "byteLength": array.nbytes, "target": target})
        start += array.nbytes
    attributes = {key: index for index, key in enumerate(arrays) if key != "indices"}
    primitive = {"attributes": attributes, "indices": len(attributes), "material": 0}
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": ROUGHNESS}
    texture = {}
    if image:
        surface["baseColorTexture"] = {"index": 0}
        texture["images"] = [{"bufferView": len(views), "mimeType": "image/png"}]
        texture |= {"samplers": [SMOOTH], "textures": [{"sampler": 0, "source": 0}]}
        views.append({"buffer": 0, "byteOffset": start, "byteLength": image})
    return {
        "asset": {"version": "2.0", "generator": "scoredistill", "extras": extras},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [{"name": name, "primitives": [primitive]}],
        "materials": [{"name": "surface", "doubleSided": True, "pbrMetallicRoughness": surface}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": start + image}],
        **texture,
    }
