"""Fast kernels against their torch references, and a NeRF step by part: times, ratios, floors, peak memory.

    GOMP_SPINCOUNT=5000 python benchmarks/kernels.py                       as the command line sets it for itself
    python benchmarks/kernels.py --points 16384 --size 16 --repeats 3      a small try

Times are the best of --repeats, after a warm-up that compiles. A floor is the greater of two times: that of moving
the bytes which must be moved at the measured rate of a copy, and that of the multiplications at the measured rate of
a matrix product. Public implementations are measured where they import: nerfstudio's hash grid runs on a CPU (pip
install --no-deps nerfstudio==1.1.5, and what its import asks for); nerfacc 0.5.3 does not: its packed sums answer
"Only support cuda inputs", its marching asks for CUDA_HOME. Writes benchmarks/results/kernels.json and kernels.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
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
STEP = 2 * 3**0.5 / 96  # of a ray, in the fast preset
Work = Callable[[], object]
Laid = dict[str, Tensor]


class Bench:
    """Measures with one clock; rates of this machine are measured first."""

    def __init__(self, clock: str, repeats: int) -> None:
        self.clock, self.repeats = clock, repeats
        source, target = torch.rand(2**25), torch.empty(2**25)  # 128 MB: more than any cache
        self.bandwidth = 2 * source.nbytes / self.seconds(lambda: target.copy_(source))
        matrix = torch.rand(1024, 1024)
        self.products = 1024**3 / self.seconds(lambda: matrix @ matrix)

    def seconds(self, work: Work) -> float:
        """The best of some repeats, after one that is not counted."""
        return min(seconds(work, self.repeats, self.clock))

    def row(self, name: str, work: Work, moved: float, products: float) -> dict[str, str | float]:
        """One work by both backends, in milliseconds, beside the floor for `moved` bytes and so many products."""
        found = {}
        for choice in ("torch", "warp"):
            with backend.using(choice):
                found[choice] = 1e3 * self.seconds(work)
        floor = 1e3 * max(moved / self.bandwidth, products / self.products)
        ratio = found["torch"] / found["warp"]
        return {"kernel": name, **found, "ratio": ratio, "floor": floor, "over floor": found["warp"] / floor}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def laid_out(features: Tensor) -> Laid:
    """The same features [N K] as each backend's hash grid and perceptron hand them on: by rows, and by columns."""
    return {"torch": features, "warp": features.T.contiguous().T}


def hash_grids(bench: Bench, points: int) -> list[dict[str, str | float]]:
    """Encoding of uniformly random points, forward and backward to the table; slopes, as analytic normals ask."""
    rows = []
    for name, layout in GRIDS.items():
        x = torch.rand(points, 3, generator=rng())
        table = torch.rand(sum(layout.sizes), 2, generator=rng(1)).requires_grad_()
        grads = laid_out(torch.randn(points, layout.width, generator=rng(2)))

        def work(x: Tensor = x, table: Tensor = table, grads: Laid = grads, layout: GridLayout = layout) -> object:
            return torch.autograd.grad(encode(x, table, layout, layout.levels), table, grads[backend.choice()])

        def forward(x: Tensor = x, table: Tensor = table, layout: GridLayout = layout) -> Tensor:
            return encode(x, table.detach(), layout, layout.levels)

        def sloped(x: Tensor = x, table: Tensor = table, grads: Laid = grads, layout: GridLayout = layout) -> object:
            found = input_gradient(x, table, grads[backend.choice()], layout, layout.levels)
            return torch.autograd.grad(found.square().sum(), table)

        products = points * layout.levels * 7 * 2  # seven interpolations of two features
        moved = 2 * x.nbytes + 2 * grads["torch"].nbytes + 3 * table.nbytes  # the gradient is cleared, read and written
        rows.append(bench.row(f"{name}, forward + backward", work, moved, 2 * products))
        rows.append(bench.row(f"{name}, forward", forward, x.nbytes + grads["torch"].nbytes + table.nbytes, products))
        rows.append(bench.row(f"{name}, slopes and their gradient", sloped, moved, 6 * products))
    return rows


