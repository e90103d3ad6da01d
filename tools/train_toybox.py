"""Train the embedded prior from nothing: make captioned views, train the denoiser, write the weights and their card.

    python tools/train_toybox.py --minutes 80 --views 100000

Resumable: stopped at any moment, the same command goes on from the last checkpoint. Runs on a CPU (bf16 where it has
it) or a GPU; needs torch, numpy and the package's two small dependencies jaxtyping and safetensors.
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

NULL_SHARE = 0.1  # captions dropped, so that the network also learns the text-free score
VIEW_SHARE = 0.85  # captions that name the view
TIME_MEAN, TIME_STD = 0.3, 1.0  # of logit t
COMPOSED_SHARE = 0.4  # pairs and counts, one caption in five of the language but most of what goes wrong
VIEWS_PER_TOY = 8  # a toy traced from eight sides at once costs a view two thirds of what it costs from four


CARD = """# toybox-prior

A text-to-image diffusion model of the Toybox world: 64x64 pixels, v-prediction, cosine schedule. Everything in
`scoredistill` that needs a prior without a download distils this one.

| | |
|---|---|
| parameters | {millions:.1f} M, stored in float16 |
| architecture | `scoredistill/priors/toybox/unet.py`, {shape} |
| data | {views} views of {toys} random toys, one view and one caption at a time; nothing about 3-D |
| captions | worded anew at every use; {null:.0%} dropped (text-free score), {view:.0%} of the others name the view |
| emphasis | {composed:.0%} of a batch are pairs and counts, which are hardest to learn |
| training | {steps} steps of {batch} images ({images} in all), {minutes:.0f} minutes, averaged weights |
| made by | `python tools/train_toybox.py {flags}` |
| guidance | samples are truest at scale 4 |
| quality | [benchmarks/results/prior.json](../../benchmarks/results/prior.json), by `benchmarks/prior.py` |

Limits: it knows the 30 kinds of toys of `toybox/captions.py`, one plain background, one light, and nothing else. Sizes,
counts and parts' colors are less certain than kinds and main colors. It is made for experiments with score
distillation, not for pictures.
"""


def chances(groups: Sequence[int], shares: Sequence[float]) -> np.ndarray:
    """Each row's chance, so that the rows of every group have its share of a batch."""
    chance = np.divide(shares, np.maximum(np.bincount(groups, minlength=len(shares)), 1))[np.asarray(groups, int)]
    return chance / chance.sum()  # a group may be empty


class Batches:
    """Random training batches: images in [-1, 1], tokens of freshly worded captions, and diffusion times."""

    shares: tuple[float, ...] = (1 - COMPOSED_SHARE, COMPOSED_SHARE)

    def __init__(self, folder: Path, size: int, seed: int):
        self.views = dataset.load(folder)
        self.size = size
        self.rng = np.random.default_rng(seed)
        looks = zip(self.views.azimuth.tolist(), self.views.elevation.tolist(), strict=True)
        self.view_words = [captions.view_words(azimuth, elevation) for azimuth, elevation in looks]
        self.chance = chances([self.group(toy) for toy in self.views.descriptions], self.shares)

    @staticmethod
    def group(toy: captions.Description) -> int:
        """Which of the `shares` of a batch a toy belongs to."""
        return int(toy.composed)

    def __call__(self) -> tuple[Tensor, ...]:
        rng, size = self.rng, self.size
        rows = rng.choice(len(self.chance), size, p=self.chance)
        x = self.views.rgb[torch.from_numpy(rows)].float() / 127.5 - 1
        tokens = torch.tensor([self._tokens(int(row)) for row in rows])
        return x, tokens, self._times()

    def _times(self) -> Tensor:
        """Four in five from a logit-normal (Esser et al. 2024), where shapes are decided; one in five uniform.

        Stratified, one in each of `size` equal slices of the distribution, so that a batch sees every noise level.
        """
        u = torch.from_numpy((self.rng.permutation(self.size) + self.rng.random(self.size)) / self.size)
        bent = torch.sigmoid(TIME_MEAN + TIME_STD * torch.special.ndtri(u))
        return torch.where(torch.from_numpy(self.rng.random(self.size)) < 0.8, bent, u)

    def _tokens(self, row: int) -> list[int]:
        if self.rng.random() < NULL_SHARE:
            return captions.tokenize("")
        view = self.view_words[row] if self.rng.random() < VIEW_SHARE else ""
        return captions.tokenize(captions.caption(self.views.descriptions[row], self.rng, view))


def losses(flags: argparse.Namespace, seed: int) -> Callable[[UNet], Tensor]:
    """The denoising loss of a network on a worker's next batch."""
    batches = Batches(flags.data, flags.batch // flags.workers, seed)

    def loss(net: UNet) -> Tensor:
        x, tokens, t = (part.to(flags.device) for part in batches())
        return denoising_loss(lambda x_t, t: net(x_t, t, *net.text(tokens)), x, t)

    return loss


def train(rank: int, flags: argparse.Namespace) -> None:
    """Train in worker `rank` of `flags.workers`; the first one reports, saves, and at the end writes the weights."""
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
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that share a batch; on a CPU one for each core"
    )
    flags = parser.parse_args()
    dataset.make(flags.data, flags.views, seed=1000 + flags.seed, views_per_toy=VIEWS_PER_TOY)
    launch(flags, train)


if __name__ == "__main__":
    main()
