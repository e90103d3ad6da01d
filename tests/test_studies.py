"""The studies: each from end to end at toy size, its page, its statistics, and the identity behind it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from scipy import stats
from tiny import lively_net

from scoredistill.cli import main
from scoredistill.evaluate.judge import Judge
from scoredistill.export.findings import Findings, render_findings
from scoredistill.export.plot import Line, Plot, svg
from scoredistill.export.sheet import Sheet
from scoredistill.priors import toybox
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.runs import checkpoint
from scoredistill.studies import SCENE_STUDIES, STUDIES
from scoredistill.studies.cache import Made, remembered
from scoredistill.studies.distill import cached_sdi, distill, image, sampled, watch
from scoredistill.studies.estimates import all_of, conclude, exceeds, gap, over_seeds
from scoredistill.studies.images import judged, pixels
from scoredistill.studies.residuals import along, residual, run_with_residuals, within
from scoredistill.studies.sdi_noise_patterns import concentration
from scoredistill.studies.study import CAPTIONS, Bench
from scoredistill.toybox.captions import KINDS

SDI = [name for name in STUDIES if name.startswith("sdi_")]
SIZE = ("--captions", "1", "--seeds", "1", "--steps", "2")


@pytest.fixture(scope="module")
def bench() -> Bench:
    """Two captions by two seeds on an untrained prior, in float32."""
    return Bench(ToyboxPrior(lively_net(), dtype=torch.float32), Judge.load(), CAPTIONS[:2], seeds=2, steps=6)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of its weights."""
    path = tmp_path_factory.mktemp("weights") / "lively.safetensors"
    toybox.save(path, lively_net())
    return str(path)


