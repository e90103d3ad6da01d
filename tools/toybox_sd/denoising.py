"""Training of text encoder and U-Net on the latents of a dataset: noise prediction as in Stable Diffusion."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from scoredistill.toybox import captions
from tools.toybox_sd.autoencoder import latent_shards
from tools.toybox_sd.networks import SCHEDULER, TextToNoise
from tools.toybox_sd.words import tokenizer
from tools.train_toybox import NULL_SHARE, VIEW_SHARE, Batches

MOST_SNR = 5.0  # of the weight min(SNR, 5) / SNR (Hang et al. 2023), which makes training several times shorter


class LatentBatches(Batches):
    """Random training batches: latents, token ids of newly worded captions, and steps of the noise schedule."""

    def __init__(self, flags: argparse.Namespace, seed: int):
        super().__init__(flags.data, flags.batch // flags.workers, seed)
        self.latents = torch.cat([torch.from_numpy(np.array(shard)) for shard in latent_shards(flags.data)])
        self.tokenizer = tokenizer()

    def __call__(self) -> tuple[Tensor, ...]:
        rows = self.rng.choice(len(self.probabilities), self.size, p=self.probabilities)
        x = self.latents[torch.from_numpy(rows)].float()
        options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        tokens = self.tokenizer([self.text(int(row)) for row in rows], **options).input_ids
        u = (self.rng.permutation(self.size) + self.rng.random(self.size)) / self.size  # stratified
        return x, tokens, torch.from_numpy((1000 * u).astype(np.int64))

    def text(self, row: int) -> str:
        """A caption of a view, worded anew, or none."""
        if self.rng.random() < NULL_SHARE:
            return ""
        view = self.view_words[row] if self.rng.random() < VIEW_SHARE else ""
        return captions.caption(self.views.descriptions[row], self.rng, view)


def attention_of(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The kernel of attention: for so few tokens a CPU's fused one is four times slower backwards than products."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else contextlib.nullcontext()


def losses(flags: argparse.Namespace, seed: int) -> Callable[[TextToNoise], Tensor]:
    """A function that returns E min(SNR, 5) / SNR |eps(x_t, t, y) - eps|^2 on the next batch."""
    batches = LatentBatches(flags, seed)
    kept = DDIMScheduler(**{name: value for name, value in SCHEDULER.items() if name != "skip_prk_steps"})
    alphas = kept.alphas_cumprod.to(flags.device)

    def loss(network: TextToNoise) -> Tensor:
        x, tokens, t = (part.to(flags.device) for part in batches())
        alpha = alphas[t][:, None, None, None]
        eps = torch.randn_like(x)
        x_t = alpha.sqrt() * x + (1 - alpha).sqrt() * eps
        with torch.autocast(x.device.type, torch.bfloat16), attention_of(x.device):
            found = network(x_t, t, tokens)
        weight = ((1 - alpha) / alpha * MOST_SNR).clamp(max=1)
        return (weight * (found.float() - eps).square()).mean()

    return loss
