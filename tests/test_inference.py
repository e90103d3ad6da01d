"""Predictions of the embedded priors without gradients against those of the plain network, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn

from scoredistill.camera import ring
from scoredistill.contracts import Photo, Prompt
from scoredistill.priors.threads import MOST, on_threads, thread_count
from scoredistill.priors.toybox import ToyboxPosePrior, ToyboxPrior, ToyboxViewsPrior
from scoredistill.priors.toybox.inference import lowered

BATCH = 4
PRIORS = pytest.mark.parametrize("kind", [ToyboxPrior, ToyboxViewsPrior, ToyboxPosePrior])


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fresh(kind: type[ToyboxPrior], dtype: torch.dtype = torch.float32) -> ToyboxPrior:
    torch.manual_seed(0)
    net = kind.network(tiny.SHAPE)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return kind(net, dtype=dtype)


prior_of = cache(fresh)


@cache
def inputs(kind: type[ToyboxPrior], count: int = BATCH) -> tuple[Tensor, Tensor, list[Any]]:
    """x_t, t, and the text's, the null and a further condition."""
    prior = prior_of(kind)
    rng = torch.Generator().manual_seed(1)
    photo = Photo(torch.rand(3, 64, 64, generator=rng), torch.ones(1, 64, 64), ring(1, 16))
    prompt = Prompt("a red car", photo=photo if prior.needs.picture else None)
    found = prior.conditions(prompt, ring(count, 16), count)
    further = prior.conditions(Prompt("two green ducks", photo=prompt.photo), ring(count, 16), count).plain
    t = torch.linspace(0.3, 0.9, count, dtype=torch.float64)
    return torch.randn(count, 3, 64, 64, generator=rng), t, [found.text, found.null, further]


def plain(prior: ToyboxPrior, x_t: Tensor, t: Tensor, condition: Any) -> Tensor:
    """Noise of the network itself, under autocast, one condition alone."""
    with torch.enable_grad():
        return prior.eps(x_t, t, condition)[0]


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@PRIORS
@pytest.mark.parametrize("threads", [1, 2])
def test_shared_work_and_threads_change_nothing(kind: type[ToyboxPrior], threads: int) -> None:
    prior = prior_of(kind)
    x_t, t, conditions = inputs(kind)
    expected = [plain(prior, x_t, t, condition) for condition in conditions]
    torch.set_num_threads(threads)
    for chosen in ([0, 1], [2, 0, 1]):
        with torch.no_grad():
            found = prior.eps(x_t, t, *(conditions[each] for each in chosen))
        assert all(apart(eps, expected[each]) < 1e-5 for eps, each in zip(found, chosen, strict=True))
    assert torch.get_num_threads() == threads


def test_images_of_several_groups_of_views_are_divided_by_group() -> None:
    prior = prior_of(ToyboxViewsPrior)
    x_t, t, conditions = inputs(ToyboxViewsPrior, 12)
    expected = plain(prior, x_t, t, conditions[1])
    torch.set_num_threads(2)
    with torch.no_grad():
        found = prior.eps(x_t, t, *conditions)
    assert apart(found[1], expected) < 1e-5


@PRIORS
def test_weights_cast_once_are_as_close_to_float32_as_autocast(kind: type[ToyboxPrior]) -> None:
    exact, quick = prior_of(kind), prior_of(kind, torch.bfloat16)
    x_t, t, conditions = inputs(kind)
    with torch.no_grad():
        found = quick.eps(x_t, t, *conditions)
    for eps, condition in zip(found, conditions, strict=True):
        expected = plain(exact, x_t, t, condition)
        assert apart(eps, expected) < 1.2 * apart(plain(quick, x_t, t, condition), expected) < 0.05


@PRIORS
def test_the_network_of_learners_and_gradients_is_the_plain_one(kind: type[ToyboxPrior]) -> None:
    prior = prior_of(kind, torch.bfloat16)
    x_t, t, (text, *_) = inputs(kind)
    weights = {name: weight.clone() for name, weight in prior.net.state_dict().items()}
    with torch.no_grad():
        prior.eps(x_t, t, text)
    assert prior.evaluated is not prior.net
    assert {weight.dtype for weight in prior.net.state_dict().values()} == {torch.float32}
    assert all(torch.equal(weights[name], weight) for name, weight in prior.net.state_dict().items())
    assert {weight.data_ptr() for weight in prior.learner().net.parameters()} == {
        weight.data_ptr() for weight in prior.net.parameters()
    }
    slopes = []
    for predict in (lambda x: prior.eps(x, t, text)[0], lambda x: plain(fresh(kind, torch.bfloat16), x, t, text)):
        x = x_t.clone().requires_grad_()
        slopes.append(torch.autograd.grad(predict(x).square().sum(), x)[0])
    assert torch.equal(*slopes)
    assert bool(slopes[0].any())


def test_what_conditions_share_is_computed_once() -> None:
    prior = fresh(ToyboxPrior)
    x_t, t, conditions = inputs(ToyboxPrior)
    rows: list[int] = []
    for name in ("enter", "down.0.0.conv1", "down.0.0.conv2"):
        prior.net.get_submodule(name).register_forward_hook(lambda _layer, given, _output: rows.append(len(given[0])))
    with torch.no_grad():
        prior.eps(x_t, t, *conditions)
    assert rows == [BATCH, BATCH, len(conditions) * BATCH]


def test_a_float32_prior_evaluates_its_own_network() -> None:
    prior = prior_of(ToyboxPrior)
    assert prior.evaluated is prior.net


def test_only_products_are_lowered() -> None:
    prior = prior_of(ToyboxViewsPrior)
    copied = lowered(prior.net, torch.bfloat16)
    for name, layer in copied.named_modules():
        weight = getattr(layer, "weight", None)
        if isinstance(weight, Tensor):
            product = isinstance(layer, nn.Linear | nn.Conv2d) and not name.startswith(("text", "camera"))
            assert weight.dtype == (torch.bfloat16 if product else torch.float32), name


def test_threads_divide_those_of_torch_and_pass_on_errors() -> None:
    torch.set_num_threads(2 * MOST)
    assert thread_count() == MOST
    found = on_threads(lambda part: (part, torch.get_num_threads(), torch.is_grad_enabled()), range(MOST))
    assert found == [(part, 2, False) for part in range(MOST)]
    assert torch.get_num_threads() == 2 * MOST
    with pytest.raises(ZeroDivisionError):
        on_threads(lambda part: 1 / part, [1, 0])
