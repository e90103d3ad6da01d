"""The learner of VSD and ESD: it starts as the prior, leaves it alone, and learns the distribution of the renders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_folder import same
from tiny import PROMPT, SHAPE

from scoredistill.camera import Cameras, ring
from scoredistill.contracts import Learner, Prompt, Query, Step
from scoredistill.methods import noise, timesteps, weights
from scoredistill.methods.distillation import Distillation
from scoredistill.methods.guidance import guided
from scoredistill.optimize import Learning, optimize
from scoredistill.priors.low_rank_learner import LoraLearner
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.priors.toybox.unet import UNet
from scoredistill.runs import checkpoint
from scoredistill.scenes.image import Image
from scoredistill.views import no_cameras

BATCH, SIZE = 4, 16


def untrained(dtype: torch.dtype = torch.float32) -> ToyboxPrior:
    """A tiny prior none of whose weights is zero: a fresh network's zero layers would hide adapters behind them."""
    torch.manual_seed(0)
    net = UNet(SHAPE)
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return ToyboxPrior(net, dtype=dtype)


@pytest.fixture(scope="module")
def prior() -> ToyboxPrior:
    return untrained()


def ask(prior: ToyboxPrior, cameras: Cameras | None = None, seed: int = 0) -> Query:
    conditions = prior.conditions(Prompt(PROMPT), cameras, BATCH if cameras is None else len(cameras))
    return Query(prior, conditions, 0.0, torch.Generator().manual_seed(seed), cameras=cameras)


