"""Splats as binary glTF (.glb) by the extension KHR_gaussian_splatting, in its ratified form ("Complete").

N splats   POINTS with POSITION and, each prefixed with the extension's name: ROTATION (unit, x y z w), SCALE (standard
deviations, linear and not negative), OPACITY in [0, 1], SH_DEGREE_l_COEF_n (RGB); the frame of glTF is our world frame.

Drafts stored SCALE as a logarithm. Viewers without the extension show points in COLOR_0, linear as all colors in glTF.
The glTF validator (2.0.0-dev.3.10) supports core names only: it reports the extension as unknown and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scoredistill.contracts import Gaussians
from scoredistill.export.glb import FLOAT, VERTICES, linear, pack
from scoredistill.files import write_safely

NAME = "KHR_gaussian_splatting"
POINTS = 0  # primitive mode of glTF
TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}
DIRECT = 0.5 / math.sqrt(math.pi)  # the spherical harmonic of degree 0


@torch.no_grad()
def write_splat_glb(splats: Gaussians, path: Path, *, name: str = "splats") -> None:
    """Write splats with the kernel "ellipse" in display-referred sRGB; OSError if the file cannot be written.

    The extension cuts a splat at three standard deviations and sorts by distance; our renderer cuts it where its
    opacity falls below 1/255 and sorts by depth.
    """
    arrays = {key: np.ascontiguousarray(value.cpu().float().numpy()) for key, value in _attributes(splats).items()}
    write_safely(path, pack(_content(arrays, name), arrays.values()))


def _attributes(splats: Gaussians) -> dict[str, torch.Tensor]:
    w, x, y, z = torch.nn.functional.normalize(splats.rotations, dim=-1).unbind(-1)
    rgb = linear((0.5 + DIRECT * splats.harmonics[:, 0]).clamp(0, 1))
    attributes = {
        "POSITION": splats.means,
        "COLOR_0": torch.cat([rgb, splats.opacities[:, None]], 1),
        f"{NAME}:ROTATION": torch.stack([x, y, z, w], -1),
        f"{NAME}:SCALE": splats.stds,
        f"{NAME}:OPACITY": splats.opacities[:, None],
    }
    for index in range(splats.harmonics.shape[1]):
        degree = math.isqrt(index)
        attributes[f"{NAME}:SH_DEGREE_{degree}_COEF_{index - degree**2}"] = splats.harmonics[:, index]
    return attributes


def _content(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    views, accessors, start = [], [], 0
    for key, array in arrays.items():
        accessor: dict[str, Any] = {"bufferView": len(views), "componentType": FLOAT, "count": len(array)}
        accessor["type"] = TYPES[array.shape[1]]
        if key == "POSITION":
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        accessors.append(accessor)
        views.append({"buffer": 0, "byteOffset": start, "byteLength": array.nbytes, "target": VERTICES})
        start += array.nbytes
    extension = {
        "kernel": "ellipse",
        "colorSpace": "srgb_rec709_display",
        "projection": "perspective",
        "sortingMethod": "cameraDistance",
    }
    attributes = {key: index for index, key in enumerate(arrays)}
    primitive = {"mode": POINTS, "attributes": attributes, "extensions": {NAME: extension}}
    return {
        "asset": {"version": "2.0", "generator": "scoredistill"},
        "extensionsUsed": [NAME],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [{"name": name, "primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": start}],
    }
