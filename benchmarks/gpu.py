"""What a step of text-to-3D with Stable Diffusion 2.1 takes on a GPU: milliseconds by part, memory, hours for a run.

    python benchmarks/gpu.py                       512 x 512, on the GPU
    python benchmarks/gpu.py --size 64             where there is none: the same with thin networks and a small field

Weights are random, which costs the same as the published ones. The counted steps span a whole run's times, and the
field is as it is late in a run: all levels of its grid are active, and it is shaded at every step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.memory import Peak, late, resident
from benchmarks.provenance import provenance
from benchmarks.shapes import stable_diffusion
from benchmarks.step import WARM_UP, step_by_part
from scoredistill.contracts import Prompt
from scoredistill.evaluate.report import markdown
from scoredistill.priors.compiled import compile_network
from scoredistill.priors.diffusers.prior import DiffusersPrior
from scoredistill.priors.network import fast_dtype
from scoredistill.recipes.build import Parts, background_color, build_views
from scoredistill.recipes.presets import PRESETS
from scoredistill.recipes.recipe import Recipe, changed
from scoredistill.scenes.nerf import GridConfig, NerfConfig

RUN = 10_000  # steps of the papers' runs
SIZE = 512
PUBLISHED = {"sdi": {"hours": 119 / 60, "GB": 39.2, "on": "A6000"}}  # Lukoianov et al. 2024, table 1
SMALL = GridConfig(levels=4, coarsest=8, finest=32, table=2**12)


def parts_of(recipe: Recipe, prior: DiffusersPrior, *, thin: bool) -> Parts:
    """The objects of a run as `build` makes them, with this prior and a field late in its run."""
    config, training = recipe.scene, recipe.training
    assert isinstance(config, NerfConfig)
    if thin:
        tile = config.tile and max(1, config.tile * training.resolution**2 // SIZE**2)
        config = replace(config, grid=SMALL, samples=64, tile=tile)
    scene = late(config, config.tile).to(recipe.prior.device)
    return Parts(
        recipe=recipe,
        scene=scene,
        optimized=scene,
        prior=prior,
        method=recipe.method.prepare(prior, training.seed),
        views=build_views(recipe),
        prompt=Prompt(recipe.prompt.text),
        background=background_color(recipe),
    )


def gigabytes(parts: Parts, prior: DiffusersPrior) -> dict[str, float]:
    """The most that the first two steps take: of tensors, and on a GPU of the whole device."""
    steps = itertools.islice(parts.optimize(), 2)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        for _ in steps:
            pass
        free, total = torch.cuda.mem_get_info()
        return {"GB": torch.cuda.max_memory_allocated() / 1e9, "GB of the device": (total - free) / 1e9}
    with Peak() as peak:
        for _ in steps:
            pass
    standing = [prior.net, prior.space.vae, parts.scene]  # type: ignore[union-attr] (latents have an autoencoder)
    return {"GB": (peak.bytes + sum(map(resident, standing))) / 1e9}


def measured(method: str, preset: str, flags: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    device, thin = torch.device(flags.device), flags.device == "cpu"
    recipe = PRESETS[preset]("a hamburger", method=method, prior="sd", device=flags.device)
    recipe = changed(recipe, "training.steps", WARM_UP + flags.steps)
    if preset != "fast":
        recipe = changed(recipe, "training.resolution", flags.size)
    prompting = recipe.prior.view_prompting
    prior = stable_diffusion(flags.size, device, fast_dtype(device), thin=thin, view_prompting=prompting)
    if flags.compile:
        compile_network(prior.net)
    found = gigabytes(parts_of(recipe, prior, thin=thin), prior)
    found |= step_by_part(parts_of(recipe, prior, thin=thin), flags.steps)
    found |= {"denoiser's share": found["denoiser"] / found["step"], "hours": found["step"] * RUN / 3.6e6}
    return {"preset": preset, "method": method} | {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["sdi", "dsd"])
    parser.add_argument("--presets", nargs="+", default=["paper", "low-vram", "fast"], choices=list(PRESETS))
    parser.add_argument("--size", type=int, default=SIZE, help="pixels a side, of renders and of the prior")
    parser.add_argument("--steps", type=int, default=20, help="counted steps, after the first few")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu.json"))
    flags = parser.parse_args()
    rows = []
    for preset, method in itertools.product(flags.presets, flags.methods):
        rows.append(measured(method, preset, flags))
        print(rows[-1], flush=True)
    device = torch.cuda.get_device_name() if flags.device == "cuda" else "cpu, thin networks, tensors counted"
    record = {"device": device, "pixels": flags.size, "rows": rows, "published": PUBLISHED}
    flags.out.write_text(json.dumps(record | provenance(), indent=2) + "\n")
    print(markdown(rows), f"{device}; published: {PUBLISHED}", sep="\n")


if __name__ == "__main__":
    main()