class Tags(HTMLParser):
    """The tags, links and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", SDI)
def test_every_study_writes_its_page_from_the_command_line(prior: str, tmp_path: Path, name: str) -> None:
    assert main(["study", name, *SIZE, "--prior", prior, "--device", "cpu", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "result.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert (result["study"], result["holds"] in (True, False, None)) == (name, True)
    assert result["rows"]
    assert {"captions", "seeds", "steps", "seed", "prior", "precision"} <= result["settings"].keys()
    assert f"scoredistill study {name} --captions 1 --seeds 1 --steps 2 --seed 0 --device cpu" in result["command"]
    page = Tags((tmp_path / "index.html").read_text("utf-8"))
    assert result["because"] in page.text
    assert STUDIES[name].claim in page.text
    assert "script" not in page.tags
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    for picture in tmp_path.glob("*.png"):
        assert Pillow.open(picture).size[0] >= 128
    assert list(tmp_path.glob("*.png"))


def test_the_same_command_gives_the_same_numbers(prior: str, tmp_path: Path) -> None:
    rows = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        flags = [*SIZE, "--prior", prior, "--device", "cpu", "--seed", seed, "--out", str(tmp_path / name)]
        assert main(["study", "sdi_scales", *flags]) == 0
        rows.append(json.loads((tmp_path / name / "result.json").read_text())["rows"])
    assert rows[0] == rows[1] != rows[2]


def test_studies_are_listed_and_unknown_ones_name_their_neighbors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study"]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()] == [*STUDIES, *SCENE_STUDIES]
    assert main(["study", "sdi_residual"]) == 2
    assert "sdi_residuals" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--captions", "0"], "captions must be in [1, 30]"),
        (["--captions", "31"], "captions must be in [1, 30], got 31"),
        (["--seeds", "-1"], "seeds must be in [1, 1000]"),
        (["--steps", "0"], "steps must be in [1, 100000]"),
    ],
)
def test_bad_sizes_give_one_line(
    prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], complaint: str
) -> None:
    assert main(["study", "sdi_scales", *flags, "--prior", prior, "--out", str(tmp_path)]) == 2
    assert complaint in capsys.readouterr().err


def test_a_folder_without_a_study_is_left_alone(prior: str, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["study", "sdi_scales", *SIZE, "--prior", prior, "--out", str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_bad_prior_of_a_study_leaves_no_folder(tmp_path: Path) -> None:
    assert main(["study", "sdi_scales", *SIZE, "--prior", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("one", "other"), [("2.5", "-2.5"), ("a b", "a_b"), ("sdi", "SDI")])
def test_names_that_differ_in_signs_have_places_of_their_own_in_a_cache(tmp_path: Path, one: str, other: str) -> None:
    made: list[str] = []

    def result(name: str) -> Made:
        made.append(name)
        return Made(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), len(made), 1, 0.0)

    for name in (one, other, one, other):
        found = remembered(tmp_path, name, {"name": name}, Made, lambda name=name: result(name))
        assert found.calls == (1 if name == one else 2)
    assert made == [one, other]


def test_what_earlier_versions_have_cached_is_found(tmp_path: Path) -> None:
    """And is not touched."""
    pictures = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    made = {"pictures": pictures, "calls": 7, "rows": 1, "seconds": 0.0}
    checkpoint.write(tmp_path / "dsd_ode", {"index": 0, "key": {"scale": 1}, "made": made})
    other = Made(pictures, 8, 1, 0.0)
    assert remembered(tmp_path, "dsd-ode", {"scale": 2}, Made, lambda: other).calls == 8
    assert remembered(tmp_path, "dsd ode", {"scale": 1}, Made, lambda: other).calls == 7


def test_the_captions_name_every_kind_once() -> None:
    assert len(CAPTIONS) == len(set(CAPTIONS)) == len(KINDS)
    assert all(sum(kind in caption.split("with")[0] for caption in CAPTIONS) == 1 for kind in KINDS if kind != "cat")


def test_a_batch_holds_the_seeds_of_a_caption_next_to_each_other(bench: Bench) -> None:
    assert bench.texts == (CAPTIONS[0], CAPTIONS[0], CAPTIONS[1], CAPTIONS[1])
    assert bench.fold(torch.arange(4.0)).tolist() == [[0, 1], [2, 3]]
    assert bench.firsts(torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 1, 1))[:, 0, 0, 0].tolist() == [0, 2]


def test_the_mean_is_over_everything_and_the_deviation_over_seeds() -> None:
    values = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = over_seeds(values)
    means = values.numpy().mean(0)
    assert found["mean"] == pytest.approx(values.numpy().mean())
    assert found["sd"] == pytest.approx(np.std(means, ddof=1))
    assert found["n"] == 4
    assert over_seeds(values[:, :1])["sd"] is None


def test_a_gap_counts_beyond_its_interval() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (6, 5)), rng.normal(0, 1, (6, 5))
    found = gap(torch.tensor(a), torch.tensor(b))
    assert found.mean == pytest.approx((a - b).mean())
    assert found.limits == pytest.approx(stats.ttest_rel(a.flatten(), b.flatten()).confidence_interval(0.95))
    assert gap(torch.tensor(a + 3), torch.tensor(b)).sign is True
    assert gap(torch.tensor(a - 3), torch.tensor(b)).sign is False
    assert gap(torch.ones(1, 1), torch.zeros(1, 1)).sign is None


def test_a_claim_holds_when_all_its_parts_do() -> None:
    assert all_of(True, True) is True
    assert all_of(True, None) is None
    assert all_of(True, None, False) is False
    ones, part = torch.ones(2, 2), exceeds("a less b", torch.tensor([[1.0, 1.1], [0.9, 1.0]]), torch.zeros(2, 2))
    assert conclude(part, (None, "c")) == (None, "a less b +1 [+0.87, +1.13] (n = 4): yes; c: undecided.")
    assert conclude(exceeds("none", ones, ones))[0] is None


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_cached_sdi_is_ddim(bench: Bench, scale: float) -> None:
    """At every step of the sampler, up to float32."""
    x = sampled(bench, scale)
    torch.testing.assert_close(cached_sdi(bench, scale), x, atol=1e-4, rtol=1e-4)
    assert float(x.std()) > 0.01


def test_one_step_of_the_driver_is_one_step_of_adam(bench: Bench) -> None:
    """From zero moments Adam moves every pixel by its rate against the sign of the gradient."""
    scene, method = image(bench, rate=0.01), bench.terms.sdi()
    start = scene.pixels.detach().clone()
    step = next(watch(bench, scene, method))
    moved = scene.pixels.detach() - start
    large = step.distilled.grad.abs() > 1e-10
    torch.testing.assert_close(moved[large], -0.01 * step.distilled.grad.sign()[large], atol=1e-5, rtol=1e-4)
    assert float(large.float().mean()) > 0.9


def test_rows_are_independent(bench: Bench) -> None:
    """The first caption alone gives the same images as beside another, if nothing is drawn for the batch."""
    alone = replace(bench, captions=bench.captions[:1])
    method = bench.terms.sdi(entropy=0.0, tau=0.0)
    both, one = distill(bench, method), distill(alone, method)
    torch.testing.assert_close(both[:2], one, atol=2e-3, rtol=0)


def test_the_residual_is_the_error_of_equation_8(bench: Bench) -> None:
    """mean((D - x)^2) = mean((sbar (kappa - eps_g(x_t, t)))^2), the latter computed from the network's predictions."""
    scene = image(bench)
    step = next(watch(bench, scene, bench.terms.sdi()))
    probe, prior = step.distilled.probe, bench.prior
    conditions = prior.conditions(bench.prompt, None, bench.rows)
    text, null = prior.eps(probe["x_t"], probe["t"], conditions.text, conditions.null)
    error = prior.schedule.sbar(probe["t"], text) * (probe["kappa"] - null - bench.terms.here(7.5) * (text - null))
    torch.testing.assert_close(residual(step.distilled, step.x), error.square().mean((1, 2, 3)), rtol=1e-3, atol=1e-7)


