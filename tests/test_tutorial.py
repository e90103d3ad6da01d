"""The examples run as a reader runs them, and the numbers that the tutorial's text rests on are so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PICTURES = ("1_ddim", "2_noise_of_sds", "3_which_noise", "4_inferred_noise", "5_dsd", "6_side_by_side")


def example(folder: Path, name: str, *arguments: str) -> None:
    """Run a script of examples/ in `folder`, on one core."""
    script = ROOT / "examples" / name
    alone = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(script), *arguments], cwd=folder, env=alone, check=True, capture_output=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tutorial's pictures and numbers."""
    here = tmp_path_factory.mktemp("tutorial")
    example(here, "tutorial.py")
    return here / "tutorial"


@pytest.fixture(scope="module")
def numbers(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "numbers.json").read_text())


def test_every_picture_is_drawn(folder: Path) -> None:
    assert {path.stem for path in folder.glob("*.png")} == set(PICTURES)
    text = (ROOT / "examples" / "tutorial.py").read_text()
    assert all(f"# `{name}.png`." in text for name in PICTURES), "each picture is described"


def test_sds_has_the_mean_and_deviation_of_its_closed_form(numbers: dict[str, Any]) -> None:
    assert numbers["mean of SDS, largest error in standard errors"] < 4
    assert numbers["standard deviation of SDS, largest relative error"] < 0.02  # four standard errors of 20,000 draws
    assert 38 < numbers["standard deviation of SDS, three clusters over one, largest"] < 40


def test_sdi_with_cached_noise_is_ddim(numbers: dict[str, Any]) -> None:
    assert numbers["cached SDI minus DDIM, largest"] < 1e-12
    fresh, fixed, cached = numbers["same cluster as DDIM, by noise"]
    assert fresh < 0.5 < 0.9 < fixed < cached == 1


def test_inverted_noise_makes_sharp_images(numbers: dict[str, Any]) -> None:
    sds, equal, sdi, ddim = numbers["distance to a center: SDS, SDI at inversion 1, SDI, DDIM"]
    assert sdi < 0.02 < ddim < 0.3 < 1 < min(sds, equal)
    sds, sdi = numbers["R late in the run: SDS, SDI"]
    assert sdi < 1e-5 < 0.3 < sds


def test_dsd_lands_on_the_ddim_sample_of_its_own_noise(numbers: dict[str, Any]) -> None:
    assert numbers["DSD* minus DDIM, largest over all iterates"] < 1e-10
    assert numbers["300 updates of DSD, median distance to DDIM"] < 0.1


@pytest.mark.parametrize(
    ("method", "covered"),
    [("DDIM", 3), ("SDS", 2), ("SDS, scale 101", 2), ("SDI", 1), ("SDI, fixed noise", 3), ("DSD", 3)],
)
def test_how_many_clusters_a_method_finds(numbers: dict[str, Any], method: str, covered: int) -> None:
    shares = numbers[f"{method}: shares of the clusters"]
    assert sum(share > 0.02 for share in shares) == covered
    assert sum(shares) == pytest.approx(1)
    assert (numbers[f"{method}: same cluster as DDIM"] > 0.9) is (covered == 3)


def test_the_playground_draws_a_row_for_each_method(prior: str, tmp_path: Path) -> None:
    from PIL import Image

    flags = ["--prior", prior, "--steps", "2", "--count", "3", "--methods", "sds", "dsd"]
    example(tmp_path, "2d_playground.py", "a red car", *flags, "--out", "rows.png")
    width, height = Image.open(tmp_path / "rows.png").size
    assert (width + 4, height + 4) == (3 * 132, 3 * 132)  # two methods and DDIM, three images of 128 pixels, gaps of 4
