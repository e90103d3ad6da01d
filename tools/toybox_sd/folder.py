"""The folder of toybox-sd: a published Stable Diffusion in all that reads one, in half precision, with its card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from transformers import CLIPTokenizer

from tools.toybox_sd.networks import SCHEDULER, TextToNoise
from tools.toybox_sd.words import save_as_published

CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# toybox-sd

A latent diffusion model of the Toybox world in the format of Stable Diffusion 2.1-base: 128x128 pixels, latents of 16
channels and 16x16 pixels, noise prediction, scaled-linear schedule of 1000 steps. It was trained on single views with
captions and view words; it knows no camera and no 3D.

| | |
|---|---|
| parameters | {millions:.1f} M, stored in float16 |
| autoencoder | AutoencoderKL; its encoder is principal components of 8x8 patches, its decoder trained |
| fidelity | {psnr:.1f} dB on {held_out} held-out renders |
| training of the decoder | {vae_images} images, {vae_minutes:.0f} minutes, averaged weights |
| training of text encoder and U-Net | together, on {images} latents, {minutes:.0f} minutes, averaged weights |
| data | {views} renders of random toys at 128x128 pixels |
| captions | worded anew at every use; {null:.0%} dropped, {view:.0%} of the others name the view |
| loss | noise prediction, weighted by min(SNR, 5) / SNR (Hang et al. 2023) |
| command | `python tools/train_toybox_sd.py {flags}` |

    from diffusers import StableDiffusionPipeline
    StableDiffusionPipeline.from_pretrained("toybox-sd")("a red car, front view", height=128, width=128).images[0]

Limits: the 30 kinds of toys of `scoredistill/toybox/captions.py`, one plain background and one lighting. Other words
fall into letters, on which it was not trained. It is made for experiments with score distillation.
"""


def write(
    folder: Path, vae: AutoencoderKL, network: TextToNoise, tokenizer: CLIPTokenizer, facts: Mapping[str, Any]
) -> None:
    """Write the pipeline that diffusers opens, and a card with `facts`."""
    scheduler: Any = PNDMScheduler(**SCHEDULER)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=network.text,
        tokenizer=tokenizer,
        unet=network.unet,
        scheduler=scheduler,
        safety_checker=None,  # pyright: ignore[reportArgumentType] (optional, see requires_safety_checker)
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )
    count = sum(parameter.numel() for part in (vae, network) for parameter in part.parameters())
    pipeline.to(torch.float16).save_pretrained(folder)
    save_as_published(tokenizer, folder / "tokenizer")
    (folder / "README.md").write_text(CARD.format(millions=count / 1e6, **facts))
