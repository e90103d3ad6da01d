"""Nothing that a run depends on changes under it unnoticed: settings, weights, pictures, meshes, code, kernels."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import trimesh
from test_folder import same
from tiny import FLAGS, PROMPT, SHAPE, SMALL, prior_file

from scoredistill.cli import main
from scoredistill.kernels import backend
from scoredistill.priors import toybox
from scoredistill.priors.toybox.unet import UNet
from scoredistill.recipes.fast import fast
from scoredistill.recipes.recipe import changed
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.origin import changed_inputs, changed_settings, origin

pytestmark = pytest.mark.usefixtures("toy_presets")

METHOD = """
from scoredistill.contracts import Distilled
def pull(query, x):
    return Distilled(x - {gray})
"""


def edit(old: str, new: str) -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        config = run / "config.yaml"
        text = config.read_text()
        assert old in text
        config.write_text(text.replace(old, new, 1))

    return apply


def other_weights(run: Path) -> None:
    torch.manual_seed(1)
    toybox.save(run.parent / "tiny.safetensors", UNet(SHAPE))


def other_mesh(run: Path) -> None:
    trimesh.creation.box().export(run.parent / "start.obj")


def other_code(run: Path) -> None:
    (run.parent / "mine.py").write_text(METHOD.format(gray=0.6))


CHANGES = {
    "the seed": ([], edit("  seed: 0", "  seed: 1"), "training.seed was 0 and is 1"),
    "the prompt": ([], edit("text: a red car", "text: a red cat"), "prompt.text was a red car and is a red cat"),
    "the number of steps": ([], edit("steps: 2", "steps: 3"), "training.steps was 2 and is 3"),
    "an output": ([], edit("texture: 32", "texture: 64"), "output.texture was 32 and is 64"),
    "the prior": ([], edit("tiny.safetensors", "tinz.safetensors"), "prior.name was"),
    "weights": (["--seed", "0"], other_weights, "the prior's tiny.safetensors has changed"),
    "a start mesh": (["--scene", "splats", "--scene.start", "start.obj"], other_mesh, "the start mesh has changed"),
    "code": (["--method", "mine.py:pull"], other_code, "the code in mine.py has changed"),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a prior, a mesh, code and a finished run."""
    place = tmp_path_factory.mktemp("inputs")
    prior_file(place)
    trimesh.creation.icosphere(subdivisions=2, radius=0.4).export(place / "start.obj")
    (place / "mine.py").write_text(METHOD.format(gray=0.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(generate()) == 0
    return place


@pytest.fixture
def start(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is also the current folder."""
    place = Path(shutil.copytree(inputs, tmp_path / "start"))
    monkeypatch.chdir(place)
    return place


def generate(*more: str, steps: int = 2) -> list[str]:
    flags = SMALL if "mine.py:pull" in more else FLAGS
    flags = list(SMALL if "mine.py:pull" in more else FLAGS)[2:]
    run = ["generate", PROMPT, "--prior", "tiny.safetensors", "--out", "run", "--steps", str(steps)]
    return [*run, *flags, *more]


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_an_error_that_says_which_and_how_to_go_on(
    what: str, start: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more, change, message = CHANGES[what]
    run = start / "run"
    if more:  # a run of its own
        shutil.rmtree(run)
        assert main(generate(*more)) in (0, 1)  # 1: what a splat or two steps make may look empty
    before = RunFolder.open(run).load()
    change(run)
    capsys.readouterr()
    assert main(["resume", "run"]) == 2
    error = capsys.readouterr().err
    assert message in error and "scoredistill resume run --accept-changes" in error and error.count("\n") == 1
    assert same(before, RunFolder.open(run).load(accept=True))
    if what != "the prior":  # which does not exist
        assert main(["resume", "run", "--accept-changes"]) in (0, 1)
        again = RunFolder.open(run)
        state = again.load()
        assert state is not None and not changed_inputs(state["origin"], origin(again.recipe))


def test_a_config_edited_by_hand_is_not_rendered_silently(start: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit("background: toybox", "background: black")(start / "run")
    for command in (["render", "run", "--frames", "2", "--resolution", "16"], ["evaluate", "run"]):
        assert main(command) == 2
        assert "training.background was toybox and is black" in capsys.readouterr().err


def test_comments_and_spaces_in_the_config_change_nothing(start: Path) -> None:
    config = start / "run" / "config.yaml"
    config.write_text("# mine\n" + config.read_text().replace("steps: 2", "steps:   2"))
    assert main(["resume", "run"]) == 0


def test_steps_given_to_resume_are_no_change_even_if_it_is_killed_before_a_checkpoint(start: Path) -> None:
    folder = RunFolder.open(start / "run")
    folder.with_recipe(changed(folder.recipe, "training.steps", 3)).write_config()
    assert main(["resume", "run"]) == 0
    state = RunFolder.open(start / "run").load()
    assert state is not None and state["index"] == 2


def test_a_moved_folder_is_the_same_run_and_another_picture_in_it_is_not(start: Path) -> None:
    Path("toy.png").write_bytes(b"a picture")
    folder = RunFolder.create(fast(PROMPT, prior="toybox-pose", picture="toy.png"), start / "pictured")
    before = origin(folder.recipe)
    shutil.move("pictured", "moved")
    recipe = RunFolder.open(start / "moved").recipe
    assert origin(recipe) == before
    assert changed_settings(before, recipe, all_of_them=True) == changed_inputs(before, origin(recipe)) == []
    Path("moved/picture.png").write_bytes(b"another one")
    assert changed_inputs(before, origin(recipe)) == ["the picture has changed"]


def test_other_kernels_are_named(start: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with backend.using("torch"):
        assert main(["resume", "run"]) == 2
        assert "the kernels were warp's and are torch's" in capsys.readouterr().err
        assert main(["resume", "run", "--accept-changes"]) == 0


def test_a_resumed_run_has_as_many_threads_as_it_began_with(start: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Their number orders sums, so that another one would give other last bits."""
    here = torch.get_num_threads()
    try:
        torch.set_num_threads(here + 1)
        assert main(["resume", "run", "--steps", "3"]) == 0
        assert torch.get_num_threads() == here + 1
    finally:
        torch.set_num_threads(here)
    assert f"continuing with {here} threads, as the run began" in caplog.text
    state = RunFolder.open(start / "run").load()
    assert state is not None and state["origin"]["machine"]["threads"] == here
