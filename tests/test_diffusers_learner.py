"""The learner of VSD and ESD on published networks: peft's adapters over frozen weights, shared with the prior."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_pipelines
import torch
from torch import Tensor

from scoredistill.camera import Cameras, ring
from scoredistill.contracts import Learner, Prompt, Query
from scoredistill.methods.esd import ESD
from scoredistill.methods.vsd import VSD
from scoredistill.optimize import Learning, optimize
from scoredistill.priors.diffusers.prior import DiffusersPrior
from scoredistill.scenes.image import Image
from scoredistill.views import no_cameras

BATCH, PROMPT = 2, "a hamburger"
FAMILIES = tuple(tiny_pipelines.FAMILIES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {family: tmp_path_factory.mktemp(family) for family in FAMILIES}
    for family, folder in folders.items():
        tiny_pipelines.save(family, folder)
    return folders


def load(folders: dict[str, Path], family: str, dtype: torch.dtype = torch.float32) -> DiffusersPrior:
    return DiffusersPrior.load(str(folders[family]), dtype=dtype)


def ask(prior: DiffusersPrior, cameras: Cameras | None = None) -> Query:
    conditions = prior.conditions(Prompt(PROMPT), cameras, BATCH)
    return Query(prior, conditions, 0.0, torch.Generator().manual_seed(0), cameras=cameras)


def noised(prior: DiffusersPrior) -> tuple[Tensor, Tensor, Tensor]:
    """Renders in the prior's space, their noisy selves, and the time."""
    rng = torch.Generator().manual_seed(1)
    x = prior.encode(torch.rand(BATCH, 3, 16, 16, generator=rng))
    t = torch.tensor([0.4, 0.7], dtype=torch.float64)
    return x, prior.schedule.diffuse(x, torch.randn(x.shape, generator=rng), t), t


@pytest.mark.parametrize("family", FAMILIES)
def test_it_starts_equal_to_the_prior_learns_and_does_not_change_it(folders: dict[str, Path], family: str) -> None:
    prior = load(folders, family)
    learner, query = prior.learner(rank=2, lr=1e-2), ask(prior, ring(BATCH, 16))
    assert isinstance(learner, Learner)
    x, x_t, t = noised(prior)
    with torch.no_grad():
        plain = prior.eps(x_t, t, query.conditions.plain)[0]
    for camera in (True, False):
        assert torch.equal(learner.eps(query, x_t, t, camera=camera), plain)
    weights = {name: weight.clone() for name, weight in prior.net.state_dict().items()}
    learning = Learning(learner)
    for _ in range(3):
        learning.step(query, x)
    posed, unposed = (learner.eps(query, x_t, t, camera=camera) for camera in (True, False))
    assert not torch.equal(posed, plain)
    assert not torch.equal(posed, unposed)
    with torch.no_grad():
        assert torch.equal(prior.eps(x_t, t, query.conditions.plain)[0], plain)
    assert weights.keys() == prior.net.state_dict().keys()
    assert all(torch.equal(weight, prior.net.state_dict()[name]) for name, weight in weights.items())


def test_weights_are_shared_and_only_attention_is_adapted(folders: dict[str, Path]) -> None:
    prior = load(folders, "sd15")
    learner = prior.learner(rank=3)
    frozen = {weight.data_ptr() for weight in prior.net.parameters()}
    (group,) = learner.param_groups()
    learned = {weight.data_ptr() for weight in group["params"]}
    assert frozen.isdisjoint(learned)
    assert {weight.data_ptr() for weight in learner.net.parameters()} - learned == frozen
    adapters = learner.learned["adapters"]
    trained = {weight.data_ptr() for weight in learner.net.parameters() if weight.requires_grad}
    assert trained == {weight.data_ptr() for weight in adapters.parameters()}
    names = [name for name, _ in adapters.named_children()]
    assert len(names) > 8
    assert all(name.endswith(("to_q", "to_k", "to_v", "to_out-0")) for name in names)
    state = learner.state_dict()
    assert state[f"adapters.{names[0]}.down.weight"].shape[0] == state[f"adapters.{names[0]}.up.weight"].shape[1] == 3


def test_the_seed_decides_the_start_and_the_state_restores_it(folders: dict[str, Path]) -> None:
    prior = load(folders, "sd15")
    query, (x, x_t, t) = ask(prior, ring(BATCH, 16)), noised(prior)
    first, same, other = (prior.learner(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(tensor, same[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in first.items())
    learner, again = prior.learner(lr=1e-2, seed=1), prior.learner(seed=2)
    Learning(learner).step(query, x)
    again.load_state_dict(learner.state_dict())
    assert torch.equal(again.eps(query, x_t, t, camera=True), learner.eps(query, x_t, t, camera=True))


def test_the_published_start(folders: dict[str, Path]) -> None:
    prior = load(folders, "sd15")
    state = prior.learner(rank=8, start="published").state_dict()
    down = torch.cat([tensor.flatten() for name, tensor in state.items() if name.endswith("down.weight")])
    assert float(down.std()) == pytest.approx(1 / 8, rel=0.05)
    assert not any(tensor.any() for name, tensor in state.items() if name.endswith("up.weight"))


def test_an_adapter_is_its_formula(folders: dict[str, Path]) -> None:
    """The learner's network is the prior's with W + up down in place of W."""
    prior = load(folders, "sd15")
    learner, query, (x, x_t, t) = prior.learner(rank=2, lr=1e-2), ask(prior), noised(prior)
    Learning(learner).step(query, x)
    found = learner.eps(query, x_t, t, camera=False)
    with torch.no_grad():
        for name, adapter in learner.learned["adapters"].named_children():
            layer = prior.net.get_submodule(name.replace("-", "."))
            layer.weight = torch.nn.Parameter(layer.weight + adapter["up"].weight @ adapter["down"].weight)  # type: ignore[index]
        view = learner.camera(torch.zeros(BATCH, 16))
        merged = prior.output(prior.net, x_t, t, query.conditions.plain, view)
    torch.testing.assert_close(found, merged, atol=1e-5, rtol=1e-4)


def test_what_is_learned_is_float32_over_a_half_precision_network(folders: dict[str, Path]) -> None:
    prior = load(folders, "sd21", torch.bfloat16)
    learner, query, (x, x_t, t) = prior.learner(lr=1e-4), ask(prior, ring(BATCH, 16)), noised(prior)
    assert {weight.dtype for weight in learner.learned.parameters()} == {torch.float32}
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    learning = Learning(learner)
    learning.step(query, x)
    learning.step(query, x)
    after = learner.state_dict()
    assert sum(not torch.equal(before[name], after[name]) for name in before) > 0.9 * len(before)
    assert learner.eps(query, x_t, t, camera=True).dtype == torch.float32


@pytest.mark.parametrize("method", [VSD, ESD])
@pytest.mark.parametrize("family", ["sd21", "sd3"])
def test_two_steps_of_distillation(folders: dict[str, Path], family: str, method: type) -> None:
    """The scene moves, and so does the learner."""
    prior = load(folders, family)
    learner = prior.learner(lr=1e-2)
    start = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    scene = Image(torch.full((BATCH, 3, 16, 16), 0.5), lr=1e-2)
    steps = optimize(
        scene,
        prior,
        method().build(learner),
        no_cameras,
        Prompt(PROMPT),
        steps=2,
        background=torch.ones(3),
        batch=BATCH,
    )
    assert len([step for step in steps if bool((step.distilled.grad != 0).all())]) == 2
    assert bool((scene.pixels != 0.5).all())
    assert sum(not torch.equal(start[name], tensor) for name, tensor in learner.state_dict().items()) > 0.9 * len(start)
