"""What the catalogue says of itself: counted costs, meanings of settings, and the page in docs/ made of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scoredistill.cli import main, method_help
from scoredistill.cli.costs import UPDATES, cost
from scoredistill.config import hints
from scoredistill.methods.catalogue import METHODS
from scoredistill.methods.dsd import DSD
from scoredistill.methods.method import DistillationConfig
from scoredistill.methods.sdi import SDI
from tools.algorithms import algorithm
from tools.equations import latex

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("method", "negative", "calls", "rows"),
    [
        *((name, "", 1, 2) for name in ("sds", "sjc", "hifa", "nfsd", "csd", "ssd", "cfd")),
        ("sds", "ugly", 1, 2),
        ("nfsd", "ugly", 1, 3),
        ("csd", "ugly", 1, 3 - 1 / UPDATES),  # its share is zero in the first update
        ("vsd", "", 3, 4),  # the prior, the learner, its training
        ("esd", "", 4, 5),  # the learner with and without its camera
        ("asd", "", 2, 3),
        ("consistent3d", "", 2, 4),
    ],
)
def test_costs_are_those_of_the_budget_table(method: str, negative: str, calls: float, rows: float) -> None:
    found = cost(METHODS[method](), negative)
    assert (found.calls, found.rows) == pytest.approx((calls, rows))


def test_sdi_evaluates_once_for_each_inversion_step_and_once_more() -> None:
    steps = [int(10 * (0.98 - 0.73 * update / UPDATES) + 1e-3) for update in range(UPDATES)]
    found = cost(SDI())
    assert found.calls == pytest.approx(1 + sum(steps) / UPDATES)
    assert found.calls == pytest.approx(6.5, abs=0.3)  # METHODS 10
    assert found.rows == pytest.approx(2 * found.calls)


def test_dsd_spreads_its_trajectory_over_the_run() -> None:
    points = 7  # of its grid .999, .899, ... .399: the last at or above t_min = .32
    found = cost(DSD())
    assert found.calls == pytest.approx(2 + points / UPDATES)
    assert found.rows == pytest.approx(3 + 2 * points / UPDATES)


@pytest.mark.parametrize("name", METHODS)
def test_entries_are_complete(name: str) -> None:
    about = method_help.entry(name)
    assert about.title
    assert about.title not in about.equation
    assert about.equation.startswith("grad = ")
    assert about.source.endswith(tuple(str(year) for year in range(2022, 2027)))
    assert about.paper in " ".join(METHODS[name].citation.split())
    assert all(method_help.field_comments(METHODS[name]).values())


def test_one_method_is_described_with_all_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "esd", "--preset", "paper"]) == 0
    out = capsys.readouterr().out
    assert method_help.entry("esd").equation in out
    assert "4 calls and 5 rows of the denoiser per update with preset paper" in out
    assert all(f"\n{setting} " in out for setting in hints(METHODS["esd"]))


def test_mvdreams_scale_is_one_number() -> None:
    """Its rescale factor is no guidance scale."""
    assert method_help.scales("mvdream", "paper") == "50"


def test_the_pages_of_the_methods_are_up_to_date(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tools.write_methods_doc", str(tmp_path)], cwd=ROOT, check=True)
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.md")}
    assert len(written) == len(METHODS) + 1
    for path in written:
        page = (ROOT / "docs" / path).read_text()
        assert page == (tmp_path / path).read_text(), f"{path}: run python -m tools.write_methods_doc"


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("grad = w(t) [eps_g(x_t, t, y) - eps]", r"\nabla_x = w(t) [\epsilon_{g}(x_{t}, t, y) - \epsilon ]"),
        ("eps ~ N(0, I),  s one step", r"\epsilon \sim \mathcal{N}(0, I),\quad s\ \text{one}\ \text{step}"),
        ("x0_hat -> image_weight / sbar", r"\hat{x_0} \to \ \text{image weight}\ / \bar{\sigma}"),
    ],
)
def test_equations_of_docstrings_become_latex(equation: str, expected: str) -> None:
    assert latex(equation) == expected


@pytest.mark.parametrize("name", METHODS)
def test_a_step_is_described_by_the_rules_that_compute_it(name: str) -> None:
    text = algorithm(METHODS[name])
    assert ("grad = w(t) [target - reference]" in text) is issubclass(METHODS[name], DistillationConfig)
    assert "def __call__" in text or all(word in text for word in ("**time**", "**noise**", "**weight**"))
