"""The commands that render, export, measure and compare runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from scoredistill.cli.progress import Ticker
from scoredistill.compare.conduct import Comparison, compare
from scoredistill.config import Config, Degrees, Elevation, Pixels
from scoredistill.evaluate.report import markdown, summarize
from scoredistill.export.images import preview, write_png, write_turntable
from scoredistill.files import check_replaceable
from scoredistill.recipes.build import background_color
from scoredistill.recipes.recipe import Faces, Frames, MeshResolution, OutputConfig, Texels, Threshold, changed
from scoredistill.runs.evaluation.measures import Measuring
from scoredistill.runs.evaluation.sets import Evaluated, of_sets
from scoredistill.runs.finish import open_3d_scene, open_scene
from scoredistill.runs.folder import check_distinct
from scoredistill.runs.formats import UNUSED, check_output, file_name, format_of, write
from scoredistill.runs.renders import ELEVATION_DEG, render_views, turntable
from scoredistill.runs.table import check_table, evaluated, write_table

COLUMNS = (
    "run",
    "kind_right",
    "color_right",
    "view_right",
    "face_right",
    "similarity",
    "sharpness",
    "diverged",
    "seen_as",
)
VIEWS = 64  # of one picture, at most


@dataclass(frozen=True)
class Render(Config):
    """Render a turntable video of a run's scene, or views from given directions."""

    folder: Positional[Path]  # folder of the run
    azimuths_deg: tuple[Degrees, ...] = ()  # write a PNG of views from these azimuths, not a video; 0: front, 90: +x
    elevation_deg: Elevation = ELEVATION_DEG  # camera elevation, degrees
    frames: Frames = 120  # frames of the video, 30 per second
    resolution: Pixels = 256  # resolution in pixels
    out: Path | None = None  # .mp4 file, or .png with azimuths; by default turntable.mp4 or views.png in the folder

    def check(self) -> None:
        """ValueError for more views than fit in a picture, and for frames of a video that is not written."""
        if self.azimuths_deg and self.frames != Render.frames:
            raise ValueError("frames has no effect on a picture of views: leave it out, or leave out azimuths_deg")
        if len(self.azimuths_deg) > VIEWS:
            raise ValueError(f"azimuths_deg must be at most {VIEWS} angles, got {len(self.azimuths_deg)}")

    def __call__(self) -> None:
        if self.out:
            check_output(self.out, "png" if self.azimuths_deg else "mp4")
        recipe, scene = open_3d_scene(self.folder)
        background = background_color(recipe)
        if self.azimuths_deg:
            path = self.out or self.folder / "views.png"
            elevations = [self.elevation_deg] * len(self.azimuths_deg)
            frame = render_views(recipe, scene, list(self.azimuths_deg), elevations, self.resolution)
            write_png(preview(frame, background, size=self.resolution), path)
        else:
            path = self.out or self.folder / "turntable.mp4"
            frames = turntable(recipe, scene, self.frames, self.resolution, self.elevation_deg)
            write_turntable(frames, path, background=background, size=self.resolution)
        print(path)


@dataclass(frozen=True)
class Export(Config):
    """Export the scene of a run as a mesh or as a file of splats."""

    folder: Positional[Path]  # folder of the run
    format: str = ""  # glb, obj, ply; for splats also splat-ply, splat-glb; by default that of --out, or glb
    resolution: MeshResolution = OutputConfig.mesh_resolution  # density samples along each axis
    threshold: Threshold = OutputConfig.mesh_threshold  # density at the surface; 0: from the silhouette of renders
    faces: Faces = OutputConfig.mesh_faces  # approximate number of triangles; 0: all of them
    texture: Texels = OutputConfig.texture  # texture resolution in texels; 0: vertex colors instead
    out: Path | None = None  # output file; by default mesh.* or splats.* in the folder

    def __call__(self) -> None:
        kind = format_of(self.out, self.format)
        for name in UNUSED.get(kind, ()):
            if getattr(self, name) != getattr(Export, name):
                raise ValueError(f"{name} has no effect on {kind}: leave it out")
        path = self.out or self.folder / file_name(kind)
        if self.out:
            check_replaceable(path)
        recipe, scene = open_3d_scene(self.folder)
        mesh = {"mesh_resolution": self.resolution, "mesh_threshold": self.threshold, "mesh_faces": self.faces}
        for name, value in (mesh | {"texture": self.texture}).items():
            recipe = changed(recipe, f"output.{name}", value)
        print(f"{path}: {write(recipe, scene, path, kind)}")


@dataclass(frozen=True)
class Evaluate(Measuring):
    """Evaluate finished runs: tables of the runs, of the means of each method, and of sets of several seeds."""

    folders: Positional[tuple[Path, ...]] = ()  # folders of the runs
    out: Path | None = None  # .json or .csv file for all rows and columns

    def __call__(self) -> None:
        if not self.folders:
            raise ValueError("name the folders of the runs to evaluate")
        if self.out:
            check_table(self.out)
        check_distinct(self.folders)
        for folder in self.folders:
            open_scene(folder)  # one that cannot be opened is an error before the others are measured
        measures = self.measures()
        found: list[Evaluated] = []
        for folder in self.folders:
            found.append(evaluated(folder, measures))
            if "judge" in found[-1].row:
                logging.getLogger(__name__).warning("%s: %s", folder, found[-1].row["judge"])
        names = (*COLUMNS, *measures.columns)
        rows = [each.row for each in found]
        print(markdown([{name: row.get(name, "") for name in names} for row in rows]))
        print(markdown(summarize(rows, also=measures.columns)))
        sets = of_sets(found, measures.sets)
        for line in self.without_value(sets):
            logging.getLogger(__name__).warning(line)
        if sets:
            print(markdown([{name: "" if value is None else value for name, value in row.items()} for row in sets]))
        if self.out:
            write_table(rows, self.out)


@dataclass(frozen=True)
class Compare(Comparison):
    """Compare many runs on one offline page (turntables in step, metrics with intervals, curves), and as a table."""

    folders: Positional[tuple[Path, ...]] = ()  # run folders, and folders that contain run folders

    def __call__(self) -> None:
        if not self.folders:
            raise ValueError("name the folders of the runs to compare, or a folder that contains them")
        with Ticker() as progress:
            gathered, page, table = compare(self.folders, self, progress)
        for path, reason in gathered.left_out:
            logging.getLogger(__name__).warning("%s is left out: %s", path, reason)
        for line in self.without_value(gathered.sets):
            logging.getLogger(__name__).warning(line)
        print(f"{page}\n{table}")
