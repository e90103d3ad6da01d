"""Train the embedded prior of other views of a picture, from the trained prior of four views.

    python tools/train_toybox_pose.py --minutes 60 --views 65536

Groups of views of a toy: one is the picture, which the network sees without noise, the others are denoised; poses are
MVDream's (Shi et al. 2023). Resumable: stopped at any moment, the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from scoredistill.camera import orbit
from scoredistill.priors.camera_pose import camera_pose
from scoredistill.priors.toybox import ToyboxPosePrior, ToyboxViewsPrior
from scoredistill.priors.toybox.unet_tasks import VIEWS, PoseUNet
from scoredistill.toybox import captions
from tools.fitting import denoising_loss
from tools.tasks import RINGS, fit_begun, train_task
from tools.train_toybox import NULL_SHARE, Batches

CARD = """# toybox-pose

A diffusion model of other views of a toy's picture, Zero-1-to-3's task: 64x64 pixels, v-prediction, cosine schedule.

| | |
|---|---|
| parameters | {millions:.1f} M, stored in float16 |
| architecture | `scoredistill/priors/toybox/unet_tasks.py` (PoseUNet), {shape} |
| begun as | [{begun}]({begun}.md), of whose views one is the picture |
| data | {views} views of random toys, eight of each; one is the picture of three others |
| training | {steps} steps of {batch} images ({images} in all), {minutes:.0f} minutes, averaged weights |
| made by | `python tools/train_toybox_pose.py {flags}` |
| quality | [benchmarks/results/photos.json](../../benchmarks/results/photos.json), by `benchmarks/photos.py` |

Limits: those of toybox-prior; pictures must show a toy before a plain background, at the size that toys have there.
"""


class Groups(Batches):
    """Random training batches: images and times; for every three their toy's picture and words; poses; what is told."""

    def __call__(self) -> tuple[Tensor, ...]:
        each, groups = RINGS * VIEWS, self.size // VIEWS
        chance = self.chance.reshape(-1, each).sum(1)
        toys = torch.from_numpy(self.rng.choice(len(chance), groups, p=chance))
        rows = toys[:, None] * each + torch.from_numpy(self.rng.integers(each, size=(groups, VIEWS)))
        picture, others = rows[:, 0], rows[:, 1:].flatten()
        dice = self.rng.random(groups)  # of equal small shares one has no words, one no picture, and one neither
        spoken, told = dice >= 2 * NULL_SHARE, (dice < NULL_SHARE) | (dice >= 3 * NULL_SHARE)
        words = [self.worded(int(row)) if heard else "" for row, heard in zip(picture, spoken, strict=True)]
        tokens = torch.tensor([captions.tokenize(each) for each in words])
        pictures, x = (self.views.rgb[which].float() / 127.5 - 1 for which in (picture, others))
        shares = (self.poses(picture), self.poses(others), torch.from_numpy(told))
        return x, self._times()[: len(x)], pictures, tokens, *shares

    def worded(self, row: int) -> str:
        """A toy's caption, plain as the prior reads it, or in any words."""
        toy = self.views.descriptions[row]
        return captions.phrase(toy) if self.rng.random() < 0.5 else captions.caption(toy, self.rng)

    def poses(self, rows: Tensor) -> Tensor:
        views = self.views
        return camera_pose(
            orbit(views.azimuth[rows], views.elevation[rows], views.radius[rows], torch.ones(len(rows)), 1)
        )


def losses(flags: argparse.Namespace, seed: int) -> Callable[[PoseUNet], Tensor]:
    """The denoising loss of a network on a worker's next batch."""
    batches = Groups(flags.data, flags.batch // flags.workers, seed)

    def loss(net: PoseUNet) -> Tensor:
        x, t, pictures, words, known, pose, told = (part.to(flags.device) for part in batches())

        def ask(x_t: Tensor, t: Tensor) -> Tensor:
            text, mask = net.text(words)
            seen = net.encode_picture(pictures, text, mask, net.camera(known))
            each = (part.repeat_interleave(VIEWS - 1, 0) for part in (text, mask, seen, told))
            text, mask, seen, shown = each
            return net(x_t, t, text, mask, net.camera(pose), seen, shown)

        return denoising_loss(ask, x, t)

    return loss


def train(rank: int, flags: argparse.Namespace) -> None:
    """Train in worker `rank`; the first one writes the weights and their card."""
    fit_begun(rank, flags, ToyboxPosePrior, losses, CARD)


def main() -> None:
    train_task(__doc__ or "", ToyboxPosePrior, train, ToyboxViewsPrior.weights)


if __name__ == "__main__":
    main()
