"""What is measured of runs, from names and flags to loaded networks."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from scoredistill.config import Config, named
from scoredistill.evaluate import metrics
from scoredistill.evaluate.image_reward import ImageReward
from scoredistill.evaluate.inception import Inception
from scoredistill.evaluate.judge import Judge
from scoredistill.evaluate.lpips import Lpips
from scoredistill.evaluate.report import mean_square_one
from scoredistill.own import is_own
from scoredistill.runs.evaluation import clip_metrics
from scoredistill.runs.evaluation.clip_metrics import ClipMetrics, load_clip
from scoredistill.runs.evaluation.metric_weights import ALEXNET, BERT, IMAGE_REWARD, INCEPTION
from scoredistill.runs.evaluation.protocol import PROTOCOLS
from scoredistill.runs.evaluation.protocol import Protocol as Views
from scoredistill.runs.evaluation.sets import Diversity, PairwiseLpips, SetMetric, ToReference

DISTANCES = {
    "fid": metrics.frechet_distance,
    "kid": metrics.kernel_distance,
    "frechet": metrics.frechet_distance,
    "kernel": metrics.kernel_distance,
}
IN_INCEPTION, IN_JUDGE = ("fid", "kid"), ("frechet", "kernel")  # by their features
IN_A_FOLDER = ("image-reward", "lpips", *IN_INCEPTION)  # metrics whose weights --weights may hold
NAMES = (*clip_metrics.NAMES, "image-reward", "lpips", *DISTANCES)
"""The metrics that are measured if they are named; those without weights always are."""


@runtime_checkable
class OfViews(Protocol):
    """Metrics of the views of one run and its prompt."""

    @property
    def columns(self) -> list[str]:
        """The names of the values."""
        ...

    def __call__(self, rgb: Float[Tensor, "V 3 H W"], prompt: str) -> dict[str, float]:
        """The value of each of `columns`."""
        ...


@dataclass(frozen=True)
class Reward:
    """The mean ImageReward of the views."""

    network: ImageReward

    @property
    def columns(self) -> list[str]:
        """Its name."""
        return ["image-reward"]

    def __call__(self, rgb: Float[Tensor, "V 3 H W"], prompt: str) -> dict[str, float]:
        """The mean over the views."""
        return {"image-reward": float(self.network(rgb, prompt).mean())}


@dataclass(frozen=True)
class Measures:
    """Loaded metrics: of one's own by name, of views, of sets of runs, and how the views are rendered."""

    own: Sequence[str] = ()
    views: Sequence[OfViews] = ()
    sets: Sequence[SetMetric] = ()
    protocol: Views = field(default_factory=lambda: PROTOCOLS["quick"])

    @property
    def columns(self) -> list[str]:
        """The names of the values that rows have for the named metrics of runs."""
        return [
            *(name.rpartition(":")[2] for name in self.own),
            *(name for each in self.views for name in each.columns),
        ]


@dataclass(frozen=True)
class Measuring(Config):
    """The flags that say what is measured of runs, and how."""

    metric: tuple[str, ...] = ()  # further metrics (`scoredistill metrics`), or FILE.py:NAME of (rgb, prompt) -> number
    protocol: str = "quick"  # measured views: quick (8, 128 pixels), or the papers': sdi (50, 512), dsd (10, 512)
    reference: str = ""  # for fid, kid, frechet, kernel: a folder of pictures, or prior: samples of the prior
    clip: str = "clip"  # CLIP model of the CLIP metrics: clip (ViT-B/32), clip-l, a folder or org/name[@revision]
    weights: Path | None = None  # folder with weights of image-reward, lpips, fid, kid; by default the caches

    def check(self) -> None:
        """ValueError for unknown names, and for flags that no metric uses or that one lacks."""
        named("protocol", self.protocol, PROTOCOLS)
        for name in self._published:
            named("metric", name, dict.fromkeys(NAMES))
        if self.clip != "clip" and not self._some(clip_metrics.NAMES):
            raise ValueError("clip has no effect without one of its metrics: add --metric clip-score, for example")
        if self.weights and not self._some(IN_A_FOLDER):
            raise ValueError(f"weights has no effect without one of the metrics {', '.join(IN_A_FOLDER)}")
        if self.reference and not self._some(DISTANCES):
            raise ValueError(f"reference has no effect without one of the metrics {', '.join(DISTANCES)}")
        if not self.reference and (distances := self._some(DISTANCES)):
            raise ValueError(
                f"{distances[0]} is a distance to reference pictures: name a folder of them, or take samples of the "
                "prior, as in --reference prior"
            )

    def measures(self) -> Measures:
        """The metrics, their weights loaded; ValueError in one line where some are missing or damaged."""
        views: list[OfViews] = []
        if of_clip := self._some(clip_metrics.NAMES):
            views.append(ClipMetrics(load_clip(self.clip), of_clip))
        if self._some(["image-reward"]):
            weights, config = IMAGE_REWARD.found(self.weights)
            views.append(Reward(ImageReward.load(weights, config, *BERT.found(self.weights))))
        judge = Judge.load()
        sets: list[SetMetric] = [Diversity(judge)]
        if self._some(["lpips"]):
            sets.append(PairwiseLpips(Lpips(*ALEXNET.found(self.weights))))
        if names := self._some(IN_INCEPTION):
            features = Inception(*INCEPTION.found(self.weights)).features
            sets.append(ToReference({name: DISTANCES[name] for name in names}, features, self.reference, "all"))
        if names := self._some(IN_JUDGE):
            features = partial(mean_square_one, judge)
            sets.append(ToReference({name: DISTANCES[name] for name in names}, features, self.reference, "toybox"))
        return Measures([name for name in self.metric if is_own(name)], views, sets, PROTOCOLS[self.protocol])

    def without_value(self, sets: Sequence[Mapping[str, object]]) -> list[str]:
        """What to say of each named metric of sets that no set of runs has."""
        reasons = {"lpips": "it compares results of several seeds, and every run here differs in more than its seed"}
        reasons |= dict.fromkeys(IN_INCEPTION, "a distance needs two views or more")
        reasons |= dict.fromkeys(IN_JUDGE, "a distance needs two views or more, and the judge knows Toybox's toys only")
        absent = [name for name in self._some(reasons) if not any(name in row for row in sets)]
        return [f"{name} has no value: {reasons[name]}" for name in absent]

    @property
    def _published(self) -> list[str]:
        return list(dict.fromkeys(name for name in self.metric if not is_own(name)))

    def _some(self, names: Container[str]) -> list[str]:
        """The named metrics that are among `names`."""
        return [name for name in self._published if name in names]
