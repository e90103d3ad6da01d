"""Train the embedded prior of other views of a picture, from the trained text-to-image prior.

    python tools/train_toybox_pose.py --minutes 60 --views 65536

Pairs of views of a toy: one is the picture, the other what is denoised, told by Zero-1-to-3's relative pose (Liu et al.
2023). Resumable: stopped at any moment, the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from scoredistill.camera import Cameras, orbit
from scoredistill.priors.sighted import relative_pose
from scoredistill.priors.toybox_tasks import ToyboxPosePrior
from scoredistill.priors.unet_tasks import VIEWS, PoseUNet
from tools.fitting import denoising_loss
from tools.tasks import RINGS, fit_begun, train_task
from tools.train_toybox import NULL_SHARE, Batches

CARD = """# toybox-pose

A diffusion model of other views of a toy's picture, Zero-1-to-3's task: 64x64 pixels, v-prediction, cosine schedule.

| | |
|---|---|
| parameters | {millions:.1f} M, stored in float16 |
| architecture | `scoredistill/priors/unet_tasks.py` (PoseUNet), {shape} |
| begun as | [toybox-prior](toybox-prior.md); an encoder of the picture stands where its text encoder was |
| data | {views} views of random toys, eight of each; any two of a toy are a pair |
| training | {steps} steps of {batch} images ({images} in all), {minutes:.0f} minutes, averaged weights |
| made by | `python tools/train_toybox_pose.py {flags}` |

Limits: those of toybox-prior; pictures must show a toy before a plain background, at the size that toys have there.
"""


class Pairs(Batches):
    """Random training batches: images, times, pictures of the same toys, relative poses, and which pairs are told."""

    def __call__(self) -> tuple[Tensor, ...]:
        each = RINGS * VIEWS
        rows = torch.from_numpy(self.rng.choice(len(self.chance), self.size, p=self.chance))
        others = rows // each * each + torch.from_numpy(self.rng.integers(each, size=self.size))
        pose = relative_pose(self.cameras(others), self.cameras(rows))
        told = torch.from_numpy(self.rng.random(self.size) >= NULL_SHARE)
        x, pictures = (self.views.rgb[which].float() / 127.5 - 1 for which in (rows, others))
        return x, self._times(), pictures, pose, told

    def cameras(self, rows: Tensor) -> Cameras:
        views = self.views
        return orbit(views.azimuth[rows], views.elevation[rows], views.radius[rows], torch.ones(len(rows)), 1)


def losses(flags: argparse.Namespace, seed: int) -> Callable[[PoseUNet], Tensor]:
    """The denoising loss of a network on a worker's next batch; pairs that are not told see zeros throughout."""
    batches = Pairs(flags.data, flags.batch // flags.workers, seed)

    def loss(net: PoseUNet) -> Tensor:
        x, t, pictures, pose, told = (part.to(flags.device) for part in batches())
        pictures, pose = pictures * told[:, None, None, None], pose * told[:, None]

        def ask(x_t: Tensor, t: Tensor) -> Tensor:
            tokens, mask = net.text(pictures)
            return net(torch.cat([x_t, pictures], 1), t, tokens * told[:, None, None], mask, net.camera(pose))

        return denoising_loss(ask, x, t)

    return loss


def train(rank: int, flags: argparse.Namespace) -> None:
    """Train in worker `rank`; the first one writes the weights and their card."""
    fit_begun(rank, flags, ToyboxPosePrior, losses, CARD)


def main() -> None:
    train_task(__doc__ or "", ToyboxPosePrior, train)


if __name__ == "__main__":
    main()
