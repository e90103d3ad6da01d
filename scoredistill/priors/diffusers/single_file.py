"""A checkpoint of Stable Diffusion in a single file: its weights, with the settings and tokenizers of a folder.

The file holds no settings. They are those of the folder in which it lies, if that has a model_index.json, otherwise
those of the model that it was made from, in the cache of the hub; nothing is downloaded for it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from scoredistill.priors.diffusers.checkpoint import INDEX, Checkpoint
from scoredistill.priors.diffusers.fetch import cached, cached_revisions
from scoredistill.priors.diffusers.hub import ALIASES
from scoredistill.priors.diffusers.libraries import library, one_line, quiet
from scoredistill.priors.diffusers.pipeline import PipelineCheckpoint
from scoredistill.priors.weight_files import ENDING, check_finite, content, opened

FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
MODELS = {  # by the names of their text encoders: the name, and the alias of the folder whose settings are the same
    r"^conditioner\.embedders\.1\.": ("Stable Diffusion XL", "sdxl"),
    r"^cond_stage_model\.transformer\.": ("Stable Diffusion 1.5", "sd15"),
    r"^cond_stage_model\.model\.": ("Stable Diffusion 2", ""),  # eps or v: the file does not say which
}
CHANNELS = 4  # of the latents
PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
WANTED = (
    "--prior takes the weights of a Toybox prior, Stable Diffusion 1.5, 2 or XL in a single file, or the folder of a "
    "model in the layout of diffusers"
)


def check_single_file(path: Path) -> tuple[str, str]:
    """The model in a file and the alias of its settings; ValueError in one line that says what another file holds."""
    with opened(path) as file:
        names = list(file.keys())
        found = content(names)
        model = next((each for sign, each in MODELS.items() if any(re.match(sign, name) for name in names)), None)
        if FIRST_LAYER not in names or model is None:
            words = "holds no whole Stable Diffusion" if FIRST_LAYER in names else "holds tensors of an unknown kind"
            raise ValueError(f"{path} {f'is {found}' if found and FIRST_LAYER not in names else words}; {WANTED}")
        shape = file.get_slice(FIRST_LAYER).get_shape()
    if len(shape) != 4 or shape[1] != CHANNELS:
        raise ValueError(f"{path} is no text-to-image model: {other_task(shape[1] if len(shape) > 1 else 0, CHANNELS)}")
    return model


def single_file(path: Path, dtype: torch.dtype) -> PipelineCheckpoint:
    """The pipeline of a checkpoint in one file; ValueError in one line if it or the settings it needs are missing."""
    model, alias = check_single_file(path)
    settings = _settings(path, model, alias)
    kind = settings.index.get("_class_name")
    if kind not in PIPELINES:
        raise ValueError(f"{path} is {model}, but {settings} holds the settings of a {kind}")
    parts: dict[str, Any] = {
        name: settings.tokenizer(name) if name.startswith("tokenizer") else None
        for name in ("tokenizer", "tokenizer_2", "safety_checker", "feature_extractor", "image_encoder")
        if name in settings.index
    }
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        if settings.has(part):
            settings.settings(part)
    try:
        with quiet("diffusers"), quiet("transformers"):
            pipeline = getattr(library("diffusers"), kind).from_single_file(
                str(path), config=str(settings.root), torch_dtype=dtype, local_files_only=True, **parts
            )
    except Exception as error:  # of many types, depending on what is wrong with the file
        lacking = isinstance(error, NotImplementedError)  # of torch, for a tensor that was given no values
        reason = "it lacks tensors" if lacking else one_line(error)
        raise ValueError(f"{path} does not fit the settings of {settings}: {reason}") from None
    for part, network in pipeline.components.items():
        if isinstance(network, torch.nn.Module):
            check_finite(f"{path}: {part}", network.named_parameters())
    return PipelineCheckpoint(pipeline, str(path))


def weight_and_settings(path: Path) -> list[Path]:
    """The file itself and the files of the folder whose settings it is loaded with, without the folder's weights."""
    settings = _settings(path, *check_single_file(path))
    return [path, *(file for file in settings.files() if file.suffix != ENDING)]


def other_task(channels: int, latents: int) -> str:
    """What a U-Net of so many input channels was trained for, if it is not text to image with `latents` channels."""
    task = {2 * latents + 1: "inpainting", 2 * latents: "editing images (InstructPix2Pix)"}.get(channels)
    return (
        f"its unet takes {channels} channels, not {latents}" + (f", as models for {task} do" if task else "")
    ) + "; take the text-to-image model that it was made from"


def _settings(path: Path, model: str, alias: str) -> Checkpoint:
    """The folder with the settings of a single file: the one it lies in, or of the model in the cache."""
    if (path.parent / INDEX).is_file():
        return Checkpoint(str(path.parent.absolute()))
    places = [candidate.partition("@") for candidate in ALIASES.get(alias, ())]
    for place, _, revision in places:
        for each in (revision or None, *cached_revisions(place)):
            if cached(place, each, INDEX):
                return Checkpoint(place, each)
    once = f", or load it once with --prior {alias}" if alias else ""
    raise ValueError(
        f"{path} is {model} in a single file, which holds no settings: put it into the folder of that model in the "
        f"layout of diffusers (its {INDEX}, config.json files, tokenizer and scheduler; no weights){once}"
    )
