"""Meshes as binary glTF 2.0 (.glb), which every viewer and engine opens.

Written by hand because general exporters store vertex colors in eight bits, too coarse for the linear light
that glTF asks for: the darkest tones of a display would be off by six of its 255 steps.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from scoredistill.export.mesh import Mesh

FLOAT, UINT32 = 5126, 5125  # glTF component types
VERTICES, INDICES = 34962, 34963  # glTF buffer targets
ROUGHNESS = 0.9  # the scenes are shaded without highlights: nearly matte


def linear(srgb: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Display values in [0, 1] to linear light (IEC 61966-2-1): what glTF's COLOR_0 means."""
    return (srgb / 12.92).where(srgb <= 0.04045, ((srgb + 0.055) / 1.055) ** 2.4)


def write_glb(mesh: Mesh, path: Path, *, name: str = "mesh", extras: Mapping[str, Any] | None = None) -> None:
    """Write `mesh` with normals, linear vertex colors and one matte double-sided material.

    `extras` (JSON values) say where it comes from. The world's frame is glTF's own (y up, the front faces
    +z), so coordinates are stored as they are. OSError where the file cannot be written.
    """
    arrays = {
        "POSITION": mesh.vertices.numpy().astype("<f4"),
        "NORMAL": mesh.normals.numpy().astype("<f4"),
        "COLOR_0": linear(mesh.colors).numpy().astype("<f4"),
        "indices": mesh.faces.numpy().astype("<u4").reshape(-1),
    }
    content = json.dumps(_content(arrays, name, dict(extras or {})), allow_nan=False).encode()
    blob = b"".join(array.tobytes() for array in arrays.values())  # 4-byte values: aligned as glTF wants
    chunks = _chunk(b"JSON", content + b" " * (-len(content) % 4)) + _chunk(b"BIN\0", blob)
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("<I4s", len(data), kind) + data


def _content(arrays: Mapping[str, np.ndarray], name: str, extras: dict[str, Any]) -> dict[str, Any]:
    """The JSON part of the file: one node, one mesh, one accessor and one buffer view per array."""
    views, accessors, start = [], [], 0
    for key, array in arrays.items():
        indices = key == "indices"
        accessor = {"count": len(array), "componentType": UINT32 if indices else FLOAT}
        accessor |= {"bufferView": len(views), "type": "SCALAR" if indices else "VEC3"}
        if key == "POSITION":
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        accessors.append(accessor)
        target = INDICES if indices else VERTICES
        views.append({"buffer": 0, "byteOffset": start, "byteLength": array.nbytes, "target": target})
        start += array.nbytes
    attributes = {key: index for index, key in enumerate(arrays) if key != "indices"}
    primitive = {"attributes": attributes, "indices": len(attributes), "material": 0}
    surface = {"metallicFactor": 0.0, "roughnessFactor": ROUGHNESS}
    return {
        "asset": {"version": "2.0", "generator": "scoredistill", "extras": extras},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [{"name": name, "primitives": [primitive]}],
        "materials": [{"name": "surface", "doubleSided": True, "pbrMetallicRoughness": surface}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": start}],
    }
