"""Several updates of a scene by each gradient: what is asked once, what is rendered again, and resumption."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from conftest import AsColors, analytic

from scoredistill.contracts import Distilled, Frame, Prompt, Query, Step
from scoredistill.methods.sds import SDS
from scoredistill.optimize import optimize
from scoredistill.scenes.image import Image
from scoredistill.views import no_cameras

STEPS, UPDATES = 4, 3


class Noisy(Image):
    """An image whose renders have noise, as random rays and lights are; remembers the noise, and its own course."""

    def __init__(self) -> None:
        super().__init__(torch.full((2, 3, 3, 3), 0.5, dtype=torch.float64))
        self.noise: list[torch.Tensor] = []
        self.course: list[torch.Tensor] = []
        self.refined: list[int] = []

    def render(self, cameras: Any, background: torch.Tensor, rng: torch.Generator | None = None) -> Frame:
        self.noise.append(torch.randn(self.pixels.shape, generator=rng, dtype=torch.float64))
        self.course.append(self.pixels.detach().clone())
        frame = super().render(cameras, background)
        return replace(frame, rgb=frame.rgb + 0.1 * self.noise[-1])

    def refine(self, step: int, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        torch.rand(5, generator=rng)  # as splats do
        self.refined.append(step)


class Asked:
    """SDS that counts what it is asked, and remembers its gradients."""

    def __init__(self) -> None:
        self.method = SDS().build()
        self.grads: list[torch.Tensor] = []

    def __call__(self, query: Query, x: torch.Tensor) -> Distilled:
        distilled = self.method(query, x)
        self.grads.append(distilled.grad)
        return distilled


def run(scene: Noisy, method: Asked, resume: dict[str, Any] | None = None) -> Iterator[Step]:
    parts = (scene, AsColors(analytic()), method, no_cameras, Prompt("a"))
    return optimize(*parts, steps=STEPS, batch=2, updates=UPDATES, background=torch.ones(3), resume=resume)


def test_a_gradient_serves_renders_of_the_same_random_numbers() -> None:
    scene, method = Noisy(), Asked()
    steps = list(run(scene, method))
    assert len(steps) == len(method.grads) == STEPS
    assert scene.refined == list(range(STEPS * UPDATES))
    noises = torch.stack(scene.noise).unflatten(0, (STEPS, UPDATES))
    assert torch.equal(noises, noises[:, :1].expand_as(noises))
    assert not torch.equal(noises[0, 0], noises[1, 0])
    course = torch.stack([*scene.course, scene.pixels.detach()])[:, :, :2].diff(dim=0)
    assert (course.abs() > 0).all(), "every render sees what the update before it made"


def test_all_updates_of_a_step_go_along_its_gradient() -> None:
    """Adam's first update is rate x sign of the gradient; further ones by the same gradient are equal to it."""
    scene, method = Noisy(), Asked()
    next(run(scene, method))
    moved = torch.stack([*scene.course, scene.pixels.detach()])[:, :, :2].diff(dim=0)
    torch.testing.assert_close(moved, -scene.lr * method.grads[0].sign().expand_as(moved))


def test_a_run_with_several_updates_resumes_bit_for_bit() -> None:
    whole = Noisy()
    for step in run(whole, Asked()):
        if step.index == 1:
            half = {name: _copied(part) for name, part in step.checkpoint().items()}
    resumed = Noisy()
    assert [step.index for step in run(resumed, Asked(), half)] == [2, 3]
    assert torch.equal(resumed.pixels, whole.pixels)


class Carried:
    """The state of a method: tensors, and where they were when they came back."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        return {
            "noise": torch.zeros(2),
            "values": [torch.ones(1)],
            "count": 3,
            "generator": torch.Generator().get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["count"] == 3
        self.places = [part.device.type for part in (state["noise"], *state["values"], state["generator"])]


class Carrying(Asked):
    """A method with such a state."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Carried()

    def start(self) -> Carried:
        return self.state


def test_the_state_of_a_method_comes_back_to_the_device_of_the_run() -> None:
    """Checkpoints are read on the CPU; states of generators belong there."""
    for step in run(Noisy(), Carrying()):
        saved = step.checkpoint()
    again = Carrying()
    parts = (Noisy(), AsColors(analytic()), again, no_cameras, Prompt("a"))
    there = torch.ones(3, device="meta")
    assert not list(optimize(*parts, steps=STEPS, background=there, resume=saved))
    assert again.state.places == ["meta", "meta", "cpu"]


def _copied(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _copied(value) for name, value in part.items()}
    return part.clone() if isinstance(part, torch.Tensor) else part
