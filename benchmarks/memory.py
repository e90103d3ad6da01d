"""GPU memory of a text-to-3D step, counted without a GPU: gigabytes of tensors, by part and by preset.

    python benchmarks/memory.py

The denoiser and the autoencoder of Stable Diffusion 2.1 run at full size on fake tensors; the field runs at a few
thousand rays and its memory is extrapolated linearly, with its small networks in torch, as on a GPU. For a second,
smaller field, rendering in one pass and in tiles is compared at 256 x 256 pixels.
"""

from __future__ import annotations

import argparse
import json
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, UntypedStorage, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from benchmarks.shapes import TOKENS, UNET, networks
from scoredistill.evaluate.report import markdown
from scoredistill.kernels import perceptron
from scoredistill.priors.diffusers.latents import Latents
from scoredistill.recipes.presets import PRESETS
from scoredistill.recipes.recipe import Recipe
from scoredistill.scenes.nerf import NeRF, NerfConfig

SIZE, LATENT = 512, 64
ROWS = 4  # batch rows of the denoiser, with Perp-Neg
KINDS = {"finite": {"normals": "finite"}, "analytic": {"normals": "analytic", "normals_at": "samples"}}


class Peak(TorchDispatchMode):
    """`bytes` is the largest total size, at one time, of the tensors created while the mode is active.

    Counts storages of the requested sizes; the reserve of an allocator and temporary memory inside operations are not
    included.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.bytes = 0
        self.alive: set[int] = set()

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        given = {id(storage) for storage in _storages((args, kwargs))}
        for storage in _storages(result):
            if id(storage) not in given | self.alive:
                self.alive.add(id(storage))
                self.live += storage.nbytes()
                weakref.finalize(storage, self._gone, id(storage), storage.nbytes())
        self.bytes = max(self.bytes, self.live)
        return result

    def _gone(self, name: int, size: int) -> None:
        self.alive.discard(name)
        self.live -= size


def _storages(values: Any) -> list[UntypedStorage]:
    return [value.untyped_storage() for value in tree_leaves(values) if isinstance(value, Tensor)]


def resident(net: nn.Module) -> int:
    """Bytes of a network's parameters and buffers."""
    return sum(tensor.nbytes for tensor in [*net.parameters(), *net.buffers()])


def published() -> dict[str, float]:
    """Gigabytes of Stable Diffusion 2.1 in half precision at 512 x 512: weights, denoiser, autoencoder."""
    half = torch.bfloat16
    with FakeTensorMode(allow_non_fake_inputs=True):
        net, vae = networks("cpu", half)
        tokens = torch.empty(ROWS, TOKENS, UNET["cross_attention_dim"], dtype=half)
        with Peak() as denoiser, torch.no_grad():
            net(torch.empty(ROWS, 4, LATENT, LATENT, dtype=half), torch.zeros(ROWS), tokens)
        rgb = torch.empty(1, 3, SIZE, SIZE, requires_grad=True)
        with Peak() as autoencoder:
            Latents(vae, SIZE).encode(rgb).sum().backward()
    weights = resident(net) + resident(vae)
    found = {"weights": weights, f"denoiser, {ROWS} rows": denoiser.bytes, "autoencoder": autoencoder.bytes}
    return {name: size / 1e9 for name, size in found.items()}


def render(nerf: NeRF, recipe: Recipe, size: int) -> int:
    """Bytes of one training render and its gradient."""
    cameras = recipe.views.cameras(1, torch.Generator().manual_seed(3), resolution=size)
    with Peak() as peak:
        frame = nerf.render(cameras, torch.ones(3), torch.Generator().manual_seed(1))
        (frame.rgb.square().mean() + nerf.regularizer(frame, cameras, 0.5)).backward()
    nerf.zero_grad()
    return peak.bytes


def late(settings: NerfConfig, tile: int) -> NeRF:
    """A field in its state late in a run: all levels are active, it is shaded at every step."""
    light = replace(settings.lambert, after=0, albedo_share=0.0)
    settings = replace(settings, first_levels=settings.grid.levels, lambert=light, tile=tile)
    return NeRF(settings, torch.Generator().manual_seed(0))


def nerf_of(recipe: Recipe) -> NerfConfig:
    """The NeRF of a recipe that has one."""
    assert isinstance(recipe.scene, NerfConfig)
    return recipe.scene


def growth(nerf: NeRF, recipe: Recipe, small: int) -> tuple[float, float]:
    """Bytes per pixel of a render, and bytes independent of the number of pixels."""
    least, most = (render(nerf, recipe, side) for side in (small, 2 * small))
    pixel = (most - least) / (3 * small**2)
    return pixel, least - pixel * small**2


def budgets(small: int) -> list[dict[str, Any]]:
    """Gigabytes of each preset at 512 x 512, from renders of at most 2 x `small` pixels per side."""
    paper = PRESETS["paper"]()
    nerf = late(nerf_of(paper), 0)
    ray, rest = growth(nerf, paper, small)
    pixel, _ = growth(late(nerf_of(paper), 64), paper, small // 2)
    state = 3 * resident(nerf)  # with the state of Adam; gradients are in `rest`
    parts = published()
    rows = []
    for name in ("paper without tiles", "paper", "low-vram"):
        tile = SIZE**2 if name not in PRESETS else nerf_of(PRESETS[name]()).tile or SIZE**2
        own = {"tile": tile, "field": (state + rest + ray * tile + pixel * SIZE**2) / 1e9}
        total = parts["weights"] + own["field"] + max(parts[f"denoiser, {ROWS} rows"], parts["autoencoder"])
        rows.append({"preset": name} | own | parts | {"in all": total})
    return rows


def one_pass_and_tiles(size: int, tile: int) -> list[dict[str, Any]]:
    """Megabytes of a step of the preset `fast`, with both kinds of normals."""
    fast, rows = PRESETS["fast"](), []
    for name, normals in KINDS.items():
        settings = replace(nerf_of(fast), **normals)
        one, tiled = (render(late(settings, rays), fast, size) / 1e6 for rays in (0, tile))
        found = {"one pass": one, "tiles": tiled, "ratio": tiled / one}
        rows.append({"normals": name, "pixels": size, "tile": tile} | found)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--small", type=int, default=32, help="resolution in pixels at which the field is measured, and twice that"
    )
    parser.add_argument(
        "--size", type=int, default=256, help="resolution in pixels at which tiles are compared with one pass"
    )
    parser.add_argument("--tile", type=int, default=4096)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory.json"))
    flags = parser.parse_args()
    tiles = one_pass_and_tiles(flags.size, flags.tile)
    with patch.object(perceptron, "uses_warp", lambda *_: False):
        presets = budgets(flags.small)
    flags.out.write_text(json.dumps({"megabytes": tiles, "gigabytes": presets} | provenance(), indent=2) + "\n")
    print(markdown(tiles), markdown(presets), sep="\n\n")


if __name__ == "__main__":
    main()
