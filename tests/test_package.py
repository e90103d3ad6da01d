"""What is published: every file of the package, one version everywhere, a pin for each dependency, valid templates."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import scoredistill

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PATTERNS = PROJECT["tool"]["setuptools"]["package-data"]["scoredistill"]


def test_every_file_of_the_package_is_in_the_wheel() -> None:
    package = ROOT / "scoredistill"
    matched = {path for pattern in PATTERNS for path in package.glob(pattern)}
    files = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert not {path for path in files - matched if path.suffix != ".py"}
    assert not {path for path in matched if path.suffix == ".py"}


def test_weights_may_have_folders(tmp_path: Path) -> None:
    """A model in the layout of diffusers is a folder with folders."""
    part = tmp_path / "weights" / "model" / "unet" / "config.json"
    part.parent.mkdir(parents=True)
    part.touch()
    assert part in {path for pattern in PATTERNS for path in tmp_path.glob(pattern)}


def test_there_is_one_version() -> None:
    version = scoredistill.__version__
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version  # type: ignore[index]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version


def test_every_dependency_has_a_pin() -> None:
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = [*PROJECT["project"]["dependencies"], *(each for extra in extras for each in extra)]
    names = {re.split(r"[<>=\[ ]", each)[0] for each in wanted} - {"scoredistill"}
    pins = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {_normal(name) for name in names} <= {_normal(name) for name in pins}


def _normal(name: str) -> str:
    """A project's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_templates_and_workflows_are_yaml(path: Path) -> None:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    if "body" in found:
        assert {"name", "description"} <= found.keys()


def test_the_workflow_runs_what_ci_runs() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text())["jobs"]
    for job in jobs.values():
        assert "bash .ci/run" in [step.get("run") for step in job["steps"]]