def test_noise_sources_are_compared_at_the_images_of_one_run(bench: Bench) -> None:
    """The method of the run, evaluated again at the run's images, has the residual of the run."""
    path = bench.terms.sdi(entropy=0.0, tau=0.0)
    times, errors = along(bench, path, {"again": path, "random": bench.terms.sdi(noise_source="random")})
    own = run_with_residuals(bench, path)
    assert times == own.times
    torch.testing.assert_close(errors["again"], own.errors, rtol=1e-3, atol=1e-6)
    assert not torch.allclose(errors["random"], own.errors, rtol=0.1)


def test_errors_are_averaged_over_the_times_that_the_paper_plots(bench: Bench) -> None:
    errors = torch.arange(4.0).reshape(4, 1, 1)
    assert within(bench, [0.95, 0.8, 0.4, 0.1], errors).flatten().tolist() == [1, 2]
    assert within(bench, [0.95], errors[:1]).flatten().tolist() == [0]


def test_calls_are_those_of_the_inversion_and_one_more(bench: Bench) -> None:
    method = bench.terms.sdi(steps_per_unit=4.0)
    made = run_with_residuals(bench, method)
    assert made.calls == pytest.approx(np.mean([max(int(4 * t + 1e-6), 1) + 1 for t in made.times]))


def test_energy_on_the_toy_is_measured_exactly() -> None:
    toy = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    toy[:, :, 16:48, 16:48] = True
    kappa = torch.where(toy, 3.0, 1.0).expand(2, 3, 64, 64).clone()
    torch.testing.assert_close(concentration(kappa, toy), torch.full((2,), 9.0))


def test_saturation_and_sharpness_are_those_of_the_pixels(bench: Bench) -> None:
    rgb = torch.full((4, 3, 64, 64), 0.5)
    rgb[0, 0], rgb[0, 1] = 0.9, 0.2
    found = judged(bench, rgb)
    assert found["saturation"].tolist() == pytest.approx(torch.tensor([[0.7, 0], [0, 0]]))
    assert float(found["sharpness"].abs().max()) < 1e-3
    assert float(pixels(bench, torch.full((4, 3, 64, 64), torch.nan)).sum()) == 0


def findings(**changes: object) -> Findings:
    page = Findings("T", "S", "claim", True, "because", [{"": "a", "x": {"mean": 1.23456, "sd": 0.5, "n": 3}}])
    return replace(page, **changes)  # type: ignore[arg-type]


def test_text_of_a_study_is_escaped() -> None:
    bad = "<script>alert('1')</script>&"
    sheet = Sheet(torch.rand(1, 1, 3, 8, 8), [bad], [bad])
    plot = Plot([Line(bad, [0.0, 1.0], [1.0, 2.0], [0.1, None])], bad)
    html = render_findings(
        Findings(bad, bad, bad, None, bad, [{bad: bad}], {bad: sheet}, {bad: plot}, bad, {bad: bad}, bad, bad)
    )
    page = Tags(html)
    assert "script" not in page.tags
    assert page.text.count(bad) >= 14
    assert "default-src 'none'" in html


def test_a_table_shows_means_with_their_errors() -> None:
    html = render_findings(findings())
    assert "<th>x<small> n = 3</small></th>" in html
    assert "1.235<small> ± 0.5</small>" in html
    for holds, words in ((True, "It holds."), (False, "It does not hold here."), (None, "Undecided.")):
        assert words in render_findings(findings(holds=holds))


def test_lines_are_drawn_at_their_values() -> None:
    drawing = svg(Plot([Line("a", [0.0, 0.5, 1.0], [0.0, 2.0, 4.0], [None, 1.0, None])], "t"))
    (points,) = re.findall(r'<polyline class="line series-0" points="([^"]*)"', drawing)
    xs, ys = zip(*[map(float, point.split(",")) for point in points.split()], strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1])
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2])
    bar = re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", drawing)
    assert len(bar) == 1
    low, high = map(float, bar[0])
    assert low - high == pytest.approx((ys[0] - ys[2]) / 2, abs=0.1)  # two deviations are half of the range
    assert svg(Plot([Line("a", [0.0], [float("nan")], [None])], "t")) == ""


def test_a_sheet_needs_a_label_for_every_row_and_column() -> None:
    with pytest.raises(ValueError, match="2 x 1 labels for 1 x 1 pictures"):
        Sheet(torch.rand(1, 1, 3, 8, 8), ["a", "b"], ["c"])
    assert Sheet(torch.rand(2, 3, 3, 64, 64), ["a", "b"], ["c", "d", "e"]).picture().shape == (3, 260, 392)
