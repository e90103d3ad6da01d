"""Fast kernels compared with their torch references, and the parts of a NeRF step: times, ratios, floors, peak memory.

    GOMP_SPINCOUNT=20000 python benchmarks/kernels.py                       the value that `import scoredistill` sets
    python benchmarks/kernels.py --points 16384 --size 16 --repeats 3      a small test

Times are the best of --repeats, after a warm-up that compiles. The floor is the larger of two times: the time to move
the required bytes at the measured rate of a copy, and the time of the multiplications at the measured rate of a matrix
product. Public implementations are measured if they can be imported: the hash grid of nerfstudio runs on a CPU (pip
install --no-deps nerfstudio==1.1.5, and the packages that its import requires); nerfacc 0.5.3 does not: its packed sums
raise "Only support cuda inputs", its marching requires CUDA_HOME. Writes
benchmarks/results/kernels.json and kernels.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from benchmarks.timing import CLOCKS, now, seconds
from scoredistill.camera import ring
from scoredistill.evaluate.report import markdown
from scoredistill.kernels import backend
from scoredistill.kernels.composite import composite
from scoredistill.kernels.hashgrid import GridLayout, encode, input_gradient
from scoredistill.kernels.march import Samples, march
from scoredistill.kernels.perceptron import perceptron
from scoredistill.recipes.fast import NERF, NERF_LOSSES
from scoredistill.scenes.nerf import NeRF
from scoredistill.views import OrbitConfig

RESULTS = Path(__file__).with_name("results")
GRIDS = {
    "hash grid 8 x 2^16": GridLayout(levels=8, coarsest=16, finest=256, table=2**16),
    "hash grid 16 x 2^19": GridLayout(levels=16, coarsest=16, finest=2048, table=2**19),
}
VIEWS = 4
STEP = 2 * 3**0.5 / 96  # step length of the fast preset
Work = Callable[[], object]
Layouts = dict[str, Tensor]


class Bench:
    """Measures times with one clock; first measures the copy and multiplication rates of the machine."""

    def __init__(self, clock: str, repeats: int) -> None:
        self.clock, self.repeats = clock, repeats
        source, target = torch.rand(2**25), torch.empty(2**25)  # 128 MB: larger than any cache
        self.bandwidth = 2 * source.nbytes / self.seconds(lambda: target.copy_(source))
        matrix = torch.rand(1024, 1024)
        self.products = 1024**3 / self.seconds(lambda: matrix @ matrix)

    def seconds(self, work: Work) -> float:
        """The best of several repeats, after a warm-up."""
        return min(seconds(work, self.repeats, self.clock))

    def row(self, name: str, work: Work, moved: float, products: float) -> dict[str, str | float]:
        """Times of both backends in milliseconds, and the floor for `moved` bytes and `products` multiplications."""
        found = {}
        for choice in ("torch", "warp"):
            with backend.using(choice):
                found[choice] = 1e3 * self.seconds(work)
        floor = 1e3 * max(moved / self.bandwidth, products / self.products)
        ratio = found["torch"] / found["warp"]
        return {"kernel": name, **found, "ratio": ratio, "floor": floor, "over floor": found["warp"] / floor}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layouts(features: Tensor) -> Layouts:
    """The same features [N K] in the memory layout of each backend: by rows in torch, by columns in warp."""
    return {"torch": features, "warp": features.T.contiguous().T}


def hash_grids(bench: Bench, points: int) -> list[dict[str, str | float]]:
    """Encoding of uniformly random points, its gradient to the table, and the input gradient of analytic normals."""
    rows = []
    for name, layout in GRIDS.items():
        x = torch.rand(points, 3, generator=rng())
        table = torch.rand(sum(layout.sizes), 2, generator=rng(1)).requires_grad_()
        grads = layouts(torch.randn(points, layout.width, generator=rng(2)))

        def work(x: Tensor = x, table: Tensor = table, grads: Layouts = grads, layout: GridLayout = layout) -> object:
            return torch.autograd.grad(encode(x, table, layout, layout.levels), table, grads[backend.choice()])

        def forward(x: Tensor = x, table: Tensor = table, layout: GridLayout = layout) -> Tensor:
            return encode(x, table.detach(), layout, layout.levels)

        def differentiated(
            x: Tensor = x, table: Tensor = table, grads: Layouts = grads, layout: GridLayout = layout
        ) -> object:
            found = input_gradient(x, table, grads[backend.choice()], layout, layout.levels)
            return torch.autograd.grad(found.square().sum(), table)

        products = points * layout.levels * 7 * 2  # seven interpolations of two features
        moved = 2 * x.nbytes + 2 * grads["torch"].nbytes + 3 * table.nbytes  # the gradient is zeroed, read and written
        rows.append(bench.row(f"{name}, forward + backward", work, moved, 2 * products))
        rows.append(bench.row(f"{name}, forward", forward, x.nbytes + grads["torch"].nbytes + table.nbytes, products))
        rows.append(bench.row(f"{name}, input gradient and its gradient", differentiated, moved, 6 * products))
    return rows


def scene_rays(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rays of four views, and the occupied cells of a ball of radius 0.8."""
    origins, directions = (vectors.reshape(-1, 3).contiguous() for vectors in ring(VIEWS, size).rays())
    axis = (torch.arange(32) + 0.5) / 16 - 1
    return origins, directions, axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2 < 0.8**2