def picture(seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """One image of smooth colors, B times."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 3, 3, generator=rng, dtype=dtype) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear").repeat(BATCH, 1, 1, 1)


def noised(prior: ToyboxPrior, x: torch.Tensor, t: float, seed: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """x_t and the time [B] it belongs to."""
    times = torch.full((len(x),), t, dtype=torch.float64)
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return prior.schedule.diffuse(x, eps, times), times


def train(learner: LoraLearner, query: Query, x: torch.Tensor, steps: int) -> None:
    learning = Learning(learner)
    for _ in range(steps):
        learning.step(query, x)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """With more the prior divides the images among them, which float32's rounding shows."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_starts_as_the_prior_bit_for_bit(dtype: torch.dtype, one_thread: None) -> None:
    prior = untrained(dtype)
    learner, query = prior.learner(), ask(prior, ring(BATCH, SIZE))
    assert isinstance(learner, Learner)
    x_t, t = noised(prior, picture(), 0.6)
    with torch.no_grad():
        plain = prior.eps(x_t, t, query.conditions.plain)[0]
    for camera in (True, False):
        assert torch.equal(learner.eps(query, x_t, t, camera=camera), plain)


def test_the_published_start_has_adapters_of_deviation_one_over_the_rank_and_a_random_view(prior: ToyboxPrior) -> None:
    """METHODS 16.6: diffusers' LoRALinearLayer, and a camera network none of whose layers is zero."""
    learner, query = prior.learner(rank=8, start="published"), ask(prior, ring(BATCH, SIZE))
    adapters = [tensor for name, tensor in learner.state_dict().items() if name.endswith(".down")]
    assert float(torch.cat([tensor.flatten() for tensor in adapters]).std()) == pytest.approx(1 / 8, rel=0.02)
    assert not any(tensor.any() for name, tensor in learner.state_dict().items() if name.endswith(".up"))
    assert all(bool(parameter.any()) for parameter in learner.camera.parameters())
    x_t, t = noised(prior, picture(), 0.6)
    posed, unposed = (learner.eps(query, x_t, t, camera=camera) for camera in (True, False))
    assert not torch.equal(posed, unposed)


def test_training_leaves_the_prior_alone(prior: ToyboxPrior) -> None:
    query, (x_t, t) = ask(prior, ring(BATCH, SIZE)), noised(prior, picture(), 0.6)
    weights = {name: tensor.clone() for name, tensor in prior.net.state_dict().items()}
    before = prior.eps(x_t, t, query.conditions.text, query.conditions.null)
    learner = prior.learner(lr=1e-2)
    train(learner, query, picture(), 3)
    after = prior.eps(x_t, t, query.conditions.text, query.conditions.null)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert same(weights, dict(prior.net.state_dict()))
    assert not torch.equal(learner.eps(query, x_t, t, camera=True), prior.eps(x_t, t, query.conditions.plain)[0])


def test_the_network_is_shared_and_the_state_is_the_adapters_alone(prior: ToyboxPrior) -> None:
    learner = prior.learner(rank=3)
    frozen = {parameter.data_ptr() for parameter in prior.net.parameters()}
    assert {parameter.data_ptr() for parameter in learner.net.parameters()} == frozen
    state = learner.state_dict()
    (group,) = learner.param_groups()
    assert frozen.isdisjoint(parameter.data_ptr() for parameter in group["params"])
    assert state["adapters.down-0-0-conv1.down"].shape == (3, 16, 3, 3)
    assert state["adapters.down-0-0-conv1.up"].shape == (16, 3, 1, 1)
    assert not any(name.startswith("adapters.text") for name in state)
    assert sum(tensor.numel() for tensor in state.values()) < 0.5 * sum(p.numel() for p in prior.net.parameters())


def test_the_seed_decides_the_start_and_the_state_restores_it(prior: ToyboxPrior) -> None:
    learner, query, (x_t, t) = prior.learner(seed=1), ask(prior), noised(prior, picture(), 0.6)
    assert same(dict(learner.state_dict()), dict(prior.learner(seed=1).state_dict()))
    assert not same(dict(learner.state_dict()), dict(prior.learner(seed=2).state_dict()))
    train(learner, query, picture(), 2)
    again = prior.learner(seed=2)
    again.load_state_dict(learner.state_dict())
    assert torch.equal(again.eps(query, x_t, t, camera=True), learner.eps(query, x_t, t, camera=True))


def test_the_loss_is_the_denoising_error_of_its_own_times_and_noise(prior: ToyboxPrior) -> None:
    """mean ||v - (alpha eps - sigma x)||^2, recomputed with the frozen network from the same random numbers."""
    query, x = ask(prior, seed=7), picture().requires_grad_()
    found = prior.learner().loss(query, x)
    rng = torch.Generator().manual_seed(7)
    t = prior.schedule.snap(torch.rand(BATCH, generator=rng, dtype=torch.float64))
    eps = torch.randn(x.shape, generator=rng)
    alpha, sigma = prior.schedule.alpha(t, x), prior.schedule.sigma(t, x)
    text = query.conditions.plain
    v = prior.net(alpha * x + sigma * eps, t, text.features, text.mask)
    torch.testing.assert_close(found, (v - (alpha * eps - sigma * x)).square().mean())
    found.backward()
    assert x.grad is None


def test_gradient_is_that_of_finite_differences() -> None:
    prior = untrained()
    prior.net.double()
    learner, x = prior.learner(rank=2), picture(dtype=torch.float64)
    rng = torch.Generator().manual_seed(3)
    for parameter in learner.learned.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)

    def loss() -> torch.Tensor:
        return learner.loss(ask(prior, ring(BATCH, SIZE)), x)

    loss().backward()
    named, step = dict(learner.learned.named_parameters()), 1e-5
    for name in ("down-0-0-conv1", "shrink-0", "between-film", "bottom-1-words-key_value", "leave-2"):
        for end in ("down", "up"):
            _check(named[f"adapters.{name}.{end}"], loss, step)
    _check(named["camera.0.weight"], loss, step)
    _check(named["camera.2.bias"], loss, step)


def _check(parameter: torch.Tensor, loss: Any, step: float) -> None:
    assert parameter.grad is not None
    entry = parameter.grad.abs().flatten().argmax()
    flat, found = parameter.data.view(-1), float(parameter.grad.flatten()[entry])
    with torch.no_grad():
        flat[entry] += step
        above = float(loss())
        flat[entry] -= 2 * step
        below = float(loss())
        flat[entry] += step
    assert found == pytest.approx((above - below) / (2 * step), rel=1e-5)


def test_it_nears_the_score_of_the_renders(prior: ToyboxPrior) -> None:
    """For renders that are all x, the exact score is (x_t - alpha x) / sigma: VSD is then SDS (METHODS I-14).

    The network is untrained, so its adapters need a rank that lets the noise of twelve folded channels through.
    """
    learner, query, x = prior.learner(rank=16, lr=1e-2), ask(prior), picture()

    def errors() -> list[float]:
        found = [float(learner.loss(ask(prior, seed=99), x).detach())]
        for level in (0.3, 0.5, 0.8):
            x_t, t = noised(prior, x, level)
            exact = (x_t - prior.schedule.alpha(t, x) * x) / prior.schedule.sigma(t, x)
            found.append(float((learner.eps(query, x_t, t, camera=True) - exact).square().mean()))
        return found

    before = errors()
    train(learner, query, x, 120)
    assert all(late < 0.65 * early for late, early in zip(errors(), before, strict=True))  # .59 and less at 100


