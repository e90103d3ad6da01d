"""Densification: rows and moments move together, clones and splits have closed forms, renders stay equal."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from scoredistill.camera import ring
from scoredistill.contracts import Gaussians
from scoredistill.kernels.project import rotation_matrices
from scoredistill.render.splat import render_splats
from scoredistill.scenes.splats.densify import (
    SHRINK,
    DensifyConfig,
    Parameters,
    ScreenGradients,
    densify,
    prune,
    regather,
    reset_opacity,
    share_opacity,
)

ALL = DensifyConfig(threshold=0.0, split_above=0.1, most=10_000)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def population(count: int, std: float = 0.05) -> tuple[Parameters, torch.optim.Adam]:
    """Random splats with an optimizer that has taken three steps, each row with moments of its own."""
    rng = generator(count)
    parameters = {
        "means": 0.3 * torch.randn(count, 3, generator=rng),
        "log_stds": math.log(std) + 0.2 * torch.randn(count, 3, generator=rng),
        "rotations": torch.randn(count, 4, generator=rng),
        "opacity_logits": torch.randn(count, generator=rng),
        "harmonics": torch.randn(count, 1, 3, generator=rng),
    }
    parameters = {name: nn.Parameter(value) for name, value in parameters.items()}
    optimizer = torch.optim.Adam([{"name": name, "params": [value]} for name, value in parameters.items()], lr=1e-3)
    for _ in range(3):
        for value in parameters.values():
            value.grad = torch.randn(value.shape, generator=rng)
        optimizer.step()
    return parameters, optimizer


def accumulated(norm: list[float], views: list[float] | None = None) -> ScreenGradients:
    return ScreenGradients(torch.tensor(norm), torch.tensor(views or [1.0] * len(norm)))


def rendered(parameters: Parameters) -> Tensor:
    splats = Gaussians(
        parameters["means"],
        parameters["log_stds"].exp(),
        parameters["rotations"],
        torch.sigmoid(parameters["opacity_logits"]),
        parameters["harmonics"],
    )
    images = render_splats(splats, ring(3, 32))
    return torch.cat([images.rgb, images.opacity], 1).detach()


def state(optimizer: torch.optim.Adam) -> dict[str, dict[str, Tensor]]:
    return {
        group["name"]: {name: value.clone() for name, value in optimizer.state[group["params"][0]].items()}
        for group in optimizer.param_groups
    }


def test_rows_and_moments_move_together() -> None:
    parameters, optimizer = population(5)
    before, moments = {name: value.detach().clone() for name, value in parameters.items()}, state(optimizer)
    source, fresh = torch.tensor([4, 0, 0, 2]), torch.tensor([False, False, True, False])
    regather(parameters, optimizer, source, fresh)
    after = state(optimizer)
    for group in optimizer.param_groups:
        name = group["name"]
        assert group["params"][0] is parameters[name]
        assert torch.equal(parameters[name], before[name][source])
        assert after[name]["step"] == 3
        for moment in ("exp_avg", "exp_avg_sq"):
            expected = moments[name][moment][source]
            expected[2] = 0
            assert torch.equal(after[name][moment], expected)
    assert len(optimizer.state) == len(parameters)
    (parameters["means"].sum() + rendered(parameters).sum()).backward()
    optimizer.step()  # nothing is left of the old sizes


def test_graphs_of_earlier_steps_may_still_exist() -> None:
    parameters, optimizer = population(5)
    graph = sum(value.square().sum() for value in parameters.values())
    prune(parameters, optimizer, torch.tensor([True, False, True, True, False]))
    optimizer.zero_grad()
    sum(value.square().sum() for value in parameters.values()).backward()  # type: ignore[union-attr]
    optimizer.step()
    assert parameters["means"].shape == (3, 3)
    assert graph is not None


def test_renders_do_not_depend_on_the_order_of_the_rows() -> None:
    parameters, optimizer = population(40)
    before = rendered(parameters)
    regather(parameters, optimizer, torch.randperm(40, generator=generator()), torch.zeros(40, dtype=torch.bool))
    torch.testing.assert_close(rendered(parameters), before)


def test_small_splats_are_cloned_and_large_ones_split() -> None:
    """By the mean gradient of a view: 0 (too small), 1 (cloned), 2 (large: split), 3 (never visible: unchanged)."""
    parameters, optimizer = population(4)
    parameters["log_stds"].data[2] = math.log(0.2)
    before = {name: value.detach().clone() for name, value in parameters.items()}
    config = DensifyConfig(threshold=1.0, split_above=0.1)
    densify(parameters, optimizer, accumulated([1.8, 3.0, 4.0, 0.0], [2.0, 2.0, 2.0, 0.0]), config, generator())
    assert len(parameters["means"]) == 6
    for name, value in parameters.items():
        assert torch.equal(value[:3], before[name][[0, 1, 3]])
        assert torch.equal(value[3], before[name][1])
    assert torch.equal(parameters["harmonics"][4:], before["harmonics"][[2, 2]])
    expected = (before["log_stds"][2] - math.log(SHRINK)).expand(2, 3)
    torch.testing.assert_close(parameters["log_stds"][4:].detach(), expected)
    assert not torch.equal(parameters["means"][4], parameters["means"][5])
    for moments in state(optimizer).values():
        assert not moments["exp_avg"][3:].any()
        assert bool((moments["exp_avg"][:3] != 0).any())


def test_split_splats_are_samples_of_the_old_one() -> None:
    """Their mean and covariance are those of the Gaussian that they replace."""
    parameters, optimizer = population(1)
    parameters["log_stds"].data[:] = torch.log(torch.tensor([0.4, 0.2, 0.15]))
    many = torch.zeros(20_000, dtype=torch.long)
    regather(parameters, optimizer, many, torch.ones_like(many, dtype=torch.bool))
    mean, turn = parameters["means"][0].detach().clone(), rotation_matrices(parameters["rotations"][:1]).detach()[0]
    densify(parameters, optimizer, accumulated([1.0] * len(many)), DensifyConfig(threshold=0.5), generator())
    found = parameters["means"].detach()
    assert len(found) == 2 * len(many)
    torch.testing.assert_close(found.mean(0), mean, atol=0.01, rtol=0)
    expected = turn @ torch.diag(torch.tensor([0.4, 0.2, 0.15]) ** 2) @ turn.T
    torch.testing.assert_close(torch.cov(found.T), expected, atol=3e-3, rtol=0.02)


def test_two_clones_of_shared_opacity_stop_as_much_light_as_one() -> None:
    opacity = torch.tensor([0.01, 0.3, 0.9, 0.99], dtype=torch.float64)
    half = torch.sigmoid(share_opacity(torch.logit(opacity)))
    torch.testing.assert_close(1 - (1 - half) ** 2, opacity)


def test_clones_of_shared_opacity_nearly_preserve_the_render() -> None:
    """Two of opacity h show 1 - (1 - h g)^2: h^2 g (1 - g) more than one of 2 h - h^2; copied ones show it twice."""
    changes = {}
    for clones in ("shared", "copied"):
        parameters, optimizer = population(30, std=0.08)
        before = rendered(parameters)
        config = DensifyConfig(threshold=0.0, split_above=1.0, most=10_000, clones=clones)  # type: ignore[arg-type]
        densify(parameters, optimizer, accumulated([1.0] * 30), config, generator())
        assert len(parameters["means"]) == 60
        changes[clones] = float((rendered(parameters) - before).abs().mean() / before.abs().mean())
    assert changes["shared"] < 0.1
    assert changes["shared"] < changes["copied"] / 3


def test_pruning_invisible_splats_changes_no_pixel() -> None:
    """Pruning splats fainter than a step of 8-bit color leaves the render bit-identical."""
    parameters, optimizer = population(30)
    parameters["opacity_logits"].data[::3] = math.log(0.0035 / (1 - 0.0035))
    before = rendered(parameters)
    prune(parameters, optimizer, torch.sigmoid(parameters["opacity_logits"].detach()) >= 0.005)
    assert len(parameters["means"]) == 20
    assert torch.equal(rendered(parameters), before)


@pytest.mark.parametrize(
    ("share", "most", "expected"), [(1.0, 100, {0, 1, 2, 3}), (0.4, 100, {2, 3}), (1.0, 8, {1, 2, 3}), (1.0, 5, set())]
)
def test_those_with_the_largest_gradients_multiply_up_to_the_most(share: float, most: int, expected: set[int]) -> None:
    parameters, optimizer = population(5)
    before = parameters["means"].detach().clone()
    config = DensifyConfig(threshold=0.5, split_above=1.0, share=share, most=most)
    densify(parameters, optimizer, accumulated([1.0, 2.0, 4.0, 3.0, 0.1]), config, generator())
    copies = parameters["means"].detach()[5:]
    found = {int((before - copy).norm(dim=-1).argmin()) for copy in copies}
    assert found == expected
    assert len(copies) == len(expected)


def test_reset_lowers_all_opacities_and_resets_their_momentum() -> None:
    parameters, optimizer = population(20)
    before = torch.sigmoid(parameters["opacity_logits"].detach())
    reset_opacity(parameters["opacity_logits"], optimizer, 0.01)
    after = torch.sigmoid(parameters["opacity_logits"].detach())
    torch.testing.assert_close(after, before.clamp(max=0.01))
    moments = state(optimizer)
    assert not moments["opacity_logits"]["exp_avg"].any()
    assert moments["means"]["exp_avg"].any()