def scene_rays(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rays of four views, and the occupied cells of a ball of radius 0.8."""
    origins, directions = (vectors.reshape(-1, 3).contiguous() for vectors in ring(VIEWS, size).rays())
    axis = (torch.arange(32) + 0.5) / 16 - 1
    return origins, directions, axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2 < 0.8**2


def along_rays(bench: Bench, size: int) -> list[dict[str, str | float]]:
    """Marching through the grid; compositing of what is found, forward and backward; both together."""
    origins, directions, occupied = scene_rays(size)
    shift = torch.rand(len(origins), generator=rng())
    samples = march(origins, directions, occupied, 1.0, STEP, shift)
    density = (3 * torch.rand(len(samples), generator=rng(1))).requires_grad_()
    albedo = torch.rand(len(samples), 3, generator=rng(2)).requires_grad_()
    visits = march(origins, directions, torch.ones_like(occupied), 1.0, STEP, shift)

    def marched() -> Samples:
        return march(origins, directions, occupied, 1.0, STEP, shift)

    def composited() -> object:
        made = composite(density, albedo, samples, len(origins))
        loss = made.albedo.sum() + made.opacity.sum() + made.depth.sum() + made.z_variance.sum()
        return torch.autograd.grad(loss, (density, albedo))

    a_sample = samples.ray.nbytes + samples.z.nbytes + samples.dz.nbytes
    floors = {
        "marching": (2 * origins.nbytes + a_sample, 12 * len(visits)),
        "compositing": (2 * a_sample + 3 * (density.nbytes + albedo.nbytes), 24 * len(samples)),
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
        name: [x.requires_grad_(), first.requires_grad_(), second.requires_grad_()] for name, x in laid_out(x).items()
    }
    grad = torch.randn(points, 1, generator=rng(3))

    def work() -> object:
        asked = inputs[backend.choice()]
        return torch.autograd.grad(perceptron(*asked), asked, grad)

    products = points * 32 * (4 * 12 + 3)  # forward, again, and two gradients
    return [bench.row("perceptron 12-32-1, forward + backward", work, 3 * x.nbytes + 2 * grad.nbytes, products)]


def public(bench: Bench, points: int) -> dict[str, float]:
    """Milliseconds of public hash grids that import here, forward + backward, at the first size."""
    if importlib.util.find_spec("nerfstudio") is None:
        return {}
    from nerfstudio.field_components.encodings import HashEncoding  # type: ignore[import-not-found] (optional)

    sizes = {"num_levels": 8, "min_res": 16, "max_res": 256, "log2_hashmap_size": 16, "features_per_level": 2}
    encoding = HashEncoding(**sizes, implementation="torch")
    x, grad = torch.rand(points, 3, generator=rng()), torch.randn(points, 16, generator=rng(2))
    return {"nerfstudio 1.1.5, torch": 1e3 * bench.seconds(lambda: encoding(x).backward(grad))}


def nerf_step(bench: Bench, size: int, choice: str) -> dict[str, str | float]:
    """A step of the fast preset by part, in milliseconds, and the peak of what it allocates, in MB."""
    settings = replace(NERF, regularizers=NERF_LOSSES)
    scene, dice = NeRF(settings, rng()), rng(1)
    cameras = OrbitConfig(size=size)(0.5, VIEWS, dice)
    optimizer = torch.optim.Adam(scene.param_groups())
    pull = torch.linspace(-1, 1, VIEWS * 3 * size**2).view(VIEWS, 3, size, size) / size**2
    parts: dict[str, list[float]] = {}

    def step() -> None:
        times = [now(bench.clock)]

        def done(part: str) -> None:
            times.append(now(bench.clock))
            parts.setdefault(part, []).append(1e3 * (times[-1] - times[-2]))

        frame = scene.render(cameras, torch.ones(3), dice)
        done("render")
        loss = (frame.rgb * pull).sum() + scene.regularizer(frame, cameras, 0.5)
        done("regularizers")
        optimizer.zero_grad()
        loss.backward()
        done("backward")
        optimizer.step()
        done("Adam")

    with backend.using(choice):
        for _ in range(bench.repeats + 1):
            step()
        visit = bench.seconds(lambda: scene.grid.update(scene.field.density, dice, everywhere=True))
        best = {part: min(times[1:]) for part, times in parts.items()}
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
            step()
    row = {"backend": choice, **best, "step": sum(best.values()), "occupancy visit": 1e3 * visit}
    return row | {"peak MB": peak(watched) / 1e6}


def peak(watched: profile) -> float:
    """The most bytes that were allocated at once, above those at the start."""
    assert watched.profiler is not None
    assert watched.profiler.kineto_results is not None
    events = [event for event in watched.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()  # type: ignore[attr-defined] (its stub lacks it)
        most = max(most, held)
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=262_144)
    parser.add_argument("--size", type=int, default=64, help="pixels of a side of each of the four views")
    parser.add_argument("--repeats", type=int, default=7)
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
        "Public implementations of the first row's work: "
        + (", ".join(f"{name}: {value:.0f} ms" for name, value in others.items()) or "none imports here")
        + "\n",
        f"## A step of the fast preset, {VIEWS} views of {flags.size} x {flags.size}, by part\n",
        markdown(steps),
    ]
    flags.out.with_suffix(".md").write_text("\n".join(sections))
    print("\n".join(sections))


if __name__ == "__main__":
    main()
