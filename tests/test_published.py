"""Published models behind the command line: their settings, their errors, and a whole run on a folder."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_pipelines
import torch
from tiny import fast

from scoredistill.camera import orbit
from scoredistill.cli import main
from scoredistill.contracts import Prompt
from scoredistill.priors.diffusers.hub import ALIASES
from scoredistill.priors.load import priors_help
from scoredistill.recipes.build import background_color, build, build_prior
from scoredistill.recipes.presets import PRESETS
from scoredistill.recipes.recipe import changed
from scoredistill.runs.folder import RunFolder, read_config
from scoredistill.toybox.render import BACKGROUND

PROMPT = "a hamburger"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sd21")
    tiny_pipelines.save("sd21", path)
    return path


@pytest.mark.parametrize(("method", "front"), [("vsd", False), ("sds", True)])
def test_where_the_front_ends(folder: Path, method: str, front: bool) -> None:
    """40 degrees from the front: threestudio's words say front, those of VSD and ESD side."""
    prior = build_prior(fast(PROMPT, method=method, prior=str(folder), device="cpu").prior)
    turned = orbit(*(torch.tensor([value]) for value in (math.radians(40), 0.0, 2.0, 1.0)), 16)
    (prompted,) = prior.conditions(Prompt(PROMPT), turned, 1).keys or ()
    assert prompted == f"{PROMPT}, {'front' if front else 'side'} view"


def test_the_background_color_of_renders(folder: Path) -> None:
    assert torch.equal(background_color(fast(PROMPT)), torch.tensor(BACKGROUND))
    assert torch.equal(background_color(fast(PROMPT, prior=str(folder), device="cpu")), torch.full((3,), 0.5))
    assert torch.equal(background_color(changed(fast(PROMPT), "training.background", "white")), torch.ones(3))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--prior", "sdx"), "unknown prior 'sdx'; nearest known: sdxl"),
        (("--prior", "sd", "--prior.view-prompting", "word"), "--prior.view-prompting must be among 'words', "),
        (("--prior.view-prompting", "perp-neg"), "has no view-dependent prompting"),
        (("--training.background", "grey"), "'black', got 'grey'; see"),
        (("--device", "cuda:99"), "no CUDA device 99 here, "),
        (("--device", "cuda:"), "unknown device 'cuda:'; known: auto, cpu, cuda, cuda:N"),
        (("--device", "cpu:1"), "unknown device 'cpu:1'"),
        (("--prior.device", "cuda:99"), "no CUDA device 99 here, "),
        (("--prior.device", "tpu"), "unknown device 'tpu'"),
        (("--prior", "/nowhere/at/all"), "there is no file or folder /nowhere/at/all"),
    ],
)
def test_bad_flags(flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["generate", PROMPT, "--out", str(tmp_path / "run"), *flags]) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1


def test_priors_are_listed_with_their_places() -> None:
    listing = priors_help()
    assert all(name in listing and all(place in listing for place in ALIASES[name]) for name in ALIASES)


def test_runs_on_a_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume seen by cameras, told with Perp-Neg; and a whole command, the folder named from here but kept whole."""
    monkeypatch.setitem(PRESETS, "fast", fast)
    monkeypatch.chdir(folder.parent)
    recipe = fast(PROMPT, prior=folder.name, device="cpu")
    for path, value in {"steps": 2, "batch": 2, "resolution": 16}.items():
        recipe = changed(recipe, f"training.{path}", value)
    steps = list(build(changed(recipe, "method.steps_per_unit", 2.0)).optimize())
    assert [tuple(step.distilled.grad.shape) for step in steps] == 2 * [(2, 4, 8, 8)]
    assert all(float(step.distilled.grad.norm()) > 0 for step in steps)
    out = tmp_path / "run"
    flags = ["--prior", folder.name, "--method", "dsd", "--steps", "2", "--scene.count", "2", "--resolution", "16"]
    assert main(["image", PROMPT, "--out", str(out), *flags]) == 0
    assert read_config(out / "config.yaml").prior.name == str(folder)
    assert len(RunFolder.open(out).log()) == 2


def test_nothing_heavy_is_loaded_unless_asked() -> None:
    """A recipe for a published model, and a run on the embedded prior, import none of the extra's libraries."""
    code = (
        "import sys\nfrom scoredistill import build, fast\nfast('a red car', prior='sd'), build(fast('a red car'))\n"
        "print([name for name in ('diffusers', 'transformers', 'peft', 'huggingface_hub') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert shown.stdout.strip() == "[]"
