"""Train the embedded text-to-image prior from scratch: render captioned views, train, write weights and card.

    python tools/train_toybox.py --minutes 80 --views 100000
    python tools/train_toybox.py --minutes 80 --rate 4e-4 --begin scoredistill/weights/toybox-prior.safetensors

The second command trains further. With --reuse the views are those of --data, however they were made. Resumable:
after an interruption, the same command continues from the last checkpoint. Runs on a CPU (in bf16 if supported) or a
GPU; requires torch, numpy, jaxtyping and safetensors.
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
from scoredistill.priors.toybox.unet_tasks import start_from
from scoredistill.toybox import captions, dataset
from tools.face_batches import expected_front, face_flags, face_words, shows_face
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
| initialized from | {initial} |
| sampling | {faces:.0%} of a batch are front views of a face, the loss weighted {face_weight:g} times where it is \
expected; of the others {composed:.0%} are pairs and counts, which are hardest to learn |
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
    """Random training batches: images in [-1, 1], tokens of newly worded captions, times and weights of the loss.

    The first share `faces` of the rows are front views of a face (`tools/face_batches.py`), if the data has any.
    """

    shares: tuple[float, ...] = (1 - COMPOSED_SHARE, COMPOSED_SHARE)

    def __init__(self, folder: Path, size: int, seed: int, faces: float = 0.0, face_weight: float = 1.0):
        self.views = dataset.load(folder)
        self.size = size
        self.rng = np.random.default_rng(seed)
        angles = zip(self.views.azimuth.tolist(), self.views.elevation.tolist(), strict=True)
        self.view_words = [captions.view_words(azimuth, elevation) for azimuth, elevation in angles]
        self.probabilities = sampling_probabilities([self.group(toy) for toy in self.views.descriptions], self.shares)
        described = zip(self.views.descriptions, self.view_words, strict=True)
        self.shows_face = np.array([shows_face(*each) for each in described])
        self.faces, self.face_weight = faces, face_weight

    @staticmethod
    def group(toy: captions.Description) -> int:
        """The index in `shares` of a toy's group."""
        return int(toy.composed)

    def __call__(self) -> tuple[Tensor, ...]:
        rows, faces = self.choose(self.probabilities, self.shows_face, self.size)
        x = self.views.rgb[torch.from_numpy(rows)].float() / 127.5 - 1
        tokens = torch.tensor([self._tokens(int(row), index < faces) for index, row in enumerate(rows)])
        weights = torch.ones_like(x[:, :1])
        for index, row in enumerate(rows[:faces]):
            toy = self.views.descriptions[row]
            weights[index] += (self.face_weight - 1) * expected_front(toy.kind, toy.size, x.shape[-1])
        return x, tokens, self._times(faces), weights

    def choose(self, probabilities: np.ndarray, shows_face: np.ndarray, count: int) -> tuple[np.ndarray, int]:
        """`count` random indices, and how many of them, the first ones, are drawn evenly where `shows_face`."""
        fronts = np.flatnonzero(shows_face)
        faces = round(self.faces * count) if len(fronts) else 0
        first = self.rng.choice(fronts, faces) if faces else np.zeros(0, int)
        return np.concatenate([first, self.rng.choice(len(probabilities), count - faces, p=probabilities)]), faces

    def _times(self, uniform: int = 0) -> Tensor:
        """Diffusion times: 80 % logit-normal (Esser et al. 2024), at which shapes are decided; 20 % uniform.

        Stratified, one in each of `size` equal slices of the distribution, so that a batch covers all noise levels.
        The first `uniform` ones are uniform altogether.
        """
        u = torch.from_numpy((self.rng.permutation(self.size) + self.rng.random(self.size)) / self.size)
        logit_normal = torch.sigmoid(TIME_MEAN + TIME_STD * torch.special.ndtri(u))
        shaped = (self.rng.random(self.size) < 0.8) & (np.arange(self.size) >= uniform)
        return torch.where(torch.from_numpy(shaped), logit_normal, u)

    def _tokens(self, row: int, whole: bool) -> list[int]:
        """The tokens of a caption; unless it is to be `whole`, sometimes without its view, or of no words at all."""
        if not whole and self.rng.random() < NULL_SHARE:
            return captions.tokenize("")
        view = self.view_words[row] if whole or self.rng.random() < VIEW_SHARE else ""
        return captions.tokenize(captions.caption(self.views.descriptions[row], self.rng, view))


def losses(flags: argparse.Namespace, seed: int) -> Callable[[UNet], Tensor]:
    """A function that returns the denoising loss of a network on the worker's next batch."""
    batches = Batches(flags.data, flags.batch // flags.workers, seed, flags.faces, flags.face_weight)

    def loss(net: UNet) -> Tensor:
        x, tokens, t, weights = (part.to(flags.device) for part in batches())
        return denoising_loss(lambda x_t, t: net(x_t, t, *net.text(tokens)), x, t, weights)

    return loss


def train(rank: int, flags: argparse.Namespace) -> None:
    """Train in worker `rank` of `flags.workers`; the first one logs, saves, and finally writes weights and card."""
    torch.manual_seed(flags.seed)
    net = UNet(Shape(len(captions.VOCABULARY), captions.CONTEXT))
    if flags.begin:
        start_from(net, prior.load(flags.begin, dtype=torch.float32).net)
    average = fit(rank, flags, net, losses)
    if average:
        shares = {"null": NULL_SHARE, "view": VIEW_SHARE, "composed": COMPOSED_SHARE, "faces": flags.faces}
        more = {"toys": flags.views // VIEWS_PER_TOY, "face_weight": flags.face_weight}
        finish(flags, average.shadow, CARD, initial=flags.begin or "random weights", **shares, **more)


def main() -> None:
    parser = training_flags(
        __doc__ or "", "prior", prior.WEIGHTS, minutes=80, views=65_536, batch=32, rate=8e-4, every=100
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that share a batch; on a CPU, one per core")
    parser.add_argument("--begin", type=Path, help="weights of a trained prior, of any task, to start from")
    parser.add_argument("--reuse", action="store_true", help="train on the views in --data, however they were made")
    face_flags(parser, share=0.3)
    flags = parser.parse_args()
    flags.more = face_words(flags) + (f" --begin {flags.begin}" if flags.begin else "")
    made = {"views_per_toy": VIEWS_PER_TOY, "workers": flags.renderers}
    if flags.reuse:
        flags.more += f" --reuse --data {flags.data}"
        flags.views = dataset.stored(flags.data)
    else:
        dataset.make(flags.data, flags.views, seed=1000 + flags.seed, **made)
    if not flags.only_data:
        launch(flags, train)


if __name__ == "__main__":
    main()
