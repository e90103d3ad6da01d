"""Train toybox-sd, a Stable Diffusion of Toybox: data, latents, decoder, text encoder and U-Net, folder.

    python tools/train_toybox_sd.py --minutes 150 --views 49152

The encoder is linear, by principal components of the data, so that decoder and U-Net do not wait for each other:
--only trains one of them, and the command without it then writes the folder. Every stage goes on from what is there:
after an interruption, the same command continues. --begin starts the networks from an earlier folder. Runs on a CPU,
in bf16 if supported, or a GPU; requires the extra [sd].
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextModel

from scoredistill.toybox import dataset
from tools.fitting import fit, launch
from tools.toybox_sd import autoencoder, denoising, folder, linear, networks
from tools.toybox_sd.words import tokenizer
from tools.train_toybox import NULL_SHARE, VIEW_SHARE
from tools.training import command_words, saved_progress, training_flags

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "scoredistill" / "weights" / "toybox-sd"
VIEWS_PER_TOY = 8


def vae_flags(flags: argparse.Namespace) -> argparse.Namespace:
    """The flags of the decoder's training."""
    changed = {"out": flags.out / "vae", "minutes": flags.vae_minutes, "batch": flags.vae_batch, "rate": flags.vae_rate}
    return argparse.Namespace(**vars(flags) | changed)


def starting_vae(of_vae: argparse.Namespace) -> AutoencoderKL:
    """The autoencoder that makes the latents, its decoder not yet trained; the first call writes it."""
    path = of_vae.out / "start"
    if path.exists():
        return AutoencoderKL.from_pretrained(path)
    if of_vae.begin:
        vae = AutoencoderKL.from_pretrained(of_vae.begin, subfolder="vae", torch_dtype=torch.float32)
    else:
        torch.manual_seed(of_vae.seed)
        vae = networks.autoencoder()
        first = autoencoder.shards(of_vae.data)[0]
        linear.start(vae, autoencoder.to_input(first[: autoencoder.START_VIEWS]))
    vae.save_pretrained(path)
    return vae


def train_decoder(rank: int, of_vae: argparse.Namespace) -> None:
    """Train the decoder in worker `rank`; the first one writes the autoencoder."""
    vae = starting_vae(of_vae)
    of_vae.scaling_factor = vae.config["scaling_factor"]
    average = fit(rank, of_vae, vae.decoder, autoencoder.losses)
    if average:
        vae.decoder = average.shadow
        vae.save_pretrained(of_vae.out / "trained")


def train_denoiser(rank: int, flags: argparse.Namespace) -> None:
    """Train text encoder and U-Net in worker `rank`; the first one writes the folder."""
    torch.manual_seed(flags.seed)
    words = tokenizer()
    if flags.begin:
        options: dict[str, Any] = {"pretrained_model_name_or_path": flags.begin}
        text = CLIPTextModel.from_pretrained(flags.begin, subfolder="text_encoder", dtype=torch.float32)
        unet = UNet2DConditionModel.from_pretrained(**options, subfolder="unet", torch_dtype=torch.float32)
    else:
        text, unet = networks.text_encoder(words), networks.denoiser()
    average = fit(rank, flags, networks.TextToNoise(text, unet), denoising.losses)
    if average and flags.only != "denoiser":
        vae = AutoencoderKL.from_pretrained(vae_flags(flags).out / "trained")
        folder.write(flags.weights, vae.to(flags.device), average.shadow, words, facts(flags, vae))
        print(f"wrote {flags.weights}")


def facts(flags: argparse.Namespace, vae: AutoencoderKL) -> dict[str, Any]:
    """What the card says of the training."""
    of_vae, done = saved_progress(vae_flags(flags).out), saved_progress(flags.out)
    words = command_words(flags, "vae_minutes", "vae_batch", "vae_rate", "workers")
    return {
        "psnr": autoencoder.fidelity(vae.to(flags.device), others(flags)),
        "held_out": flags.held_out,
        "vae_images": of_vae.step * flags.vae_batch,
        "vae_minutes": of_vae.seconds / 60,
        "images": done.step * flags.batch,
        "minutes": done.seconds / 60,
        "views": flags.views,
        "null": NULL_SHARE,
        "view": VIEW_SHARE,
        "flags": words + (f" --begin {flags.begin}" if flags.begin else ""),
    }


def others(flags: argparse.Namespace) -> Path:
    """The folder of renders that are not trained on."""
    return flags.data.with_name(f"{flags.data.name}-held-out")


def main() -> None:
    parser = training_flags(__doc__ or "", "sd", WEIGHTS, minutes=150, views=49_152, batch=64, rate=5e-4, every=100)
    parser.add_argument("--workers", type=int, default=1, help="processes that share a batch; on a CPU, one per core")
    parser.add_argument("--vae-minutes", type=float, default=40, help="training time of the decoder in minutes")
    parser.add_argument("--vae-batch", type=int, default=8, help="images per step of the decoder")
    parser.add_argument("--vae-rate", type=float, default=1e-3, help="peak learning rate of the decoder")
    parser.add_argument("--held-out", type=int, default=512, help="renders of other toys that judge the autoencoder")
    parser.add_argument("--only", choices=("decoder", "denoiser"), help="train this alone, and write no folder")
    parser.add_argument("--begin", type=Path, help="folder of an earlier toybox-sd to start from")
    run(parser.parse_args())


def run(flags: argparse.Namespace) -> None:
    """All stages, each of which goes on from what is there."""
    size = {"size": networks.SIZE, "workers": flags.renderers}
    dataset.make(flags.data, flags.views, seed=5000 + flags.seed, views_per_toy=VIEWS_PER_TOY, **size)
    dataset.make(others(flags), flags.held_out, seed=6000 + flags.seed, views_per_toy=1, **size)
    if flags.only_data:
        return
    of_vae = vae_flags(flags)
    autoencoder.write_latents(starting_vae(of_vae).to(flags.device), flags.data)
    if flags.only != "denoiser":
        launch(of_vae, train_decoder)
        vae = AutoencoderKL.from_pretrained(of_vae.out / "trained").to(flags.device)
        fidelity = autoencoder.fidelity(vae, others(flags))
        print(f"autoencoder: {fidelity:.2f} dB on {flags.held_out} held-out renders", flush=True)
    if flags.only != "decoder":
        launch(flags, train_denoiser)


if __name__ == "__main__":
    main()
