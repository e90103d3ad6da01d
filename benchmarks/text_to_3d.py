"""Text to 3D on the embedded prior: SDI beside SDS on captions that no setting was tuned on, read by the judge.

    python benchmarks/text_to_3d.py --seeds 0 1 --processes 2

Every run is the command a user would type, in a folder of its own (`benchmarks/runs.py`). Writes one table, one JSON
file with every row, and one contact sheet (front, side, back of each caption); of several seeds also how far apart the
judge finds them; with --add the other runs in the JSON file remain in it beside the new ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from itertools import product
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from benchmarks.runs import complete, metrics
from scoredistill.evaluate.judge import Judge
from scoredistill.evaluate.metrics import diversity
from scoredistill.evaluate.report import markdown
from scoredistill.export.images import grid, write_png
from scoredistill.runs.finish import open_3d_scene
from scoredistill.runs.renders import render_views
from scoredistill.sweep.prompt_sets import prompt_set

METRICS = (
    "kind_right",
    "color_right",
    "face_right",
    "retrieval",
    "similarity",
    "sharpness",
    "diverged",
    "wall_seconds",
)


def folder_of(root: Path, method: str, prompt: str, seed: int) -> Path:
    return root / f"{method}-{prompt.replace(' ', '-')}-{seed}"


def generate(method: str, prompt: str, seed: int, prior: str, *words: str) -> list[str]:
    """The words of the command."""
    return ["generate", prompt, "--method", method, "--seed", str(seed), "--prior", prior, *words]


def earlier(out: Path, methods: list[str], seeds: list[int]) -> dict[str, list[dict[str, object]]]:
    """The rows of each method in an earlier result file, without those of `methods` at `seeds`."""
    rows = json.loads(out.read_text())["rows"]
    return {
        method: [row for row in found if method not in methods or row["seed"] not in seeds]
        for method, found in rows.items()
    }


def summary(method: str, rows: list[dict[str, object]]) -> dict[str, object]:
    """Mean and standard deviation over runs, the median time, and the share of runs whose views are mostly right."""
    line: dict[str, object] = {"method": method, "runs": len(rows)}
    for name in METRICS[:-1]:
        values = [float(row[name]) for row in rows if name in row]  # type: ignore[arg-type]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        line[name] = f"{statistics.fmean(values):.3f} ± {spread:.3f}" if values else ""
    line["median seconds"] = round(statistics.median(float(row["wall_seconds"]) for row in rows), 1)  # type: ignore[arg-type]
    return line


@torch.no_grad()
def apart(judge: Judge, root: Path, method: str, prompt: str, seeds: list[int]) -> float:
    """How far apart several seeds' views from one side are, all four sides: 1 - mean cosine of the judge's features."""
    seen = []
    for seed in seeds:
        recipe, scene = open_3d_scene(folder_of(root, method, prompt, seed))
        rgb = render_views(recipe, scene, [0.0, 90.0, 180.0, 270.0], [15.0] * 4, 64).rgb
        seen.append(judge.image_features(rgb.clamp(0, 1)))
    return statistics.fmean(map(diversity, torch.stack(seen, 1)))


def sheet(root: Path, methods: list[str], prompts: list[str], seeds: list[int], flags: argparse.Namespace) -> None:
    """One row a caption and seed, or all in one row: front, side and back by each method."""
    pictures = []
    for prompt, seed, method in product(prompts, seeds, methods):
        recipe, scene = open_3d_scene(folder_of(root, method, prompt, seed))
        pictures.append(render_views(recipe, scene, [0.0, 90.0, 180.0], [15.0] * 3, flags.pixels).rgb)
    columns = 3 * len(pictures) if flags.one_row else 3 * len(methods)
    write_png(grid(torch.cat(pictures).clamp(0, 1), columns=columns), flags.picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="captions, the first of those held out")
    parser.add_argument("--captions", nargs="+", help="instead of those held out")
    parser.add_argument("--prior", default="auto", help="toybox: one view at a time")
    parser.add_argument("--scene", choices=["nerf", "splats"], default="nerf")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--methods", nargs="+", default=["sdi", "sds"])
    parser.add_argument("--processes", type=int, default=1, help="runs at a time; the cores are shared among them")
    parser.add_argument("--add", action="store_true", help="to the runs of other seeds in the JSON file")
    parser.add_argument("--root", type=Path, default=Path("runs/text_to_3d"))
    parser.add_argument("--pictured", type=int, nargs="+", help="seeds in the contact sheet; by default the first")
    parser.add_argument("--picture", type=Path, default=Path("runs/text_to_3d.png"))
    parser.add_argument("--pixels", type=int, default=96, help="side of a view in the contact sheet")
    parser.add_argument("--one-row", action="store_true", help="all captions in one row of the contact sheet")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/text_to_3d.json"))
    flags = parser.parse_args()
    prompts = flags.captions or prompt_set("toybox20")[: flags.count]
    flags.root.mkdir(parents=True, exist_ok=True)
    words = ["--scene", flags.scene]
    runs = {
        folder_of(flags.root, method, prompt, seed): generate(method, prompt, seed, flags.prior, *words)
        for seed, method, prompt in product(flags.seeds, flags.methods, prompts)
    }
    threads = complete(runs, flags.processes)
    before = earlier(flags.out, flags.methods, flags.seeds) if flags.add else {}
    made = {
        method: [metrics(folder_of(flags.root, method, p, s)) for s, p in product(flags.seeds, prompts)]
        for method in flags.methods
    }
    rows = {method: before.get(method, []) + made.get(method, []) for method in dict.fromkeys([*made, *before])}
    table, diverse = [summary(method, found) for method, found in rows.items()], {}
    if len(flags.seeds) > 1:
        judge = Judge.load()
        diverse = {m: [apart(judge, flags.root, m, prompt, flags.seeds) for prompt in prompts] for m in flags.methods}
        means = {method: statistics.fmean(found) for method, found in diverse.items()}
        table = [line | {"diversity": means.get(str(line["method"]), "")} for line in table]
    seeds = sorted({int(str(row["seed"])) for found in rows.values() for row in found})
    record = {"prior": flags.prior, "scene": flags.scene, "captions": prompts, "seeds": seeds, "threads": threads}
    record |= {"processes": flags.processes, "table": table, "rows": rows, "diversity": diverse}
    flags.out.write_text(json.dumps(record | provenance(), indent=2) + "\n")
    flags.out.with_suffix(".md").write_text(markdown(table) + "\n")
    sheet(flags.root, flags.methods, prompts, flags.pictured or flags.seeds[:1], flags)
    print(markdown(table))


if __name__ == "__main__":
    main()
