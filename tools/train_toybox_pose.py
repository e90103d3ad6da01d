"""Train the embedded image-to-view prior, starting from the trained multi-view prior.

    python tools/train_toybox_pose.py --minutes 60 --views 65536

Groups of views of a toy: one is the input image, without noise, the others are denoised; poses as in MVDream (Shi et
al. 2023). Resumable: after an interruption, the same command continues from the last checkpoint.
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
from tools.tasks import RINGS, fit_from_prior, task_flags, train_task
from tools.train_toybox import NULL_SHARE, Batches

CARD = """# toybox-pose

A diffusion model of novel views of a toy from one image, the task of Zero-1-to-3: 64x64 pixels, v-prediction, cosine
schedule.

| | |
|---|---|
| parameters | {millions:.1f} M, stored in float16 |
| architecture | `scoredistill/priors/toybox/unet_tasks.py` (PoseUNet), {shape} |
| initialized from | [{initial}]({initial}.md), one of whose views is now the input image |
| data | {views} views of random toys, eight of each; one is the input image of three others |
| training | {steps} steps of {batch} images ({images} in all), {minutes:.0f} minutes, averaged weights |
| command | `python tools/train_toybox_pose.py {flags}` |
| quality | [benchmarks/results/photos.json](../../benchmarks/results/photos.json), by `benchmarks/photos.py` |

Limits: those of toybox-prior; input images must show a toy on a plain background, at the size of the training images.
"""


class Groups(Batches):
    """Random training batches: images, times; for each group of three the input image, tokens, poses and a mask.

    The mask is False for groups that are denoised without their input image.
    """

    def __call__(self) -> tuple[Tensor, ...]:
        each, groups = RINGS * VIEWS, self.size // VIEWS
        probabilities = self.probabilities.reshape(-1, each).sum(1)
        toys = torch.from_numpy(self.rng.choice(len(probabilities), groups, p=probabilities))
        rows = toys[:, None] * each + torch.from_numpy(self.rng.integers(each, size=(groups, VIEWS)))
        picture, others = rows[:, 0], rows[:, 1:].flatten()
        u = self.rng.random(groups)  # three shares of NULL_SHARE: without caption, with neither, without image
        with_text, with_image = u >= 2 * NULL_SHARE, (u < NULL_SHARE) | (u >= 3 * NULL_SHARE)
        words = [self.caption_of(int(row)) if named else "" for row, named in zip(picture, with_text, strict=True)]
        tokens = torch.tensor([captions.tokenize(each) for each in words])
        pictures, x = (self.views.rgb[which].float() / 127.5 - 1 for which in (picture, others))
        shares = (self.poses(picture), self.poses(others), torch.from_numpy(with_image))
        return x, self._times()[: len(x)], pictures, tokens, *shares

    def caption_of(self, row: int) -> str:
        """The caption of a toy: half of the time plain, as in inference, otherwise in a random wording."""
        toy = self.views.descriptions[row]
        return captions.phrase(toy) if self.rng.random() < 0.5 else captions.caption(toy, self.rng)

    def poses(self, rows: Tensor) -> Tensor:
        """Camera poses of the given views."""
        views = self.views
        return camera_pose(
            orbit(views.azimuth[rows], views.elevation[rows], views.radius[rows], torch.ones(len(rows)), 1)
        )


def losses(flags: argparse.Namespace, seed: int) -> Callable[[PoseUNet], Tensor]:
    """A function that returns the denoising loss of a network on the worker's next batch."""
    batches = Groups(flags.data, flags.batch // flags.workers, seed)

    def loss(net: PoseUNet) -> Tensor:
        x, t, pictures, words, picture_pose, pose, mask = (part.to(flags.device) for part in batches())

        def network(x_t: Tensor, t: Tensor) -> Tensor:
            text, text_mask = net.text(words)
            features = net.encode_picture(pictures, text, text_mask, net.camera(picture_pose))
            inputs = (text, text_mask, features, mask)
            text, text_mask, features, use_picture = (part.repeat_interleave(VIEWS - 1, 0) for part in inputs)
            return net(x_t, t, text, text_mask, net.camera(pose), features, use_picture)

        return denoising_loss(network, x, t)

    return loss


def train(rank: int, flags: argparse.Namespace) -> None:
    """Train in worker `rank`; the first one writes the weights and their card."""
    fit_from_prior(rank, flags, ToyboxPosePrior, losses, CARD)


def main() -> None:
    train_task(task_flags(__doc__ or "", ToyboxPosePrior, ToyboxViewsPrior.weights).parse_args(), train)


if __name__ == "__main__":
    main()
