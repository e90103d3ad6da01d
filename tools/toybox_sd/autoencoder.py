"""The latents of a dataset, and the training of the decoder on them; the encoder is linear and stays as it starts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from torch import Tensor, nn

from tools.toybox_sd import linear

ABSOLUTE_WEIGHT = 0.2  # of the absolute error beside the squared one: edges count
START_VIEWS = 1024  # from which the linear start is computed
ENCODED = {"cpu": 8}  # images of a batch that is encoded: few fit into a processor's cache, twice as fast as many


def shards(folder: Path) -> list[np.ndarray]:
    """The pictures of a dataset as they lie on the disk, uint8 [n 3 H W] a shard; ValueError if there are none."""
    names = sorted(name.with_suffix(".npy") for name in folder.glob("shard-*.json"))
    if not names:
        raise ValueError(f"no Toybox data in {folder}: run the stage data first")
    return [np.load(name, mmap_mode="r") for name in names]


def to_input(rgb: np.ndarray) -> Float[Tensor, "N 3 H W"]:
    """uint8 pictures in [-1, 1]."""
    return torch.tensor(rgb).float() / 127.5 - 1


def decoded(vae: Any, z: Float[Tensor, "N C h w"]) -> Float[Tensor, "N 3 H W"]:
    """Latents as pictures in [-1, 1], not clamped."""
    return vae.decode(z, return_dict=False)[0]


def losses(flags: argparse.Namespace, seed: int) -> Callable[[nn.Module], Tensor]:
    """A function that returns the error of a decoder on the latents of the next batch of random pictures.

    The latents are drawn from their posterior, so that the decoder bears the small errors of the denoiser.
    """
    pictures, latents, rng = shards(flags.data), latent_shards(flags.data), np.random.default_rng(seed)

    def loss(decoder: nn.Module) -> Tensor:
        shard = int(rng.integers(len(pictures)))
        rows = np.sort(rng.choice(len(pictures[shard]), flags.batch // flags.workers, replace=False))
        x = to_input(pictures[shard][rows]).to(flags.device)
        z = torch.tensor(latents[shard][rows]).to(flags.device).float()
        z = z + linear.POSTERIOR * torch.randn_like(z)
        with torch.autocast(x.device.type, torch.bfloat16):
            error = decoder(z / flags.scaling_factor).float() - x
        return error.square().mean() + ABSOLUTE_WEIGHT * error.abs().mean()

    return loss


@torch.no_grad()
def fidelity(vae: AutoencoderKL, folder: Path, batch: int = 32) -> float:
    """PSNR in dB of all pictures of a dataset, over all of their pixels, decoded from the posterior's mean."""
    errors, device = [], next(vae.parameters()).device
    for rgb in _batches(shards(folder), batch):
        x = to_input(rgb).to(device)
        found = decoded(vae, vae.encode(x, return_dict=False)[0].mean)
        errors.append(((found.clamp(-1, 1) - x) / 2).square().mean((1, 2, 3)))
    return float(-10 * torch.cat(errors).mean().log10())


@torch.no_grad()
def write_latents(vae: AutoencoderKL, folder: Path) -> None:
    """Write, beside each shard, the scaled means of its latents in half precision; those that are there stay."""
    device, scale = vae.device, vae.config["scaling_factor"]
    vae.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (not in torch's stubs)
    for name in sorted(folder.glob("shard-*.json")):
        path = latents_path(name)
        if path.exists():
            continue
        rgb = np.load(name.with_suffix(".npy"), mmap_mode="r")
        parts = (to_input(part).to(device) for part in _batches([rgb], ENCODED.get(device.type, 512)))
        means = [vae.encode(part, return_dict=False)[0].mean for part in parts]
        np.save(path, (torch.cat(means) * scale).half().cpu().numpy())


def latent_shards(folder: Path) -> list[np.ndarray]:
    """The scaled latents of a dataset as they lie on the disk, float16 [n C h w] a shard."""
    return [np.load(latents_path(name), mmap_mode="r") for name in sorted(folder.glob("shard-*.json"))]


def latents_path(shard: Path) -> Path:
    """The file of the latents of a shard."""
    return shard.with_name(f"{shard.stem}-latents.npy")


def _batches(pictures: list[np.ndarray], size: int) -> Iterator[np.ndarray]:
    for shard in pictures:
        for first in range(0, len(shard), size):
            yield shard[first : first + size]
