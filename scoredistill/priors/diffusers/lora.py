"""LoRA files (FILE[:weight]) of Stable Diffusion 1, 2 and XL, fused into the U-Net and the text encoders.

W <- W + weight (alpha / rank) up down for each layer that the file names (Hu et al. 2022, eq. 3). The file formats of
diffusers and of kohya's trainer are both read, by diffusers' own converters; only .safetensors files are opened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scoredistill.priors.diffusers.libraries import one_line
from scoredistill.priors.weight_files import ENDING, opened

PARTS = ("unet", "text_encoder", "text_encoder_2")
"""Parts of a pipeline that a LoRA file may change; each is also the first word of its tensors' names."""

UP = (".up.", ".lora_B.")  # in the name of one tensor of each adapted layer


@dataclass(frozen=True)
class Lora:
    """The content of a LoRA file: tensors in diffusers' names, alphas of kohya's format, metadata of diffusers'."""

    path: Path
    weight: float
    tensors: dict[str, Tensor]
    alphas: dict[str, float] | None
    metadata: dict[str, Any] | None

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part of a pipeline."""
        return {key: tensor for key, tensor in self.tensors.items() if key.startswith(name + ".")}


def parse_lora(file: str) -> tuple[Path, float]:
    """The path and the weight of FILE[:weight]; ValueError in one line if there is no such file or no such weight."""
    place, colon, last = file.rpartition(":")
    if not colon or not place.endswith(ENDING):
        place, last = file, "1"
    path = Path(place).expanduser()
    if path.suffix != ENDING:
        raise ValueError(f"{path} is not a {ENDING} file; LoRA files in other formats are not opened")
    if not path.exists():
        raise ValueError(f"there is no LoRA file {path}")
    try:
        weight = float(last)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise ValueError(f"the weight of a LoRA file must be a finite number, as in {place}:0.8, got {last!r}")
    return path, weight


def read_loras(files: Sequence[str], unet_config: Any) -> tuple[Lora, ...]:
    """The content of LoRA files for a U-Net of this configuration; ValueError in one line for other files."""
    return tuple(_read(*parse_lora(file), unet_config) for file in files)


def fuse_loras(network: nn.Module, part: str, loras: Sequence[Lora]) -> None:
    """Add the LoRA weights to one part of a pipeline, file by file; a file without tensors of that part is skipped.

    ValueError in one line if a file was made for another network.
    """
    for lora in loras:
        if tensors := lora.part(part):
            _fuse(network, part, lora, tensors)


def _read(path: Path, weight: float, unet_config: Any) -> Lora:
    from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin

    try:
        with opened(path) as file:
            names = list(file.keys())
        if any("dora_scale" in name for name in names):
            raise ValueError("DoRA is not supported")
        if not any("lora" in name for name in names):
            raise ValueError("it has no LoRA tensors")
        content: Any = StableDiffusionLoraLoaderMixin.lora_state_dict(
            str(path.parent),
            weight_name=path.name,
            local_files_only=True,
            use_safetensors=True,
            unet_config=unet_config,  # numbers the blocks of SDXL in kohya's format
            return_lora_metadata=True,
        )
        tensors, alphas, metadata = content
    except Exception as error:  # of many types, depending on what is wrong with the file
        raise ValueError(f"{path} is not a LoRA file of Stable Diffusion: {one_line(error)}") from None
    if other := sorted({name.partition(".")[0] for name in tensors} - set(PARTS)):
        raise ValueError(
            f"{path} is not a LoRA file of Stable Diffusion: it has tensors of {other[0]!r}, not only of "
            + ", ".join(PARTS)
        )
    return Lora(path, weight, tensors, alphas, metadata)


def _fuse(network: Any, part: str, lora: Lora, tensors: dict[str, Tensor]) -> None:
    from diffusers.loaders.lora_base import fuse_text_encoder_lora
    from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin
    from diffusers.utils.peft_utils import recurse_remove_peft_layers
    from peft.tuners.tuners_utils import BaseTunerLayer

    name = "fused"
    content: dict[str, Any] = {
        "state_dict": tensors,
        "network_alphas": lora.alphas,
        "metadata": lora.metadata,
        "adapter_name": name,
    }
    try:
        if part == "unet":
            StableDiffusionLoraLoaderMixin.load_lora_into_unet(unet=network, **content)
        else:
            StableDiffusionLoraLoaderMixin.load_lora_into_text_encoder(text_encoder=network, prefix=part, **content)
    except (ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise ValueError(f"{lora.path} was made for another {part}: {one_line(error)}") from None
    adapted = sum(isinstance(layer, BaseTunerLayer) for layer in network.modules())
    layers = sum(any(up in key for up in UP) for key in tensors)
    if adapted != layers:
        raise ValueError(f"{lora.path} was made for another {part}: of its {layers} layers this one has {adapted}")
    if part == "unet":
        network.fuse_lora(lora_scale=lora.weight, adapter_names=[name])
        network.unload_lora()
    else:
        fuse_text_encoder_lora(network, lora_scale=lora.weight, adapter_names=[name])
        recurse_remove_peft_layers(network)
        network._hf_peft_config_loaded = False
        del network.peft_config
    network.requires_grad_(False)
