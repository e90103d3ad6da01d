"""A study: a claim of a paper, its measurement on a bench, and whether the claim holds.

C captions   S seeds   N = C S rows of a batch, caption by caption   H W pixels   c h w of the prior's space
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Prompt, Query
from scoredistill.evaluate.judge import Judge
from scoredistill.export.plot import Plot
from scoredistill.export.sheet import Sheet
from scoredistill.methods.noise import asset_noise
from scoredistill.priors.diffusers.latents import Latents
from scoredistill.priors.diffusers.prior import DiffusersPrior
from scoredistill.priors.toybox import SIZE, ToyboxPrior
from scoredistill.studies.terms import Terms
from scoredistill.toybox.captions import Description, phrase

TOYS = (
    *(("snowman", "purple"), ("car", "red"), ("cottage", "yellow"), ("cactus", "green"), ("rabbit", "blue")),
    *(("strawberry", "red"), ("hamburger", "orange"), ("rocket", "blue"), ("mushroom", "purple"), ("cat", "orange")),
    *(("cupcake", "pink"), ("robot", "green"), ("tulip", "pink"), ("duck", "yellow"), ("boat", "blue")),
    *(("turtle", "green"), ("penguin", "black"), ("bear", "brown"), ("mug", "red"), ("pumpkin", "orange")),
    *(("cauldron", "black"), ("peach", "pink"), ("fish", "blue"), ("tree", "green"), ("bagel", "brown")),
    *(("sundae", "pink"), ("astronaut", "orange"), ("croissant", "yellow"), ("pancakes", "brown")),
    ("soccer ball", "purple"),
)
"""One toy of each kind."""
CAPTIONS = tuple(phrase(Description(kind, color)) for kind, color in TOYS)

DDIM_STEPS = 30  # as in the SDI paper's appendix E

X = Float[Tensor, "N c h w"]
"""Images in the prior's space: pixels in [-1, 1], or scaled latents."""
Row = Mapping[str, Any]
"""A row of a table: names, numbers, and {"mean", "sd", "n"} of `estimates`."""


@dataclass(frozen=True)
class Bench:
    """The input of a study: the prior, the judge, and the size."""

    prior: ToyboxPrior | DiffusersPrior
    judge: Judge
    captions: tuple[str, ...]
    seeds: int  # images for each caption
    steps: int  # updates of a distillation
    seed: int = 0  # seed of everything random
    cache: Path | None = None  # folder in which a long study caches the images it has finished
    progress: Callable[[str], object] = str  # called with what is being computed, step by step; by default ignored

    @property
    def rows(self) -> int:
        """Images of a batch: all seeds of the first caption, then those of the next."""
        return len(self.captions) * self.seeds

    @property
    def ddim_steps(self) -> int:
        """Evaluations for a DDIM sample: as many as a distillation has updates, up to where more are no better."""
        return min(DDIM_STEPS, self.steps)

    @property
    def texts(self) -> tuple[str, ...]:
        """The caption of each row."""
        return tuple(caption for caption in self.captions for _ in range(self.seeds))

    @property
    def prompt(self) -> Prompt:
        """The captions of the whole batch."""
        return Prompt(self.texts)

    @property
    def terms(self) -> Terms:
        """The numbers of the papers in the prior's terms."""
        return Terms(self.prior.needs.published)

    @property
    def size(self) -> int:
        """Height and width of a picture in pixels."""
        return self.prior.space.size if isinstance(self.prior, DiffusersPrior) else SIZE

    @property
    def latent(self) -> bool:
        """Whether flat images are optimized as the prior's latents, as in the papers, and not as pixels."""
        return isinstance(self.prior, DiffusersPrior) and isinstance(self.prior.space, Latents)

    @cached_property
    def noise(self) -> X:
        """Unit noise, one a row: where DDIM starts, and the fixed per-asset noise of DSD for `seed`."""
        conditions = self.prior.conditions(self.prompt, None, self.rows)
        query = Query(self.prior, conditions, 0.0, torch.Generator(), asset_seed=self.seed)
        one = self.prior.encode(torch.zeros(1, 3, self.size, self.size, device=self.prior.device))
        return asset_noise(query, one.expand(self.rows, -1, -1, -1))

    def fold(self, values: Float[Tensor, "N"]) -> Float[Tensor, "C S"]:
        """One value a row, as a table of captions by seeds."""
        return values.detach().cpu().float().reshape(len(self.captions), self.seeds)

    def firsts(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "C 3 H W"]:
        """The first seed of each caption."""
        return images[:: self.seeds]


@dataclass(frozen=True)
class Finding:
    """The result of a study."""

    holds: bool | None  # whether the claim does; None where the measurement cannot tell
    because: str  # one sentence with the numbers that decide
    rows: Sequence[Row]  # the table
    sheets: Mapping[str, Sheet] = field(default_factory=dict)  # pictures in labeled rows and columns
    plots: Mapping[str, Plot] = field(default_factory=dict)  # lines with error bars
    settings: Mapping[str, Any] = field(default_factory=dict)  # beyond those of the bench
    remarks: str = ""  # where this differs from the paper's experiment, and why


@dataclass(frozen=True)
class Study:
    """A figure or table of a paper as an experiment: `run` takes a bench of the given size, or another."""

    name: str
    title: str  # in one line
    paper: str  # the method whose paper it is: a key of METHODS
    figure: str  # "figure 9"
    claim: str  # what the paper says
    run: Callable[[Bench], Finding]
    captions: int = 4
    seeds: int = 3
    steps: int = 60
    prior: str = "toybox"  # where it runs unless asked otherwise
