"""Published models behind the command line: their settings, their errors, and a whole run on a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_pipelines
from tiny import fast

from scoredistill.cli import main
from scoredistill.entries import priors
from scoredistill.folder import RunFolder, read_config
from scoredistill.methods.catalogue import METHODS
from scoredistill.presets import PRESETS
from scoredistill.priors.hub import ALIASES
from scoredistill.run import Run, build, resolve

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


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--prior", "sdx"), "unknown prior 'sdx'; nearest known: sdxl"),
        (("--prior", "sd", "--view-text", "word"), "unknown view text 'word'; nearest known: words"),
        (("--view-text", "words"), "leave out --view-text"),
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
        "import sys\nfrom scoredistill.run import Run, build, resolve\n"
        "resolve(Run('a red car', prior='sd')), build(resolve(Run('a red car')))\n"
        "print([name for name in ('diffusers', 'transformers', 'peft', 'huggingface_hub') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert shown.stdout.strip() == "[]"