def test_cameras_matter_after_training_where_they_are_an_input(prior: ToyboxPrior) -> None:
    """Two views of different colors: with its camera as input, the learner distinguishes them."""
    cameras = ring(BATCH, SIZE)
    x = torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None, None, None].expand(BATCH, 3, SIZE, SIZE)
    learner, query = prior.learner(lr=1e-2), ask(prior, cameras)
    x_t, t = noised(prior, torch.zeros_like(x), 0.9)
    flat, turned = replace(query, cameras=None), replace(query, cameras=cameras[torch.tensor([2, 3, 0, 1])])
    train(learner, query, x, 80)
    known, other = (learner.eps(q, x_t, t, camera=True) for q in (query, turned))
    without = [learner.eps(q, x_t, t, camera=False) for q in (query, turned, flat)]
    assert torch.equal(without[0], without[1])
    assert torch.equal(without[0], without[2])
    assert torch.equal(without[0], learner.eps(flat, x_t, t, camera=True))
    brightness = [prior.schedule.clean(x_t, eps, t).mean((1, 2, 3)) for eps in (known, other)]
    assert bool((brightness[0][:2] > brightness[0][2:] + 0.3).all())
    assert bool((brightness[1][:2] < brightness[1][2:] - 0.3).all())


def test_one_row_in_ten_is_trained_without_its_camera(prior: ToyboxPrior) -> None:
    cameras, poses = ring(BATCH * 250, 8), []
    learner = prior.learner()
    learner.camera.register_forward_hook(lambda _, inputs, output: poses.append(inputs[0]))
    with torch.no_grad():
        learner.loss(ask(prior, cameras), torch.zeros(len(cameras), 3, 8, 8))
    known = poses[0].any(1)
    assert 0.07 < float((~known).float().mean()) < 0.13  # of 1000 draws: 0.1 +- 0.01
    assert torch.equal(poses[0][known], cameras.c2w.flatten(1)[known])


def test_calls_and_rows_are_its_own(prior: ToyboxPrior) -> None:
    learner, query, calls = prior.learner(), ask(prior), prior.calls
    learner.eps(query, *noised(prior, picture(), 0.5), camera=True)
    learner.loss(query, picture())
    assert (learner.calls, learner.rows, prior.calls) == (2, 2 * BATCH, calls)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"lr": 0.0}])
def test_a_learner_that_cannot_learn_is_refused(prior: ToyboxPrior, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a learner needs"):
        prior.learner(**wrong)


def distill(prior: ToyboxPrior, steps: int, resume: dict[str, Any] | None = None) -> Iterator[Step]:
    """VSD by hand on flat images, with a scene and a learner as they are before the first step."""
    learner = prior.learner(lr=1e-2)
    method = Distillation(
        time=timesteps.uniform(),
        noise=noise.fresh,
        target=guided(7.5),
        reference=lambda query, noisy, target: learner.eps(query, noisy.x_t, noisy.t, camera=True),
        weight=weights.sigma_squared,
        learner=learner,
    )
    start = torch.rand(BATCH, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    parts = (Image(start), prior, method, no_cameras, Prompt(PROMPT))
    return optimize(*parts, steps=steps, batch=BATCH, background=torch.ones(3), resume=resume)


def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(prior: ToyboxPrior, tmp_path: Path) -> None:
    for step in distill(prior, 6):
        if step.index == 2:
            checkpoint.write(tmp_path / "half", step.checkpoint())
            half = step.distilled.grad
        last = step
    checkpoint.write(tmp_path / "whole", last.checkpoint())
    for step in distill(prior, 6, checkpoint.read(tmp_path / "half")):
        assert step.index > 2
    checkpoint.write(tmp_path / "resumed", step.checkpoint())
    whole, resumed = (checkpoint.read(tmp_path / name) for name in ("whole", "resumed"))
    assert whole is not None
    assert same(whole, resumed)
    assert whole["learning"]["learner"]["adapters.leave-2.up"].any()
    assert not torch.equal(half, last.distilled.grad)
