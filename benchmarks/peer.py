"""A step of SDI here, and the same step in plain torch, as threestudio and nerfstudio compute it: milliseconds, ratio.

    GOMP_SPINCOUNT=20000 python benchmarks/peer.py

Both distill the same prior into a hash grid of equal size, through the same loop, on the same cameras and light; their
first renders agree. The peer encodes points as nerfstudio's HashEncoding without its CUDA extension does: every level
hashed, eight gathers for each point. It finds samples and composites them by torch on [rays, samples], has a normal
from finite differences at every sample, Adam by torch, and the network under autocast with a row for each condition.
Neither makes a gradient serve several updates in the step that is compared; a whole run of `fast`, where ours does, is
computed from the steps.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from benchmarks.timing import now
from scoredistill.camera import Cameras
from scoredistill.contracts import Frame
from scoredistill.optimize import optimize
from scoredistill.priors.network import NetworkPrior
from scoredistill.priors.toybox.views import ToyboxViewsPrior
from scoredistill.recipes.build import Parts, build
from scoredistill.recipes.fast import SHARED, UPDATES
from scoredistill.recipes.presets import PRESETS
from scoredistill.render.shading import daylight
from scoredistill.scenes.nerf import NeRF, NerfConfig
from scoredistill.scenes.nerf.occupancy import OccupancyGrid

PRIMES = 1, 2654435761, 805459861  # Mueller et al. 2022, eq. 4
CORNERS = tuple(itertools.product((0, 1), repeat=3))
WARM_UP = 3


class PlainPrior(ToyboxViewsPrior):
    """The prior as it is written: autocast, and the whole network for each condition."""

    def outputs(self, x_t: Tensor, t: Tensor, conditions: Sequence[Any]) -> Sequence[Tensor]:
        return NetworkPrior.outputs(self, x_t, t, conditions)


class PlainGrid(nn.Module):
    """Points [N 3] in [0, 1] to features [N 2 L], all levels at once (nerfstudio's HashEncoding.pytorch_fwd)."""

    scales: Tensor

    def __init__(self, levels: int, coarsest: int, finest: int, table: int):
        super().__init__()
        growth = (finest / coarsest) ** (1 / (levels - 1))
        self.register_buffer("scales", torch.floor(coarsest * growth ** torch.arange(levels)))
        self.table = nn.Parameter(1e-4 * (2 * torch.rand(levels * table, 2) - 1))
        self.size = table

    def forward(self, points: Tensor) -> Tensor:
        scaled = points[:, None] * self.scales[:, None]
        low, offset = scaled.floor(), scaled - scaled.floor()
        levels = self.size * torch.arange(len(self.scales))
        total = torch.zeros(())
        for corner in CORNERS:
            index = low.long() + torch.tensor(corner)
            hashed = index[..., 0] * PRIMES[0] ^ index[..., 1] * PRIMES[1] ^ index[..., 2] * PRIMES[2]
            weight = torch.where(torch.tensor(corner, dtype=torch.bool), offset, 1 - offset).prod(-1)
            total = total + weight[..., None] * self.table[hashed % self.size + levels]
        return total.flatten(1)


class PlainNeRF(nn.Module):
    """The scene of `fast` in plain torch: threestudio's implicit volume and its renderer, samples of a ray in a row."""

    def __init__(self, config: NerfConfig, rng: torch.Generator):
        super().__init__()
        torch.manual_seed(0)
        self.config, self.length = config, 2 * config.bounds * 3**0.5 / config.samples
        grid = config.grid
        self.encoding = PlainGrid(grid.levels, grid.coarsest, grid.finest, grid.table)
        self.density_network, self.color_network = (
            nn.Sequential(
                nn.Linear(2 * grid.levels, config.hidden, bias=False),
                nn.ReLU(),
                nn.Linear(config.hidden, outputs, bias=False),
            )
            for outputs in (1, 3)
        )
        self.grid = OccupancyGrid(
            config.occupancy, config.bounds, self.length, config.occupancy_decay, config.occupancy_threshold
        )
        self.grid.update(self.density, rng, everywhere=True)

    def features(self, points: Tensor) -> Tensor:
        return self.encoding((points / (2 * self.config.bounds) + 0.5).clamp(0, 1))

    def density(self, points: Tensor, features: Tensor | None = None) -> Tensor:
        features = self.features(points) if features is None else features
        blob = self.config.blob_strength * (1 - points.norm(dim=-1) / self.config.blob_radius)
        return nn.functional.softplus(self.density_network(features)[:, 0] + blob)

    def normal(self, points: Tensor, density: Tensor) -> Tensor:
        """-grad density by forward differences of three further points (threestudio's finite_difference)."""
        step = 1e-2
        moved = [self.density(points + step * axis) for axis in torch.eye(3)]
        slope = torch.stack([each - density for each in moved], -1) / step
        return -nn.functional.normalize(slope, dim=-1)

    def render(self, cameras: Cameras, background: Tensor, rng: torch.Generator | None = None) -> Frame:
        origins, directions = (vectors.reshape(-1, 3) for vectors in cameras.rays())
        z, inside = self.samples(origins, directions, torch.rand(len(origins), 1, generator=rng))
        points = (origins[:, None] + z[..., None] * directions[:, None])[inside]
        features = self.features(points)
        density = self.density(points, features)
        values = torch.cat([torch.sigmoid(self.color_network(features)), self.normal(points, density)], 1)
        along = torch.zeros(*z.shape).masked_scatter(inside, density)
        rows = torch.zeros(*z.shape, 6).masked_scatter(inside[..., None], values)
        alpha = 1 - torch.exp(-along * self.length)
        before = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1] + 1e-10], 1), 1)
        weight = alpha * before
        opacity, depth = weight.sum(1), (weight * z).sum(1)
        albedo, normal = (weight[..., None] * rows).sum(1).split(3, 1)
        facing = (rows[..., 3:] * directions[:, None]).sum(-1).clamp(min=0)
        light = daylight(nn.functional.normalize(normal, dim=-1, eps=1e-6), -directions)[:, None]
        rgb = albedo * light + (1 - opacity)[:, None] * background
        mean = depth / opacity.clamp(min=1e-5)
        spread = (weight * (z - mean[:, None]) ** 2).sum(1) / opacity.clamp(min=1e-5)

        def image(found: Tensor) -> Tensor:
            return found.reshape(len(cameras), cameras.height, cameras.width, -1).permute(0, 3, 1, 2)

        per_ray = {"orient": image((weight.detach() * facing**2).sum(1)), "z_variance": image(spread)}
        return Frame(image(rgb), image(opacity), image(depth), image(normal), per_ray)

    def samples(self, origins: Tensor, directions: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Distances [R S] of evenly spaced samples, and which of them lie in occupied cells."""
        bounds, cells = self.config.bounds, self.config.occupancy
        count = self.config.samples
        start = origins.norm(dim=-1, keepdim=True) - bounds * 3**0.5
        z = start + self.length * (torch.arange(count) + shift)
        cell = ((origins[:, None] + z[..., None] * directions[:, None]) / (2 * bounds) + 0.5) * cells
        within = ((cell >= 0) & (cell < cells)).all(-1)
        x, y, depth = cell.long().clamp(0, cells - 1).unbind(-1)
        return z, within & self.grid.occupied()[x, y, depth]

    regularizer = NeRF.regularizer  # in plain torch, and of the configuration alone

    def refine(self, step: int, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        if (step + 1) % 16 == 0:
            self.grid.update(self.density, rng, everywhere=step < 256)

    def optimizer(self) -> torch.optim.Optimizer:
        networks = [*self.density_network.parameters(), *self.color_network.parameters()]
        groups = [
            {"params": [self.encoding.table], "lr": self.config.lr_grid},
            {"params": networks, "lr": self.config.lr_mlp},
        ]
        return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)


def milliseconds(parts: Parts, scene: Any, prior: Any, updates: int, steps: int) -> float:
    """Milliseconds of a step that updates the scene `updates` times, after a warm-up."""
    recipe, began = parts.recipe, 0.0
    loop = optimize(
        scene,
        prior,
        parts.method,
        parts.views,
        parts.prompt,
        steps=UPDATES // updates,
        batch=recipe.training.batch,
        updates=updates,
        background=parts.background,
    )
    for step in itertools.islice(loop, WARM_UP + steps):
        if step.index + 1 == WARM_UP:
            began = now()
    return 1e3 * (now() - began) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="sdi")
    parser.add_argument("--steps", type=int, default=20, help="counted steps, after the first few")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results") / "peer.json")
    flags = parser.parse_args()
    recipe = PRESETS["fast"]("a purple snowman", method=flags.method, scene="nerf", prior="toybox-mv")
    parts, plain = build(recipe), PlainPrior.load(ToyboxViewsPrior.weights)
    scene = PlainNeRF(recipe.scene, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    cameras, background = parts.views(0.0, recipe.training.batch, torch.Generator().manual_seed(0)), parts.background
    with torch.no_grad():
        pictures = [each.render(cameras, background).rgb for each in (scene, parts.scene)]
    found = {
        "peer": milliseconds(parts, scene, plain, 1, flags.steps),
        "ours": milliseconds(parts, build(recipe).scene, parts.prior, 1, flags.steps),
        "ours, three updates": milliseconds(parts, build(recipe).scene, parts.prior, SHARED, flags.steps),
    }
    runs = {"peer": UPDATES * found["peer"], "ours": UPDATES / SHARED * found["ours, three updates"]}
    record = {
        "method": flags.method,
        "milliseconds of a step": found,
        "ratio of a step": found["peer"] / found["ours"],
        "seconds of a run": {name: each / 1e3 for name, each in runs.items()},
        "ratio of a run": runs["peer"] / runs["ours"],
        "difference of the first renders": float((pictures[0] - pictures[1]).abs().mean()),
        "threads": torch.get_num_threads(),
    }
    flags.out.write_text(json.dumps(record | provenance(), indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
