"""Published models behind the command line: their settings, their errors, and a whole run on a folder."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_pipelines
import torch
from scoredistill.entries import priors
from scoredistill.runs.folder import RunFolder, read_config
from scoredistill.parts import background, build, build_prior
from scoredistill.presets import PRESETS
from scoredistill.run import Run, preset_of, resolve
from tiny import fast

from scoredistill.camera import orbit
from scoredistill.cli import main
from scoredistill.contracts import Prompt
from scoredistill.methods.catalogue import METHODS
from scoredistill.priors.diffusers.hub import ALIASES
from scoredistill.toybox.render import BACKGROUND

PROMPT = "a hamburger"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sd21")
    tiny_pipelines.save("sd21", path)
    return path


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_official_times_are_not_carried(preset: str) -> None:
    """Toybox's times are at equal noise, published models get the numbers that were chosen for them."""
    found = resolve(Run(PROMPT, method="sdi", prior="sd", preset=preset))
    assert (found.settings["t_max"], found.settings["t_min"], found.settings["scale"]) == (0.98, 0.25, 7.5)
    assert found.settings["reduction"] == "mean_over_latent"
    assert found.view_text == "perp-neg"
    toybox = resolve(Run(PROMPT, method="sdi", preset=preset))
    assert toybox.settings["t_max"] != 0.98
    assert toybox.view_text is None
    assert resolve(Run(PROMPT, method="vsd", prior="org/name", preset=preset)).settings["learner_lr"] == 1e-4


def test_every_method_resolves_for_a_published_model() -> None:
    told = {method: resolve(Run(PROMPT, method=method, prior="sdxl", preset="paper")).view_text for method in METHODS}
    assert {method for method in told if told[method] != "words"} == {"sdi", "dsd", "asd", "ism"}
    assert resolve(Run(PROMPT, prior="sd", view_text="words")).view_text == "words"


def test_published_models_are_led_away_from_what_the_papers_say() -> None:
    """NFSD's, CSD's, ISM's and MVDream's negative prompts; a negative prompt of one's own, and none, are kept."""
    said = {method: resolve(Run(PROMPT, method=method, prior="sd")).negative for method in METHODS}
    assert {method for method in said if said[method]} == {"nfsd", "csd", "ism", "mvdream"}
    assert str(said["csd"]).startswith("oversaturated color")
    assert resolve(Run(PROMPT, method="csd", prior="sd", negative="")).negative == ""
    assert resolve(Run(PROMPT, method="csd", prior="sd", negative="gray")).negative == "gray"
    assert resolve(Run(PROMPT, method="csd")).negative == "", "Toybox has no words for quality"


@pytest.mark.parametrize(("method", "front"), [("csd", False), ("sds", True)])
def test_where_the_front_ends(folder: Path, method: str, front: bool) -> None:
    """40 degrees from the front: threestudio's words say front, those of VSD, ASD and CSD side."""
    prior = build_prior(resolve(Run(PROMPT, method=method, prior=str(folder), view_text="words", device="cpu")))
    turned = orbit(*(torch.tensor([value]) for value in (math.radians(40), 0.0, 2.0, 1.0)), 16)
    (told,) = prior.conditions(Prompt(PROMPT), turned, 1).keys or ()
    assert told == f"{PROMPT}, {'front' if front else 'side'} view"


def test_scenes_stand_before_what_the_prior_was_trained_on() -> None:
    """Toybox's own color, gray for published models or a learned environment, or what the run says."""
    assert torch.equal(background(resolve(Run(PROMPT))), torch.tensor(BACKGROUND))
    assert torch.equal(background(resolve(Run(PROMPT, prior="sd", device="cpu"))), torch.full((3,), 0.5))
    assert torch.equal(background(resolve(Run(PROMPT, background="white"))), torch.ones(3))
    official = resolve(Run(PROMPT, prior="sd", method="dsd", preset="paper"))
    environment = preset_of(official).nerf.environment
    assert official.background == "learned" and environment is not None and environment.random_share == 0.5
    assert preset_of(replace(official, background="gray")).nerf.environment is None
    assert resolve(Run(PROMPT, prior="sd", preset="paper", scene="splats")).background == "gray"
    assert preset_of(resolve(Run(PROMPT, preset="paper"))).nerf.environment is None, "Toybox knows one background"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--prior", "sdx"), "unknown prior 'sdx'; nearest known: sdxl"),
        (("--prior", "sd", "--view-text", "word"), "unknown view text 'word'; nearest known: words"),
        (("--view-text", "words"), "leave out --view-text"),
        (("--background", "learned", "--scene", "splats"), "scene 'splats' learns no background"),
        (("--background", "grey"), "unknown background 'grey'; nearest known: gray"),
        (("--prior", "/nowhere/at/all"), "unknown prior '/nowhere/at/all'"),
    ],
)
def test_bad_flags(flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["generate", PROMPT, "--out", str(tmp_path / "run"), *flags]) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1


def test_priors_are_listed_with_their_places() -> None:
    listing = priors()
    assert all(name in listing and all(place in listing for place in ALIASES[name]) for name in ALIASES)


def test_runs_on_a_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume seen by cameras, told with Perp-Neg; and a whole command, the folder named from here but kept whole."""
    monkeypatch.setitem(PRESETS, "fast", fast)
    monkeypatch.chdir(folder.parent)
    settings = {"steps_per_unit": 2.0}
    run = resolve(Run(PROMPT, prior=folder.name, steps=2, batch=2, size=16, device="cpu", settings=settings))
    steps = list(build(run).optimize())
    assert [tuple(step.distilled.grad.shape) for step in steps] == 2 * [(2, 4, 8, 8)]
    assert all(float(step.distilled.grad.norm()) > 0 for step in steps)
    out = tmp_path / "run"
    flags = ["--prior", folder.name, "--method", "dsd", "--steps", "2", "--count", "2", "--size", "16"]
    assert main(["image", PROMPT, "--out", str(out), *flags]) == 0
    assert read_config(out / "config.yaml").prior == str(folder)
    assert len(RunFolder.open(out).log()) == 2


def test_nothing_heavy_is_loaded_unless_asked() -> None:
    """Resolving and running on the embedded prior imports none of the libraries of the extra."""
    code = (
        "import sys\nfrom scoredistill.parts import build\nfrom scoredistill.run import Run, resolve\n"
        "resolve(Run('a red car', prior='sd')), build(resolve(Run('a red car')))\n"
        "print([name for name in ('diffusers', 'transformers', 'peft', 'huggingface_hub') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert shown.stdout.strip() == "[]"
