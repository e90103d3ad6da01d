"""Train the embedded multi-view prior, starting from the trained text-to-image prior.

    python tools/train_toybox_mv.py --minutes 60 --views 65536

Four views of a toy, 90 degrees apart in azimuth, with one noise level and one caption; poses as in MVDream (Shi et al.
2023). Resumable: after an interruption, the same command continues from the last checkpoint.
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
from tools.face_batches import expected_face, face_flags, face_words, nominal
from tools.fitting import denoising_loss
from tools.tasks import fit_from_prior, task_flags, train_task
from tools.train_toybox import NULL_SHARE, VIEW_SHARE, Batches

CANONICAL_FRONT_SHARE = 0.5  # of a batch are single toys with a canonical front, from which poses are learned
COMPOSED_SHARE = 0.25  # of a batch are pairs and counts

CARD = """# toybox-mv

A text-to-multi-view diffusion model of the Toybox world, the task of MVDream: four views of 64x64 pixels, 90 degrees
apart in azimuth, v-prediction, cosine schedule.

| | |
|---|---|
| parameters | {millions:.1f} M, stored in float16 |
| architecture | `scoredistill/priors/toybox/unet_tasks.py` (ViewsUNet), {shape} |
| initialized from | [{initial}]({initial}.md); attention across views and the camera embedding are new |
| data | {views} views of random toys, in rings of four |
| sampling | {faces:.0%} of the rings have a front view of a face, the loss weighted {face_weight:g} times where it is \
expected; of the others {canonical_front:.0%} are single toys with a canonical front, {composed:.0%} pairs and counts |
| training | {steps} steps of {batch} images ({images} in all), {minutes:.0f} minutes, averaged weights |
| command | `python tools/train_toybox_mv.py {flags}` |
| quality | [benchmarks/results/rings.json](../../benchmarks/results/rings.json), by `benchmarks/prior.py` |

Limits: those of toybox-prior; rings of four views only.
"""


class Rings(Batches):
    """Random training batches of whole rings: images, tokens, times, poses, weights; a ring has one time and wording.

    The first share `faces` of the rings have a front view of a face.
    """

    shares = (1 - CANONICAL_FRONT_SHARE - COMPOSED_SHARE, CANONICAL_FRONT_SHARE, COMPOSED_SHARE)

    @staticmethod
    def group(toy: captions.Description) -> int:
        return 2 if toy.composed else int(toy.kind in captions.CANONICAL_FRONT)

    def __call__(self) -> tuple[Tensor, ...]:
        views, by_ring = self.views, self.shows_face.reshape(-1, VIEWS).max(1)
        rings, faces = self.choose(self.probabilities.reshape(-1, VIEWS).sum(1), by_ring, self.size // VIEWS)
        rows = torch.from_numpy(rings)[:, None] * VIEWS + torch.arange(VIEWS)
        tokens = [self.tokens_of(ring, index < faces) for index, ring in enumerate(rows.tolist())]
        rows = rows.flatten()
        cameras = orbit(views.azimuth[rows], views.elevation[rows], views.radius[rows], torch.ones(len(rows)), 1)
        times = self._times(VIEWS * faces)[: len(rows) : VIEWS].repeat_interleave(VIEWS)
        weights = self.weights_of(rows, VIEWS * faces)
        x = views.rgb[rows].float() / 127.5 - 1
        return x, torch.tensor(tokens).flatten(0, 1), times, camera_pose(cameras), weights

    def weights_of(self, rows: Tensor, faces: int) -> Tensor:
        """Weights of the loss [B 1 H W]: among the first `faces` views, `face_weight` where a face is expected."""
        views, size = self.views, self.views.rgb.shape[-1]
        weights = torch.ones(len(rows), 1, size, size)
        for index, row in enumerate(rows[:faces].tolist()):
            if self.shows_face[row]:
                camera = nominal(views.azimuth[row : row + 1], views.elevation[row : row + 1], size)
                weights[index] += (self.face_weight - 1) * expected_face(views.descriptions[row], camera)
        return weights

    def tokens_of(self, ring: list[int], captioned: bool) -> list[list[int]]:
        """The tokens of each view of a toy: one wording, with or without view words.

        Unless it is to be `captioned`, sometimes the empty caption.
        """
        if not captioned and self.rng.random() < NULL_SHARE:
            return [captions.tokenize("")] * VIEWS
        seed, named = self.rng.integers(2**31), self.rng.random() < VIEW_SHARE
        words = [self.view_words[row] if named else "" for row in ring]
        toy = self.views.descriptions[ring[0]]
        return [captions.tokenize(captions.caption(toy, np.random.default_rng(seed), each)) for each in words]


def losses(flags: argparse.Namespace, seed: int) -> Callable[[ViewsUNet], Tensor]:
    """A function that returns the denoising loss of a network on the worker's next batch."""
    batches = Rings(flags.data, flags.batch // flags.workers, seed, flags.faces, flags.face_weight)

    def loss(net: ViewsUNet) -> Tensor:
        x, tokens, t, pose, weights = (part.to(flags.device) for part in batches())
        return denoising_loss(lambda x_t, t: net(x_t, t, *net.text(tokens), net.camera(pose)), x, t, weights)

    return loss


def train(rank: int, flags: argparse.Namespace) -> None:
    """Train in worker `rank`; the first one writes the weights and their card."""
    shares = {"canonical_front": CANONICAL_FRONT_SHARE, "composed": COMPOSED_SHARE, "faces": flags.faces}
    fit_from_prior(rank, flags, ToyboxViewsPrior, losses, CARD, face_weight=flags.face_weight, **shares)


def main() -> None:
    parser = task_flags(__doc__ or "", ToyboxViewsPrior, ToyboxPrior.weights)
    face_flags(parser, share=0.4)
    flags = parser.parse_args()
    train_task(flags, train, face_words(flags))


if __name__ == "__main__":
    main()
