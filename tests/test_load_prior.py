"""Priors by name: what each needs, known before its weights are read; one line for names and options that are wrong."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import tiny_pipelines
import tiny_views
import torch

from scoredistill.contracts import Needs, Prompt
from scoredistill.priors.diffusers.hub import ALIASES
from scoredistill.priors.diffusers.prior import DiffusersPrior
from scoredistill.priors.load import describe_prior, full_prior_name, load_prior, prior_files, priors_help
from scoredistill.priors.mvdream import MVDreamPrior
from scoredistill.priors.toybox import EMBEDDED, ToyboxPrior
from scoredistill.priors.zero123 import Zero123Prior
from scoredistill.recipes.fast import fast
from scoredistill.recipes.recipe import PriorConfig, changed
from scoredistill.runs.evaluation.references import of_prior
from scoredistill.runs.samples import samples
from scoredistill.views import MVDREAM_ORBIT, ZERO123_ORBIT

TEXT = Needs(published=True, view_prompting=True)
MVDREAM = Needs(published=True, view_prompting=True, views=4, orbit=MVDREAM_ORBIT)
ZERO123 = Needs(published=True, picture=True, picture_fill=200 / 256, orbit=ZERO123_ORBIT)
ALIAS_OF = {"sd21": "sd", "mvdream": "mvdream", "zero123": "zero123"}
FAMILIES: dict[str, tuple[Needs, type[Any]]] = {
    **dict.fromkeys(tiny_pipelines.FAMILIES, (TEXT, DiffusersPrior)),
    "mvdream": (MVDREAM, MVDreamPrior),
    "zero123": (ZERO123, Zero123Prior),
}
REVISION = "0" * 39 + "1"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of a saved pipeline of each family."""
    folders = {family: tmp_path_factory.mktemp(family) for family in FAMILIES}
    for family, folder in folders.items():
        if family in tiny_pipelines.FAMILIES:
            tiny_pipelines.save(family, folder)
        else:
            getattr(tiny_views, family)(folder)
    return folders


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.parametrize("family", FAMILIES)
def test_needs_are_equal_for_all_names_of_a_model(
    family: str, folders: dict[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alias, its candidates, hub id in the cache, folder, and the loaded prior itself."""
    needs, kind = FAMILIES[family]
    alias = ALIAS_OF.get(family, family)
    names = [str(folders[family]), "org/tiny", f"org/tiny@{REVISION}"]
    if alias in ALIASES:
        names += [alias, *ALIASES[alias], *(candidate.partition("@")[0] for candidate in ALIASES[alias])]
    tiny_pipelines.in_cache(folders[family], cache, "org/tiny", REVISION)
    assert [describe_prior(name) for name in names] == [needs] * len(names)
    monkeypatch.chdir(folders[family].parent)
    assert full_prior_name(folders[family].name) == str(folders[family])
    for name in (str(folders[family]), "org/tiny"):
        prior: Any = load_prior(name, dtype=torch.float32)
        assert type(prior) is kind
        assert prior.needs == needs
        assert prior.views == needs.views


def test_needs_of_aliases_are_known_without_network(cache: Path) -> None:
    expected = {"mvdream": MVDREAM, "zero123": ZERO123, "stable-zero123": ZERO123}
    assert {alias: describe_prior(alias) for alias in ALIASES} == {
        alias: expected.get(alias, TEXT) for alias in ALIASES
    }
    assert full_prior_name("sd") == "sd"


def test_embedded_priors_and_files(tmp_path: Path) -> None:
    needs = [
        Needs(),
        Needs(views=4, orbit=MVDREAM_ORBIT),
        Needs(picture=True, orbit=ZERO123_ORBIT),
    ]
    assert [describe_prior(name) for name in ("toybox", "toybox-mv", "toybox-pose")] == needs
    for name, kind in EMBEDDED.items():
        assert describe_prior(str(kind.weights)) == kind.needs == describe_prior(name)
    prior = load_prior(str(ToyboxPrior.weights), dtype=torch.float32)
    assert type(prior) is ToyboxPrior
    assert full_prior_name("x.safetensors") == str(Path("x.safetensors").absolute())
    missing, other = tmp_path / "none.safetensors", tmp_path / "other.safetensors"
    other.write_bytes(b"not tensors")
    for read in (describe_prior, load_prior):
        with pytest.raises(ValueError, match=f"there is no file {missing}"):
            read(str(missing))
        with pytest.raises(ValueError, match=f"{other} is no safetensors file"):
            read(str(other))


OWN = """
from scoredistill.contracts import Needs
from scoredistill.priors.toybox import ToyboxPrior, ToyboxViewsPrior
from scoredistill.views import MVDREAM_ORBIT

class Mine(ToyboxViewsPrior):
    needs = Needs(views=4, orbit=MVDREAM_ORBIT)
    def __init__(self, device="cpu"):
        super().__init__(ToyboxViewsPrior.load().net, device)

def make():
    return ToyboxPrior.load()

class Four:
    views = 4

def demanding(weights):
    return None

number = 3
"""


def test_a_prior_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    assert full_prior_name("mine.py:Mine") == f"{tmp_path / 'mine.py'}:Mine"
    assert describe_prior("mine.py:Mine") == Needs(views=4, orbit=MVDREAM_ORBIT)
    assert describe_prior("mine.py:make") == Needs()
    assert describe_prior("mine.py:Four") == Needs(views=4)
    assert describe_prior("scoredistill.priors.zero123:Zero123Prior") == ZERO123
    assert str(load_prior("mine.py:Mine", "meta").device) == "meta"  # type: ignore[attr-defined]
    assert type(load_prior("mine.py:make")) is ToyboxPrior
    for name, message in {
        "Four": "returned a Four, which is not a Prior",
        "demanding": "is called with no argument but device: missing a required argument: 'weights'",
        "number": "is neither a class nor a function",
        "absent": "defines no 'absent'",
    }.items():
        with pytest.raises(ValueError, match=message):
            load_prior(f"mine.py:{name}")


def test_samples_of_ones_own_prior_that_are_not_finite(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        OWN + "\nclass Broken(Mine):\n    def eps(self, x_t, t, *conditions):\n        return (x_t * 1e39,) * 2\n"
    )
    with pytest.raises(FloatingPointError, match=f"the sample of prior {mine}:Broken is not finite"):
        samples(PriorConfig(f"{mine}:Broken"), Prompt("a red car"), 4, scale=2.0, steps=1, seed=0)


def test_a_script_that_exits_ends_nothing_else(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nsys.exit()\n")
    with pytest.raises(ValueError, match=f"{script} cannot be loaded: SystemExit$"):
        load_prior(f"{script}:Mine")


def test_many_samples_are_drawn_in_portions_of_whole_groups_of_views(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        OWN + "\nclass Joint(Mine):\n    def eps(self, x_t, t, *conditions):\n"
        "        assert len(x_t) in (4, 16)\n        return (0.1 * x_t,) * len(conditions)\n"
    )
    recipe = changed(fast("a red car"), "prior.name", f"{mine}:Joint")
    assert of_prior(recipe, 18, lambda rgb: rgb.flatten(1)).shape == (20, 3 * 64 * 64)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sdx", "unknown prior 'sdx'; nearest known: sdxl"),
        ("toy-box", "unknown prior 'toy-box'; nearest known: toybox"),
        ("/data/none", "there is no file or folder /data/none"),
        ("/none", "there is no file or folder /none"),
        ("data/models/none", "there is no file or folder data/models/none"),
        ("/data/none.ckpt", "there is no file /data/none.ckpt"),
        ("", "unknown prior ''"),
        ("./none", "there is no file or folder ./none"),
        ("../none", "there is no file or folder ../none"),
        ("none.py:Mine", "there is no file "),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    for read in (describe_prior, load_prior):
        with pytest.raises(ValueError, match=f"^{message}") as error:
            read(name)
        assert "\n" not in str(error.value)


def test_the_files_of_a_prior(
    folders: dict[str, Path], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that is read, by absolute paths; nothing that is not."""
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "a.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "mine.py"
    assert prior_files("toybox-mv") == [EMBEDDED["toybox-mv"].weights]
    assert prior_files("mine.py:Mine", ["a.safetensors:0.5"]) == [tmp_path / "a.safetensors", own]
    assert prior_files("scoredistill.priors.zero123:Zero123Prior")[0].name == "__init__.py"
    folder = shutil.copytree(folders["sd15"], tmp_path / "model")
    expected = sorted(file for file in folder.rglob("*") if file.is_file() and "words" not in file.parts)
    for name in ("unet/diffusion_pytorch_model.bin", "unet/other.safetensors", "safety_checker/config.json", "x.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert {"unet", "vae", "text_encoder", "tokenizer", "scheduler", "model"} == {file.parent.name for file in expected}
    assert prior_files("model") == expected
    half = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    half.touch()
    assert prior_files("model") == sorted([*expected, half])
    snapshot = tiny_pipelines.in_cache(folder, cache, "org/tiny", REVISION)
    assert prior_files("org/tiny") == [snapshot / file.relative_to(folder) for file in prior_files("model")]


@pytest.mark.parametrize("name", ["toybox", "toybox-mv", "toybox-pose", "zero123", "own.py:Mine"])
@pytest.mark.parametrize("prompting", ["interpolated", "perp-neg"])
def test_view_prompting_is_for_text_models(name: str, prompting: Any) -> None:
    with pytest.raises(ValueError, match=f"^prior '{name}' has no view-dependent prompting"):
        load_prior(name, view_prompting=prompting)


def test_the_list_of_priors_names_all_kinds() -> None:
    listing = priors_help()
    assert all(f"\n{name} " in f"\n{listing}" for name in (*EMBEDDED, *ALIASES, "PATH.safetensors", "FOLDER"))


ENVIRONMENTS = ("refused", "silent", "offline")
"""An endpoint of the hub that refuses connections, one that never answers, and HF_HUB_OFFLINE."""
PARTS = [
    ("text_encoder", ["model.safetensors"]),
    ("tokenizer", ["tokenizer.json", "vocab.json", "merges.txt"]),
    ("unet", ["diffusion_pytorch_model.safetensors"]),
    ("scheduler", ["scheduler_config.json"]),
]
WITHOUT_HUB = """
import json, sys, time
from pathlib import Path
import huggingface_hub, torch
from scoredistill.contracts import Prompt
from scoredistill.priors.load import load_prior

def load(name):
    load_prior(name, dtype=torch.float32).conditions(Prompt("a"), None, 1)

def attempt(name):
    start = time.monotonic()
    try:
        load(name)
    except (ValueError, OSError) as error:
        return str(error), time.monotonic() - start

missing, partial = [attempt(name) for name in ("mvdream", "org/none")], []
print("what follows loads a model", file=sys.stderr)
load("org/tiny")  # its imports take long
for part, names in json.loads(sys.argv[2]):
    for name in names:
        (Path(sys.argv[1]) / part / name).unlink(missing_ok=True)
    partial.append(attempt("org/tiny"))
print(json.dumps([missing, partial]))
"""


@pytest.fixture(scope="module")
def without_hub(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Processes without a hub, one for each environment, all at once since they mostly wait for it."""
    with contextlib.ExitStack() as stack:
        found = {}
        for name in ENVIRONMENTS:
            place = tmp_path_factory.mktemp(name)
            folder = Path(shutil.copytree(folders["sd15"], place / "model"))
            tiny_pipelines.in_cache(folder, place / "hub", "org/tiny", REVISION)
            server = stack.enter_context(socket.socket())
            server.bind(("127.0.0.1", 0))
            if name == "silent":
                server.listen(16)
            given = {"HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}", "HF_HOME": str(place)}
            given |= {"HF_HUB_CACHE": str(place / "hub")} | ({"HF_HUB_OFFLINE": "1"} if name == "offline" else {})
            command = [sys.executable, "-c", WITHOUT_HUB, str(folder), json.dumps(PARTS)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            process = stack.enter_context(subprocess.Popen(command, env=os.environ | given, **pipes))
            stack.callback(process.kill)
            found[name] = process
        yield {name: (*process.communicate(), process.returncode) for name, process in found.items()}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_without_the_hub_a_missing_model_is_one_line_in_three_seconds(
    without_hub: dict[str, Any], environment: str
) -> None:
    """No retries, no warnings of the hub's library; an alias with several candidates takes as long as one."""
    out, errors, code = without_hub[environment]
    assert code == 0, errors
    assert errors.startswith("what follows loads a model\n")
    reason = "HF_HUB_OFFLINE is set" if environment == "offline" else "the hub is unreachable"
    missing, _ = json.loads(out)
    assert len(missing) == 2
    for message, seconds in missing:
        assert "\n" not in message
        assert message.count(f"(not in the cache, and {reason})") == (2 if "mvdream" in message else 1)
        assert seconds < 4.5


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_model_that_is_cached_in_part_is_one_line_in_three_seconds(
    without_hub: dict[str, Any], environment: str
) -> None:
    """For each file that is missing; one request, not one for each file that could hold it."""
    _, partial = json.loads(without_hub[environment][0])
    assert len(partial) == len(PARTS)
    for message, seconds in partial:
        assert "not in the cache" in message
        assert "\n" not in message
        assert seconds < 12  # three for the hub; retries would take more than twenty