def along_rays(bench: Bench, size: int) -> list[dict[str, str | float]]:
    """Marching through the grid; compositing of the samples, forward and backward; both together."""
    origins, directions, occupied = scene_rays(size)
    shift = torch.rand(len(origins), generator=rng())
    samples = march(origins, directions, occupied, 1.0, STEP, shift)
    density = (3 * torch.rand(len(samples), generator=rng(1))).requires_grad_()
    albedo = torch.rand(len(samples), 3, generator=rng(2)).requires_grad_()
    visits = march(origins, directions, torch.ones_like(occupied), 1.0, STEP, shift)

    def marched() -> Samples:
        return march(origins, directions, occupied, 1.0, STEP, shift)

    def composited() -> object:
        result = composite(density, albedo, samples, len(origins))
        loss = result.albedo.sum() + result.opacity.sum() + result.depth.sum() + result.z_variance.sum()
        return torch.autograd.grad(loss, (density, albedo))

    sample_bytes = samples.ray.nbytes + samples.z.nbytes + samples.dz.nbytes
    floors = {
        "marching": (2 * origins.nbytes + sample_bytes, 12 * len(visits)),
        "compositing": (2 * sample_bytes + 3 * (density.nbytes + albedo.nbytes), 24 * len(samples)),
    }
    both = [sum(pair) for pair in zip(*floors.values(), strict=True)]
    return [
        bench.row("ray marching", marched, *floors["marching"]),
        bench.row("compositing, forward + backward", composited, *floors["compositing"]),
        bench.row("marching and compositing", lambda: (marched(), composited()), *both),
    ]


def networks(bench: Bench, points: int) -> list[dict[str, str | float]]:
    """The density network of the fast preset, forward and backward."""
    x, first, second = (
        torch.randn(*shape, generator=rng(i)) for i, shape in enumerate([(points, 12), (32, 12), (1, 32)])
    )
    inputs = {
        name: [x.requires_grad_(), first.requires_grad_(), second.requires_grad_()] for name, x in layouts(x).items()
    }
    grad = torch.randn(points, 1, generator=rng(3))

    def work() -> object:
        leaves = inputs[backend.choice()]
        return torch.autograd.grad(perceptron(*leaves), leaves, grad)

    products = points * 32 * (4 * 12 + 3)  # forward pass, its recomputation, and two gradients
    return [bench.row("perceptron 12-32-1, forward + backward", work, 3 * x.nbytes + 2 * grad.nbytes, products)]


