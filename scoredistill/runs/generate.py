"""Runs from Python: `generate` a 3D model, `distill_image`; results that display themselves in a notebook.

result = generate("a purple snowman", method="sdi", steps=100)
result                          shows front, side, back and top in a notebook
result.export("snowman.glb")
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from scoredistill.contracts import HasPixels
from scoredistill.export.images import grid, preview
from scoredistill.recipes.build import Parts, background_color, build
from scoredistill.recipes.kinds import name_of
from scoredistill.recipes.presets import recipe_of
from scoredistill.recipes.recipe import Recipe
from scoredistill.runs.finish import finish
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.formats import format_of, write
from scoredistill.runs.journal import record
from scoredistill.runs.log import Record
from scoredistill.runs.names import default_path
from scoredistill.runs.renders import four_views, render_views
from scoredistill.runs.trackers import Trackers, check_installed

Progress = Callable[[Record], object]


@dataclass
class Result:
    """A finished run: its recipe, scene and prior, and its folder if it has one."""

    recipe: Recipe
    scene: Any
    prior: Any
    metrics: dict[str, Any]
    folder: Path | None = None

    def render(self, azimuths_deg: list[float], *, elevation_deg: float = 15.0, resolution: int = 256) -> Tensor:
        """Views [N 3 H W] in [0, 1] from azimuths in degrees (0: front); for a 2D run, its images."""
        if isinstance(self.scene, HasPixels):
            return self.scene.pixels.detach().clamp(0, 1)
        elevations = [elevation_deg] * len(azimuths_deg)
        return render_views(self.recipe, self.scene, azimuths_deg, elevations, resolution).rgb.clamp(0, 1)

    @property
    def image(self) -> Any:
        """A PIL image: front, side, back and top with their normals; for a 2D run, its images side by side."""
        from PIL import Image

        if isinstance(self.scene, HasPixels):
            rgb = grid(self.scene.pixels.detach().cpu().clamp(0, 1))
        else:
            rgb = preview(four_views(self.recipe, self.scene), background_color(self.recipe))
        return Image.fromarray((255 * rgb.clamp(0, 1)).round().byte().permute(1, 2, 0).cpu().numpy())

    def export(self, path: str | Path) -> str:
        """Write the scene in the format of the suffix (.glb, .obj, .ply), or `splats.ply`, `splats.glb` of splats.

        Returns what the file holds; ValueError for another suffix, or a scene without a volume.
        """
        path = Path(path)
        return write(self.recipe, self.scene, path, format_of(path))

    def _repr_html_(self) -> str:
        """The images, as a notebook shows them."""
        buffer = io.BytesIO()
        self.image.save(buffer, format="PNG")
        source = base64.b64encode(buffer.getvalue()).decode("ascii")
        caption = html.escape(f"{self.recipe.prompt.text}: {name_of(self.recipe.method)}, {self.recipe.prior.name}")
        return f'<figure><img src="data:image/png;base64,{source}"><figcaption>{caption}</figcaption></figure>'


def generate(
    prompt: str | Recipe,
    *,
    preset: str = "fast",
    out: str | Path | None = None,
    progress: bool | Progress = True,
    **settings: Any,
) -> Result:
    """Generate a 3D model (or images, with scene="image") from a text prompt, or run a complete recipe.

    Args: `settings` are `method`, `scene`, `prior`, `picture`, `device` and `seed` of the preset, short names as on the
    command line (`steps`, `batch`, `resolution`, `scale`, `negative`, `log`), or dotted fields with two underscores in
    place of the dot (`scene__samples=64`). With `out`, the run is saved in that folder, as on the command line (out=""
    chooses one); without it, nothing is written. `progress` is a callback for each step's record, or True for a
    progress bar.
    """
    recipe = prompt if isinstance(prompt, Recipe) else recipe_of(prompt, preset, settings)
    parts = build(recipe)
    with _shown(progress, recipe.training.steps) as show:
        if out is None:
            for step in parts.optimize():
                show({"step": step.index, "grad_norm": float(step.distilled.grad.norm())})
            return Result(recipe, parts.scene, parts.prior, {})
        return _saved(parts, Path(out) if out else _default_folder(recipe), show)


def distill_image(prompt: str, *, preset: str = "fast", count: int = 4, **settings: Any) -> Result:
    """Generate `count` images from a text prompt by 2D distillation; arguments as `generate`."""
    return generate(prompt, preset=preset, scene="image", scene__count=count, **settings)


def _saved(parts: Parts, path: Path, show: Progress) -> Result:
    """Run into a folder."""
    check_installed(parts.recipe.output.log)
    folder = RunFolder.create(parts.recipe, path)
    with folder.held(), Trackers(folder) as trackers:
        for entry in record(folder, parts, trackers=trackers):
            show(entry)
        metrics = finish(folder, parts.scene)
        trackers.pictures(parts.recipe.training.steps - 1, {"preview": folder / "preview.png"})
    return Result(folder.recipe, parts.scene, parts.prior, metrics, folder.path)


def _default_folder(recipe: Recipe) -> Path:
    return default_path(recipe.prompt.text, name_of(recipe.method), recipe.training.seed)


@contextlib.contextmanager
def _shown(progress: bool | Progress, steps: int) -> Iterator[Progress]:
    """What to call after each step: `progress`, or what moves a bar, in terminals and notebooks alike, or nothing."""
    if progress is not True:
        yield progress if callable(progress) else lambda entry: None
        return
    from rich.progress import Progress as Bar

    with Bar(transient=True) as bar:
        task = bar.add_task("distilling", total=steps)
        yield lambda entry: bar.update(task, completed=entry["step"] + 1)
