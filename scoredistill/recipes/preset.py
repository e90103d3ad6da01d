"""What all presets share: their arguments, and the parts of a recipe that follow from these alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from scoredistill.config import Config
from scoredistill.contracts import Needs
from scoredistill.methods.method import MethodConfig
from scoredistill.priors.load import describe_prior, full_prior_name, is_toybox
from scoredistill.recipes.kinds import method_config, scene_config
from scoredistill.recipes.recipe import (
    BACKGROUNDS,
    Background,
    PictureConfig,
    PriorConfig,
    PromptConfig,
    Recipe,
    cuda_index,
)
from scoredistill.scenes.image import ImageConfig


@dataclass(frozen=True)
class Task:
    """The arguments of a preset, with names resolved, and what the prior needs."""

    text: str
    method: MethodConfig
    scene: Config
    prior: str
    needs: Needs
    picture: str
    device: str
    seed: int

    @classmethod
    def of(
        cls, text: str, method: str, scene: str, prior: str, picture: str, device: str, seed: int, *, joint: bool
    ) -> Task:
        """The task of a preset's arguments; `joint` is whether "auto" means four views at once for 3D scenes.

        ValueError for unknown names, and for a picture that the prior does not take.
        """
        kind, config = method_config(method), scene_config(scene)
        flat = bool(getattr(config, "flat", False))
        name = full_prior_name(prior) if prior != "auto" else embedded_prior(flat=flat, picture=picture, joint=joint)
        needs = describe_prior(name)
        if picture and not needs.picture:
            raise ValueError(
                f"prior {name!r} takes no picture: leave out --image, or use --prior toybox-pose or zero123"
            )
        return cls(text, kind, config, name, needs, picture, resolved_device(device), seed)

    @property
    def flat(self) -> bool:
        """Whether the scene is an image."""
        return bool(getattr(self.scene, "flat", False))

    @property
    def draws_toys(self) -> bool:
        """Whether the prior knows Toybox and nothing else: its background, and no other words.

        A prior of one's own counts as such unless it is on Stable Diffusion's times.
        """
        return not self.needs.published or is_toybox(self.prior)

    @property
    def background(self) -> Background:
        """The background that a prior of Toybox was trained on; gray, and white around a picture, for others."""
        if self.draws_toys:
            return "toybox"
        return "white" if self.picture else "gray"

    def prompt(self, **loss: object) -> PromptConfig:
        """The prompt, with the method's negative prompt for models that know its words."""
        negative = "" if self.draws_toys else self.method.negative_prompt
        picture = PictureConfig(file=self.picture)
        return PromptConfig(self.text, negative, replace(picture, **loss) if self.picture else picture)  # type: ignore[arg-type]

    def prior_config(self) -> PriorConfig:
        """The prior with the method's view-dependent prompting; a multi-view prior has its cameras as input instead."""
        joint = self.needs.views > 1
        prompting = "none" if joint else self.method.view_prompting
        prompting, angle = prompting if self.needs.view_prompting else "words", self.method.front_deg
        return PriorConfig(
            self.prior,
            self.device,
            view_prompting=prompting,  # type: ignore[arg-type] (a name that PriorConfig checks)
            front_deg=angle,
            back_deg=angle,
        )

    def image(self, lr: float, **settings: Any) -> ImageConfig:
        """Images side by side, as many as a prior of several views denoises jointly."""
        return ImageConfig(count=4, lr=lr, **settings)


def toybox_image(method: type[MethodConfig]) -> dict[str, Any]:
    """The settings of a flat image by which a method is tuned on Toybox, as far as they differ from the defaults.

    Plain descent starts from the background's color: a method without a gradient there leaves it as it is.
    """
    if "descent" not in method.TOYBOX_IMAGE:
        return dict(method.TOYBOX_IMAGE)
    tint = (round(each - ImageConfig.mean, 3) for each in BACKGROUNDS["toybox"])
    return {**method.TOYBOX_IMAGE, "tint": tuple(tint)}


class Preset:
    """A recipe from a prompt and the names of its parts; `recipe` makes it of a task."""

    def __init__(self, recipe: Callable[[Task], Recipe], *, joint: bool):
        self.recipe, self.joint = recipe, joint
        self.__name__, self.__module__, self.__doc__ = recipe.__name__, recipe.__module__, recipe.__doc__

    def __call__(
        self,
        text: str = "",
        *,
        method: str = "sdi",
        scene: str = "nerf",
        prior: str = "auto",
        picture: str = "",
        device: str = "auto",
        seed: int = 0,
    ) -> Recipe:
        """The recipe for the prompt `text`.

        Args: names of the method, scene (nerf, splats, image) and prior ("auto": an embedded one); `picture` a file to
        start from; `device` auto, cpu, cuda or cuda:N. ValueError for unknown names.
        """
        return self.recipe(Task.of(text, method, scene, prior, picture, device, seed, joint=self.joint))


def preset(*, joint: bool) -> Callable[[Callable[[Task], Recipe]], Preset]:
    """Make a preset of a recipe; `joint` is whether prior "auto" means four views at once for 3D scenes."""
    return functools.partial(Preset, joint=joint)


def embedded_prior(*, flat: bool, picture: str, joint: bool) -> str:
    """The embedded prior of a task: other views of a picture, four views at once for 3D scenes, else single views.

    With single views a 3D scene gets a second front wherever the view's words are ambiguous.
    """
    if picture:
        return "toybox-pose"
    return "toybox-mv" if joint and not flat else "toybox"


def resolved_device(device: str) -> str:
    """The device that "auto" stands for here; ValueError for one that does not exist here."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    index, count = cuda_index(device), torch.cuda.device_count()
    if index is not None and index >= count:
        there = f"only {', '.join(f'cuda:{each}' for each in range(count))}" if count else "none at all"
        raise ValueError(f"no CUDA device {index} here, {there}; use --device cpu, or see: scoredistill doctor")
    return device