def public(bench: Bench, points: int) -> dict[str, float]:
    """Milliseconds of importable public hash grids, forward + backward, at the first size."""
    if importlib.util.find_spec("nerfstudio") is None:
        return {}
    from nerfstudio.field_components.encodings import HashEncoding  # type: ignore[import-not-found] (optional)

    sizes = {"num_levels": 8, "min_res": 16, "max_res": 256, "log2_hashmap_size": 16, "features_per_level": 2}
    encoding = HashEncoding(**sizes, implementation="torch")
    x, grad = torch.rand(points, 3, generator=rng()), torch.randn(points, 16, generator=rng(2))
    return {"nerfstudio 1.1.5, torch": 1e3 * bench.seconds(lambda: encoding(x).backward(grad))}


def nerf_step(bench: Bench, size: int, choice: str) -> dict[str, str | float]:
    """Milliseconds of the parts of a step of the fast preset, and its peak memory in MB."""
    settings = replace(NERF, regularizers=NERF_LOSSES)
    scene, random = NeRF(settings, rng()), rng(1)
    cameras = OrbitConfig().cameras(VIEWS, random, resolution=size)
    optimizer = torch.optim.Adam(scene.param_groups())
    weights = torch.linspace(-1, 1, VIEWS * 3 * size**2).view(VIEWS, 3, size, size) / size**2
    parts: dict[str, list[float]] = {}

    def step() -> None:
        times = [now(bench.clock)]

        def done(part: str) -> None:
            times.append(now(bench.clock))
            parts.setdefault(part, []).append(1e3 * (times[-1] - times[-2]))

        frame = scene.render(cameras, torch.ones(3), random)
        done("render")
        loss = (frame.rgb * weights).sum() + scene.regularizer(frame, cameras, 0.5)
        done("regularizers")
        optimizer.zero_grad()
        loss.backward()
        done("backward")
        optimizer.step()
        done("Adam")

    with backend.using(choice):
        for _ in range(bench.repeats + 1):
            step()
        visit = bench.seconds(lambda: scene.grid.update(scene.field.density, random, everywhere=True))
        best = {part: min(times[1:]) for part, times in parts.items()}
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            step()
    row = {"backend": choice, **best, "step": sum(best.values()), "occupancy visit": 1e3 * visit}
    return row | {"peak MB": peak(profiled) / 1e6}


def peak(profiled: profile) -> float:
    """The largest number of bytes allocated at one time, above those at the start."""
    assert profiled.profiler is not None
    assert profiled.profiler.kineto_results is not None
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    current = largest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        current += event.nbytes()  # type: ignore[attr-defined] (its stub lacks it)
        largest = max(largest, current)
    return largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=262_144, help="points of the hash grid and the perceptron")
    parser.add_argument("--size", type=int, default=64, help="resolution of each of the four views in pixels")
    parser.add_argument("--repeats", type=int, default=7, help="repeats, of which the best counts")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--out", type=Path, default=RESULTS / "kernels")
    flags = parser.parse_args()
    bench = Bench(flags.clock, flags.repeats)
    kernels = [*hash_grids(bench, flags.points), *along_rays(bench, flags.size), *networks(bench, flags.points)]
    steps = [nerf_step(bench, flags.size, choice) for choice in ("torch", "warp")]
    rates = {"copy GB/s": bench.bandwidth / 1e9, "products G/s": bench.products / 1e9}
    about = {**provenance(), "threads": torch.get_num_threads(), "clock": flags.clock, **rates}
    others = public(bench, flags.points)
    found = {"about": about, "kernels": kernels, "public": others, "step": steps}
    flags.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    sections = [
        "# Kernels\n\nMilliseconds, best of several; see `benchmarks/kernels.py`.\n",
        "\n".join(f"- {name}: {value}" for name, value in about.items()) + "\n",
        markdown(kernels),
        "Public implementations of the first row: "
        + (", ".join(f"{name}: {value:.0f} ms" for name, value in others.items()) or "none can be imported")
        + "\n",
        f"## A step of the fast preset, {VIEWS} views of {flags.size} x {flags.size}, by part\n",
        markdown(steps),
    ]
    flags.out.with_suffix(".md").write_text("\n".join(sections))
    print("\n".join(sections))


if __name__ == "__main__":
    main()
