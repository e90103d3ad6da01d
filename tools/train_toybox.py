"""Train the embedded text-to-image prior from scratch: render captioned views, train, write weights and card.

    python tools/train_toybox.py --minutes 80 --views 100000

Resumable: after an interruption, the same command continues from the last checkpoint. Runs on a CPU (in bf16 if
supported) or a GPU; requires torch, numpy, jaxtyping and safetensors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from scoredistill.priors import toybox as prior
from scoredistill.priors.toybox.unet import Shape, UNet
from scoredistill.toybox import captions, dataset
from tools.fitting import denoising_loss, finish, fit, launch
from tools.training import training_flags

NULL_SHARE = 0.1  # of the captions are dropped, to train the unconditional score
VIEW_SHARE = 0.85  # of the other captions name the view
TIME_MEAN, TIME_STD = 0.3, 1.0  # of logit t
COMPOSED_SHARE = 0.4  # of a batch are pairs and counts: a fifth of the captions, but most of the errors
VIEWS_PER_TOY = 8  # rendering eight views of a toy at once costs two thirds as much per view as rendering four

CARD = """# toybox-prior

A text-to-image diffusion model of the Toybox world: 64x64 pixels, v-prediction, cosine schedule. It is the embedded
single-view prior of `scoredistill`, which requires no download.

| | |
|---|---|
| parameters | {millions:.1f} M, stored in float16 |
| architecture | `scoredistill/priors/toybox/unet.py`, {shape} |
| data | {views} views of {toys} random toys, single views with captions; no 3D information |
| captions | worded randomly at every use; {null:.0%} dropped (unconditional), {view:.0%} of the others name the view |
| sampling | {composed:.0%} of a batch are pairs and counts, which are hardest to learn |
| training | {steps} steps of {batch} images ({images} in all), {minutes:.0f} minutes, averaged weights |
| command | `python tools/train_toybox.py {flags}` |
| guidance | samples are most accurate at scale 4 |
| quality | [benchmarks/results/prior.json](../../benchmarks/results/prior.json), by `benchmarks/prior.py` |

Limits: the 30 kinds of toys of `toybox/captions.py`, one plain background and one lighting. Sizes, counts and colors
of parts are less reliable than kinds and main colors. The model is intended for experiments with score distillation,
not for image generation.
"""


def sampling_probabilities(groups: Sequence[int], shares: Sequence[float]) -> np.ndarray:
    """The sampling probability of each row, such that every group has its share of a batch."""
    weights = np.divide(shares, np.maximum(np.bincount(groups, minlength=len(shares)), 1))[np.asarray(groups, int)]
    return weights / weights.sum()  # a group may be empty


class Batches:
    """Random training batches: images in [-1, 1], tokens of newly worded captions, and diffusion times."""

    shares: tuple[float, ...] = (1 - COMPOSED_SHARE, COMPOSED_SHARE)

    def __init__(self, folder: Path, size: int, seed: int):
        self.views = dataset.load(folder)
        self.size = size
        self.rng = np.random.default_rng(seed)
        angles = zip(self.views.azimuth.tolist(), self.views.elevation.tolist(), strict=True)
        self.view_words = [captions.view_words(azimuth, elevation) for azimuth, elevation in angles]
        self.probabilities = sampling_probabilities([self.group(toy) for toy in self.views.descriptions], self.shares)

    @staticmethod
    def group(toy: captions.Description) -> int:
        """The index in `shares` of a toy's group."""
        return int(toy.composed)

    def __call__(self) -> tuple[Tensor, ...]:
        rng, size = self.rng, self.size
        rows = rng.choice(len(self.probabilities), size, p=self.probabilities)
        x = self.views.rgb[torch.from_numpy(rows)].float() / 127.5 - 1
        tokens = torch.tensor([self._tokens(int(row)) for row in rows])
        return x, tokens, self._times()

    def _times(self) -> Tensor:
        """Diffusion times: 80 % logit-normal (Esser et al. 2024), at which shapes are decided; 20 % uniform.

        Stratified, one in each of `size` equal slices of the distribution, so that a batch covers all noise levels.
        """
        u = torch.from_numpy((self.rng.permutation(self.size) + self.rng.random(self.size)) / self.size)
        logit_normal = torch.sigmoid(TIME_MEAN + TIME_STD * torch.special.ndtri(u))
        return torch.where(torch.from_numpy(self.rng.random(self.size)) < 0.8, logit_normal, u)

    def _tokens(self, row: int) -> list[int]:
        if self.rng.random() < NULL_SHARE:
            return captions.tokenize("")
        view = self.view_words[row] if self.rng.random() < VIEW_SHARE else ""
        return captions.tokenize(captions.caption(self.views.descriptions[row], self.rng, view))


def losses(flags: argparse.Namespace, seed: int) -> Callable[[UNet], Tensor]:
    """A function that returns the denoising loss of a network on the worker's next batch."""
    batches = Batches(flags.data, flags.batch // flags.workers, seed)

    def loss(net: UNet) -> Tensor:
        x, tokens, t = (part.to(flags.device) for part in batches())
        return denoising_loss(lambda x_t, t: net(x_t, t, *net.text(tokens)), x, t)

    return loss


def train(rank: int, flags: argparse.Namespace) -> None:
    """Train in worker `rank` of `flags.workers`; the first one logs, saves, and finally writes weights and card."""
    torch.manual_seed(flags.seed)
    net = UNet(Shape(len(captions.VOCABULARY), captions.CONTEXT))
    average = fit(rank, flags, net, losses)
    if average:
        shares = {"null": NULL_SHARE, "view": VIEW_SHARE, "composed": COMPOSED_SHARE}
        finish(flags, average.shadow, CARD, toys=flags.views // VIEWS_PER_TOY, **shares)


def main() -> None:
    parser = training_flags(
        __doc__ or "", "prior", prior.WEIGHTS, minutes=80, views=65_536, batch=32, rate=8e-4, every=100
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that share a batch; on a CPU, one per core")
    flags = parser.parse_args()
    made = {"views_per_toy": VIEWS_PER_TOY, "workers": flags.renderers}
    dataset.make(flags.data, flags.views, seed=1000 + flags.seed, **made)
    if not flags.only_data:
        launch(flags, train)


if __name__ == "__main__":
    main()
