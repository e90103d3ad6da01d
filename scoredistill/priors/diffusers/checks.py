"""Checks of a published model's settings against each other, before its weights are read."""

from __future__ import annotations

import math
from typing import Any

from scoredistill.priors.diffusers.checkpoint import Checkpoint
from scoredistill.priors.diffusers.pipeline import PipelineCheckpoint
from scoredistill.priors.diffusers.single_file import other_task

Source = Checkpoint | PipelineCheckpoint

LARGEST_SIZE = 1024  # latents or pixels per side
WIDTHS = ("encoder_hid_dim", "cross_attention_dim", "joint_attention_dim", "cap_feat_dim", "context_dim")
"""Settings of a denoiser that name the width of the text features it takes; the first that is there."""


def latent_channels(checkpoint: Source) -> int:
    """Channels of the space in which the denoiser works: latents, or three of pixels."""
    return checkpoint.settings("vae").get("latent_channels", 4) if checkpoint.has("vae") else 3


def check_channels(checkpoint: Source, part: str, extra: int = 0) -> None:
    """ValueError unless the denoiser takes an image of the space, and `extra` channels beside it."""
    latents = latent_channels(checkpoint)
    found = checkpoint.settings(part).get("in_channels", latents + extra)
    if found != latents + extra:
        raise ValueError(f"{checkpoint} is no text-to-image model: {other_task(found, latents)}")


def training_size(checkpoint: Source, part: str, name: str = "sample_size") -> int:
    """The size of the images of training in the denoiser's settings, in latents or pixels; ValueError without one."""
    found = checkpoint.settings(part).get(name)
    if not isinstance(found, int) or not 1 <= found <= LARGEST_SIZE:
        raise ValueError(
            f"{checkpoint}: {part}/config.json has {name} {found!r}, expected the side of the images of training, a "
            "whole number such as 64"
        )
    return found


def text_width(checkpoint: Source, part: str) -> int | None:
    """The width of the text features that the denoiser takes; None if its settings do not say."""
    settings = checkpoint.settings(part)
    found = next((settings[name] for name in WIDTHS if settings.get(name) is not None), None)
    return found if isinstance(found, int) else None


def check_vae(checkpoint: Source, settings: dict[str, Any]) -> None:
    """ValueError unless the scale and the shift of the latents are numbers, the scale above zero."""
    for name, lowest in (("scaling_factor", 0.0), ("shift_factor", -math.inf)):
        value = settings.get(name)
        if value is not None and not (isinstance(value, int | float) and math.isfinite(value) and value > lowest):
            raise ValueError(f"{checkpoint}: vae/config.json has {name} {value!r}, which is no usable number")
