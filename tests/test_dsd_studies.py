"""The studies of the DSD paper at toy size, and their statistics against closed forms and numpy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import SHAPE, lively_net

from scoredistill.evaluate import metrics
from scoredistill.evaluate.judge import KINDS, Judge
from scoredistill.evaluate.judge_network import JudgeNetwork
from scoredistill.evaluate.judge_network import Shape as JudgeShape
from scoredistill.methods import ddim
from scoredistill.methods.catalogue import METHODS
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.priors.toybox.unet import UNet
from scoredistill.studies import dsd_diversity, dsd_seeds, inverted_noises, truth
from scoredistill.studies.cache import fingerprint, made_by
from scoredistill.studies.dsd_diversity import DDIM, FLAT, TRUE, claimed
from scoredistill.studies.embedding import Separation, separation, shuffled, squared_distances, tsne
from scoredistill.studies.quality import Quality, unlikeness
from scoredistill.studies.study import CAPTIONS, Bench
from scoredistill.toybox.captions import CONTEXT, VOCABULARY


@pytest.fixture(scope="module")
def bench() -> Bench:
    """Two captions of two seeds for two steps, with an untrained prior and judge that depend on the words."""
    prior = ToyboxPrior(lively_net(), dtype=torch.float32)
    torch.manual_seed(0)
    judge = Judge(JudgeNetwork(JudgeShape(len(VOCABULARY), CONTEXT, widths=(16, 16), text_width=16, text_layers=1)))
    return Bench(prior, judge, CAPTIONS[:2], seeds=2, steps=2)


@pytest.fixture(autouse=True)
def _few_renders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dsd_diversity, "RENDERS", 2)
    monkeypatch.setattr(dsd_seeds, "ODE_STEPS", 4)


def clusters(apart: float, count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Two groups of unit Gaussians in eight dimensions, their centers `apart`."""
    points = torch.randn(2 * count, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    group = torch.arange(2).repeat_interleave(count)
    points[:, 0] += apart * group
    return points, group


# --- points of many dimensions ---


def test_tsne_separates_two_distant_clusters() -> None:
    points, group = clusters(apart=30.0)
    flat = tsne(points, perplexity=5.0, steps=250)
    assert flat.shape == (24, 2)
    assert torch.equal(flat, tsne(points, perplexity=5.0, steps=250))
    assert separation(flat, group).nearest == 1
    assert separation(flat, group).ratio < 0.35
    mixed = tsne(clusters(apart=0.0)[0], perplexity=5.0, steps=250)
    assert separation(mixed, group).ratio > 0.8


def test_tsne_minimizes_its_divergence() -> None:
    """KL(P || Q), written out anew, is far below that of the initial noise; its gradient is small where tsne ends."""
    points, _ = clusters(apart=4.0, count=8)
    n, perplexity = len(points), 4.0
    squared = squared_distances(points).numpy() / 7
    p = np.zeros((n, n))
    for i in range(n):
        others = [j for j in range(n) if j != i]
        low, high = 1e-6, 1e6
        for _ in range(200):
            b = np.sqrt(low * high)
            row = np.exp(-b * (squared[i, others] - squared[i, others].min()))
            row = np.maximum(row / row.sum(), 1e-300)
            low, high = (b, high) if np.exp(-(row * np.log(row)).sum()) > perplexity else (low, b)
        p[i, others] = row
    joint = torch.from_numpy((p + p.T) / (2 * n))

    def divergence(y: torch.Tensor) -> torch.Tensor:
        off = ~torch.eye(n, dtype=torch.bool)
        student = 1 / (1 + (y[:, None] - y).square().sum(-1)[off])
        return (joint[off] * (joint[off] / (student / student.sum())).log()).sum()

    first = 1e-4 * torch.randn(n, 2, dtype=torch.float64)
    last = tsne(points, perplexity=perplexity, steps=800).requires_grad_()
    (gradient,) = torch.autograd.grad(divergence(last), last)
    assert divergence(last) < 0.3 * divergence(first)
    assert gradient.norm() < 1e-3


def test_tsne_refuses_an_impossible_perplexity() -> None:
    with pytest.raises(ValueError, match="perplexity above 1 and below 23, got 40"):
        tsne(clusters(1.0)[0], perplexity=40.0)


def test_separation_against_loops() -> None:
    points, group = clusters(apart=2.0, count=5)
    x = points.numpy()
    within, between, hits = [], [], 0
    for i in range(10):
        for j in range(10):
            if i != j:
                (within if group[i] == group[j] else between).append(np.linalg.norm(x[i] - x[j]))
        nearest = min((j for j in range(10) if j != i), key=lambda j: np.linalg.norm(x[i] - x[j]))
        hits += int(group[nearest] == group[i])
    found = separation(points, group)
    assert found.ratio == pytest.approx(np.mean(within) / np.mean(between), rel=1e-12)
    assert found.nearest == hits / 10


def test_shuffled_groups_do_not_separate() -> None:
    points, group = clusters(apart=30.0)
    chance = shuffled(points, group, count=50)
    assert np.mean([each.ratio for each in chance]) == pytest.approx(1, abs=0.03)
    assert separation(points, group).ratio < min(each.ratio for each in chance)
    with pytest.raises(ValueError, match="two groups"):
        separation(points, torch.zeros(24, dtype=torch.long))


# --- the table of methods ---


def test_diversity_of_each_image_averages_to_the_metric(bench: Bench) -> None:
    features = torch.nn.functional.normalize(torch.randn(6, 5), dim=-1)
    three = dataclasses.replace(bench, seeds=3)
    found = unlikeness(three, features)
    for mine, theirs in zip(found.mean(1), features.split(3), strict=True):
        assert float(mine) == pytest.approx(metrics.diversity(theirs), abs=1e-6)
    assert float(unlikeness(dataclasses.replace(bench, seeds=1), features[:2]).abs().max()) == 0


def test_the_embedded_judge_recognizes_true_renders() -> None:
    rgb = truth.renders(CAPTIONS[:3], 2, 64)
    assert rgb.shape == (6, 3, 64, 64)
    assert torch.equal(rgb, truth.renders(CAPTIONS[:3], 2, 64))
    assert not torch.equal(rgb[0], rgb[1])
    kinds = [kind for caption in CAPTIONS[:3] for kind in 2 * [next(k for k in KINDS if k in caption)]]
    assert sum(a == b for a, b in zip(Judge.load().recognize(rgb).kinds, kinds, strict=True)) >= 5


def test_every_method_is_in_the_table(bench: Bench) -> None:
    bench = dataclasses.replace(bench, captions=CAPTIONS[:1])
    finding = dsd_diversity.run(bench)
    assert [row[""] for row in finding.rows] == [TRUE, DDIM, FLAT, *METHODS]
    by_name = {row[""]: row for row in finding.rows}
    assert by_name[TRUE]["calls"] == 0
    assert (by_name["sds"]["calls"], by_name["sds"]["rows"]) == (2, 2 * 2 * bench.rows)
    assert by_name["vsd"]["calls"] == 2 * 3  # guided, the learner's own, and its training
    assert all(row["n"] == "2, 2" for row in finding.rows)
    assert finding.because.count(":") == 5
    (sheet,) = finding.sheets.values()
    assert sheet.pictures.shape == (1, 2 + len(METHODS), 3, 64, 64)


def quality(similarity: float, diverse: float, frechet: float) -> Quality:
    spread = 1e-3 * torch.arange(4.0).reshape(2, 2)
    images = {"similarity": similarity + spread, "diversity": diverse + spread}
    return Quality(images, metrics.Distance(frechet, 4, 4), metrics.Distance(0.0, 4, 4), None)


def test_the_claim_compares_diversity_among_faithful_methods_only() -> None:
    ours = {"dsd": quality(0.70, 0.20, 30.0), "sds": quality(0.71, 0.05, 29.0), "csd": quality(0.2, 0.5, 90.0)}
    assert [holds for holds, _ in claimed(ours)] == [True, True, True]
    assert [holds for holds, _ in claimed(ours | {"cfd": quality(0.72, 0.3, 29.0)})] == [True, True, False]
    assert [holds for holds, _ in claimed(ours | {"sds": quality(0.8, 0.05, 20.0)})] == [False, False, True]
    assert claimed({"dsd": ours["dsd"], "csd": ours["csd"]})[2] == (True, "no other method is as true")


def test_table_three_distinguishes_the_sources(bench: Bench) -> None:
    finding = dsd_diversity.run_sources(dataclasses.replace(bench, captions=CAPTIONS[:1]))
    assert [row[""] for row in finding.rows[2:]] == [f"dsd, {name} noise" for name in ("random", "fixed", "ode")]
    values = [row["similarity"]["mean"] for row in finding.rows[2:]]
    assert len(set(values)) == 3


def test_finished_images_are_read_from_the_cache(bench: Bench, tmp_path: Path) -> None:
    bench = dataclasses.replace(bench, cache=tmp_path)
    first = made_by(bench, "a", "sds")
    calls = bench.prior.calls
    again = made_by(bench, "a", "sds")
    assert bench.prior.calls == calls
    assert torch.equal(first.pictures, again.pictures)
    assert (first.calls, first.rows, first.seconds) == (again.calls, again.rows, again.seconds)
    other = made_by(bench, "a", "sds", scale=1.0)  # other settings: computed anew
    assert bench.prior.calls > calls
    assert not torch.equal(first.pictures, other.pictures)


@pytest.mark.parametrize("content", [b"", b"{}"])
def test_a_damaged_cache_is_computed_anew(bench: Bench, tmp_path: Path, content: bytes) -> None:
    bench = dataclasses.replace(bench, cache=tmp_path)
    first = made_by(bench, "a", "sds")
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(content)
    assert torch.equal(first.pictures, made_by(bench, "a", "sds").pictures)
    assert len(file.read_bytes()) > 2


def test_other_weights_are_another_fingerprint(bench: Bench) -> None:
    other = UNet(SHAPE)
    other.load_state_dict(bench.prior.net.state_dict())
    assert fingerprint(other) == fingerprint(bench.prior.net)
    with torch.no_grad():
        next(other.parameters()).flatten()[0] += 1e-3
    assert fingerprint(other) != fingerprint(bench.prior.net)


# --- the same seeds, and the inverted noises ---


def test_distances_to_samples(bench: Bench) -> None:
    """A constant shift of c is c away; the other seed's sample is as far as the samples are apart."""
    samples = torch.rand(4, 3, 8, 8)
    found = dsd_seeds.distances(bench, samples + 0.25, samples)
    assert found.shape == (2, 2, 2)
    assert torch.allclose(found.diagonal(dim1=1, dim2=2), torch.full((2, 2), 0.25), atol=1e-6)
    wanted = np.sqrt(((samples[0] + 0.25 - samples[1]).numpy() ** 2).mean())
    assert float(found[0, 0, 1]) == pytest.approx(wanted, rel=1e-5)


def test_dsd_star_is_ddim(bench: Bench) -> None:
    finding = dsd_seeds.run(bench)
    by_name = {row[""]: row for row in finding.rows}
    assert by_name["DSD*"]["to the sample of its noise"]["mean"] < 1e-4
    assert by_name["DDIM"]["its own is the nearest"]["mean"] == 1
    assert float((dsd_seeds.flat(bench, 12) - dsd_seeds.reference(bench)).abs().max()) > 1e-3  # more steps deviate


def test_inverted_noises_of_an_untrained_prior(bench: Bench) -> None:
    four = dataclasses.replace(bench, seeds=4)
    finding = inverted_noises.run(four)
    names = [row[""] for row in finding.rows]
    assert names[:3] == [inverted_noises.NOISES, "noises under no caption", inverted_noises.PICTURES]
    assert finding.rows[2][inverted_noises.RATIO] < 1  # views of one toy are alike
    (sheet,) = finding.sheets.values()
    assert sheet.pictures.shape[:2] == (1, 2)


def test_inversion_is_undone_by_sampling(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """DDIM from the inverted noise returns to the picture, more closely with more steps."""
    rgb = truth.renders(bench.captions, 2, bench.size)
    x, errors = bench.prior.encode(rgb), []
    for steps in (4, 16):
        monkeypatch.setattr(inverted_noises, "STEPS", steps)
        x_T = inverted_noises.inverted(bench, x, bench.prompt)
        conditions = bench.prior.conditions(bench.prompt, None, bench.rows)
        back = ddim.sample(bench.prior, x_T, conditions, scale=1.0, steps=steps)
        errors.append(float((back - x).square().mean().sqrt()))
    assert errors[1] < 0.5 * errors[0]


def test_the_verdict_on_inverted_noises() -> None:
    chance = [Separation(0.98, 0.1), Separation(1.01, 0.2)]
    pictures = Separation(0.5, 1.0)
    assert inverted_noises.verdict(Separation(0.9, 0.9), pictures, chance)[0] is True
    assert inverted_noises.verdict(Separation(0.99, 0.9), pictures, chance)[0] is False
    assert inverted_noises.verdict(Separation(0.9, 0.15), pictures, chance)[0] is False
