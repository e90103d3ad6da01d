"""Before, during and after the steps of a run: the dry run, previews, the parts of the finish, the film's lattice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from test_folder import same
from test_volume import Slab, random_rays
from tiny import FLAGS, OUTPUT, PROMPT

from scoredistill.cli import main
from scoredistill.cli.forecast import calibrate
from scoredistill.contracts import HasDraft
from scoredistill.kernels.lattice import reference, render_lattice
from scoredistill.kernels.types import Lattice
from scoredistill.randomness import stream
from scoredistill.recipes.build import build
from scoredistill.recipes.fast import fast
from scoredistill.recipes.paper import paper
from scoredistill.recipes.recipe import changed
from scoredistill.recipes.text import read_recipe, write_recipe
from scoredistill.runs import journal
from scoredistill.runs.evaluation import mesh_metrics
from scoredistill.runs.finish import open_scene, salvage
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.formats import mesh_of
from scoredistill.runs.renders import film, four_views, stand_ins, turntable
from scoredistill.scenes.nerf import GridConfig, NerfConfig
from scoredistill.scenes.nerf.draft import baked
from scoredistill.sweep.trial import Trial

pytestmark = pytest.mark.usefixtures("toy_presets")

PARTS = ["preview", "metrics", "turntable", "mesh", "page"]


def generate(prior: str, out: Path, *flags: str) -> int:
    return main(["generate", PROMPT, "--prior", prior, "--out", str(out), *FLAGS, *flags])


def test_a_dry_run_prints_the_recipe_and_its_costs_and_writes_nothing(
    prior: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert generate(prior, tmp_path / "run", "--dry-run") == 0
    text = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert "6 steps of 1 images" in text
    assert "memory: at least" in text
    recipe = read_recipe(text, "standard output")
    assert (recipe.training.steps, recipe.prior.name) == (6, prior)


def test_a_dry_run_counts_the_rows_of_all_images_and_steps(prior: str, capsys: pytest.CaptureFixture[str]) -> None:
    """SDS asks for two conditions of each image, in one call."""
    flags = ["--method", "sds", "--steps", "5", "--scene.count", "3", "--dry-run"]
    assert main(["image", PROMPT, "--prior", prior, *flags]) == 0
    out = capsys.readouterr().out
    assert "denoiser: 5 calls, 30 rows" in out and "; preview and page follow" in out


def test_the_time_of_a_run_of_one_step_is_measured_too(prior: str) -> None:
    recipe = fast(PROMPT, method="sds", scene="image", prior=prior, device="cpu")
    found = calibrate(build(changed(changed(recipe, "training.steps", 1), "scene.count", 1)))
    assert found.row > 0


def test_previews_come_during_the_run_and_change_nothing(
    prior: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: list[tuple[int, bool]] = []
    show = journal.show_so_far

    def counted(folder: RunFolder, scene: object) -> None:
        show(folder, scene)
        pages = [(folder / name).is_file() for name in ("preview.png", "index.html")]
        renewed.append((len(folder.log()), all(pages)))

    monkeypatch.setattr(journal, "show_so_far", counted)
    assert generate(prior, tmp_path / "with", "--output.preview-every", "2") == 0
    assert renewed == [(2, True), (4, True)]
    assert generate(prior, tmp_path / "without", "--output.preview-every", "0") == 0
    assert len(renewed) == 2
    states = [RunFolder.open(tmp_path / name).load() for name in ("with", "without")]
    for state in states:
        assert state is not None
        del state["origin"]
    assert same(*states)
    for name in ("preview.png", "mesh.glb", "turntable.mp4"):
        files = [tmp_path / run / name for run in ("with", "without")]
        assert files[0].read_bytes() == files[1].read_bytes(), name


def test_a_config_from_before_previews_goes_on_without_them(prior: str, tmp_path: Path) -> None:
    assert generate(prior, tmp_path / "run", "--output.preview-every", "0") == 0
    config = tmp_path / "run" / "config.yaml"
    header, lines = config.read_text().splitlines(keepends=True)[:1], config.read_text().splitlines(keepends=True)[2:]
    older = "".join(line for line in lines if "preview_every" not in line)
    header.append(f"# SHA-256 of the settings: {hashlib.sha256(older.encode()).hexdigest()}\n")
    assert older != "".join(lines)
    config.write_text("".join(header) + older)
    assert RunFolder.open(tmp_path / "run").recipe.output.preview_every == 0
    assert main(["resume", str(tmp_path / "run"), "--steps", "7"]) == 0
    assert read_recipe(write_recipe(fast("a red car")), "here").output.preview_every > 0


def test_the_finish_names_its_parts(prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(prior, tmp_path / "run") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [words[1] for words in lines if len(words) == 2 and words[1] in PARTS] == PARTS


def test_a_run_on_images_that_broke_off_does_not_count_as_done(prior: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(["image", PROMPT, "--prior", prior, "--out", str(out), *FLAGS]) == 0
    trial = Trial.open(out)
    assert trial.state() == "done"
    salvage(RunFolder.open(out), open_scene(out)[1], "the disk was full")
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["diverged"], metrics["reason"]) == (True, "the disk was full")
    assert trial.state() == "interrupted"


def test_lattice_kernel_equals_its_reference() -> None:
    rng = torch.Generator().manual_seed(0)
    values = torch.rand(7, 9, 8, 8, generator=rng)
    values[..., 0] *= 4
    values[:, :2] = 0  # empty space beside density
    lattice = Lattice(values, torch.tensor([-0.5, -0.6, -0.4]), 0.15)
    origins, directions = (each.float() for each in random_rays(500))
    fast_twin, slow = render_lattice(lattice, origins, directions, 0.05), reference(lattice, origins, directions, 0.05)
    assert float(slow.opacity.max()) > 0.5
    assert float(slow.opacity.min()) == 0.0
    for name, expected in vars(slow).items():
        torch.testing.assert_close(vars(fast_twin)[name], expected, atol=5e-4, rtol=1e-3, msg=name)


def test_a_slab_on_a_lattice_is_as_opaque_as_in_closed_form() -> None:
    slab = Slab(density=1.5)
    slab.bounds = 1.0  # type: ignore[attr-defined]
    lattice = baked(slab, torch.ones(4, 4, 4, dtype=torch.bool), 0.05)
    ray = torch.tensor([[0.1, 0.2, 3.0]]), torch.tensor([[0.0, 0.0, -1.0]])
    found = render_lattice(lattice, *ray, 0.02)
    assert float(found.opacity) == pytest.approx(1 - 2.718281828 ** (-2 * 1.5), abs=5e-3)
    torch.testing.assert_close(found.albedo / found.opacity[:, None], torch.tensor([slab.color]), atol=1e-3, rtol=0)


def test_a_film_from_a_lattice_shows_what_the_field_shows() -> None:
    """With a normal for every sample a lattice stands for the field; with one for each ray the field is filmed."""
    recipe = paper("a red car", prior="toybox", device="cpu")
    config = NerfConfig(grid=GridConfig(2, 4, 8, 2**10), samples=48, occupancy=8, normals="analytic", shading="albedo")
    for setting, exact in (("samples", False), ("surface", True)):
        scene = changed(config, "normals_at", setting).build(rng=stream(0, "scene"), steps=1, resolution=16)
        assert isinstance(scene, HasDraft)
        assert (scene.draft(0.1) is scene) == exact
        output = changed(changed(recipe.output, "turntable_frames", 2), "turntable_resolution", 32)
        short = changed(recipe, "output", output)
        filmed, _ = stand_ins(short, scene, four_views(short, scene))
        frames = zip(film(short, filmed), turntable(short, scene, 2, 32), strict=True)
        assert max(float((drawn.rgb - true.rgb).square().mean()) for drawn, true in frames) < 1e-4


@pytest.mark.parametrize(("size", "smooth"), [(256, True), (16, False)])
def test_a_coarse_draft_stands_for_the_scene_only_where_it_shows_the_same(
    size: int, smooth: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The initial ball, filmed with many pixels and with few: what is measured on its draft agrees with it."""
    recipe = changed(paper("a red car", prior="toybox", device="cpu"), "output.turntable_resolution", size)
    config = NerfConfig(
        grid=GridConfig(1, 4, 4, 2**8), samples=96, occupancy=16, normals_at="samples", shading="albedo"
    )
    scene = config.build(rng=stream(0, "scene"), steps=1, resolution=16)
    filmed, measured = stand_ins(recipe, scene, four_views(recipe, scene))
    assert filmed is not scene
    assert measured is (filmed if smooth else scene)
    monkeypatch.setattr(mesh_metrics, "RESOLUTION", 32)
    mesh = mesh_of(scene, OUTPUT, "cpu")
    values = [mesh_metrics.mesh_metrics(recipe, shown, mesh)["mesh_psnr"] for shown in (scene, measured)]
    assert values[0] == pytest.approx(values[1], abs=0.05)


def test_the_film_of_a_small_run_is_small() -> None:
    recipe = changed(changed(paper("a red car", device="cpu"), "training.resolution", 24), "output.turntable_frames", 1)
    scene = NerfConfig(grid=GridConfig(1, 4, 4, 2**8), samples=8, occupancy=4, blob_strength=0.0).build(
        rng=stream(0, "scene"), steps=1, resolution=16
    )
    (frame,) = film(recipe, scene)
    assert frame.rgb.shape[-1] == 48
