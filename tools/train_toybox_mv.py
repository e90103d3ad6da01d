"""Train the embedded prior of four views at once, from the trained text-to-image prior.

    python tools/train_toybox_mv.py --minutes 60 --views 65536

Four views of a toy a quarter turn apart, one noise level and one caption for them; poses are MVDream's (Shi et al.
2023). Resumable: stopped at any moment, the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from scoredistill.camera import orbit
from scoredistill.priors.camera_pose import camera_pose
from scoredistill.priors.toybox import ToyboxPrior, ToyboxViewsPrior
from scoredistill.priors.toybox.unet_tasks import VIEWS, ViewsUNet
from scoredistill.toybox import captions
from tools.fitting import denoising_loss
from tools.tasks import fit_begun, train_task
from tools.train_toybox import NULL_SHARE, VIEW_SHARE, Batches

FACING_SHARE = 0.5  # single toys that have a front: the others' poses are easy, or do not matter
COMPOSED_SHARE = 0.25  # pairs and counts

CARD = """# toybox-mv

A text-to-multi-view diffusion model of the Toybox world, MVDream's task: four views of 64x64 pixels a quarter turn
apart, v-prediction, cosine schedule.

| | |
|---|---|
| parameters | {millions:.1f} M, stored in float16 |
| architecture | `scoredistill/priors/toybox/unet_tasks.py` (ViewsUNet), {shape} |
| begun as | [{begun}]({begun}.md); new are attention across the views and the camera's embedding |
| data | {views} views of random toys, in rings of four |
| emphasis | {facing:.0%} of a batch are single toys that have a front, {composed:.0%} pairs and counts |
| training | {steps} steps of {batch} images ({images} in all), {minutes:.0f} minutes, averaged weights |
| made by | `python tools/train_toybox_mv.py {flags}` |
| quality | [benchmarks/results/rings.json](../../benchmarks/results/rings.json), by `benchmarks/prior.py` |

Limits: those of toybox-prior; and it knows rings of four views only.
"""


class Rings(Batches):
    """Random training batches of whole rings: images, tokens, times, poses; one time and one wording for a ring."""

    shares = (1 - FACING_SHARE - COMPOSED_SHARE, FACING_SHARE, COMPOSED_SHARE)

    @staticmethod
    def group(toy: captions.Description) -> int:
        return 2 if toy.composed else int(toy.kind in captions.FACING)

    def __call__(self) -> tuple[Tensor, ...]:
        views, chance = self.views, self.chance.reshape(-1, VIEWS).sum(1)
        rings = torch.from_numpy(self.rng.choice(len(chance), self.size // VIEWS, p=chance))
        rows = rings[:, None] * VIEWS + torch.arange(VIEWS)
        tokens = torch.tensor([self.worded(ring) for ring in rows.tolist()]).flatten(0, 1)
        rows = rows.flatten()
        cameras = orbit(views.azimuth[rows], views.elevation[rows], views.radius[rows], torch.ones(len(rows)), 1)
        times = self._times()[::VIEWS].repeat_interleave(VIEWS)
        return views.rgb[rows].float() / 127.5 - 1, tokens, times, camera_pose(cameras)

    def worded(self, ring: list[int]) -> list[list[int]]:
        """The tokens of each view of a toy: one wording, with or without the view words; or no words at all."""
        if self.rng.random() < NULL_SHARE:
            return [captions.tokenize("")] * VIEWS
        seed, told = self.rng.integers(2**31), self.rng.random() < VIEW_SHARE
        words = [self.view_words[row] if told else "" for row in ring]
        toy = self.views.descriptions[ring[0]]
        return [captions.tokenize(captions.caption(toy, np.random.default_rng(seed), each)) for each in words]


def losses(flags: argparse.Namespace, seed: int) -> Callable[[ViewsUNet], Tensor]:
    """The denoising loss of a network on a worker's next batch."""
    batches = Rings(flags.data, flags.batch // flags.workers, seed)

    def loss(net: ViewsUNet) -> Tensor:
        x, tokens, t, pose = (part.to(flags.device) for part in batches())
        return denoising_loss(lambda x_t, t: net(x_t, t, *net.text(tokens), net.camera(pose)), x, t)

    return loss


def train(rank: int, flags: argparse.Namespace) -> None:
    """Train in worker `rank`; the first one writes the weights and their card."""
    fit_begun(rank, flags, ToyboxViewsPrior, losses, CARD, facing=FACING_SHARE, composed=COMPOSED_SHARE)


def main() -> None:
    train_task(__doc__ or "", ToyboxViewsPrior, train, ToyboxPrior.weights)


if __name__ == "__main__":
    main()
