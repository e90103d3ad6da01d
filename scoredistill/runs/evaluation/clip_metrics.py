"""The metrics of published CLIP weights by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.clip import Clip
from scoredistill.evaluate.metrics.clip_iqa import CLIP_IQA, PAIRS, clip_iqa
from scoredistill.evaluate.metrics.clip_score import CLIP_SCORE, clip_score
from scoredistill.evaluate.metrics.clip_sim import CLIP_SIM, clip_sim
from scoredistill.runs.evaluation.metric_weights import CLIPS, clip_weights

NAMES = (CLIP_SCORE.name, CLIP_IQA.name, CLIP_SIM.name)


def load_clip(name: str = "clip") -> Clip:
    """The CLIP of an alias, a folder or org/name[@revision], from the cache of the hub.

    ValueError in one line with the reason where it is not available.
    """
    if name not in CLIPS and Path(name).is_dir():
        return Clip.load(Path(name))
    return Clip.load(clip_weights(name).found()[0].parent)


@dataclass(frozen=True)
class ClipMetrics:
    """The metrics named in `names` (some of `NAMES`), as functions of the views of one run and its prompt."""

    clip: Clip
    names: Sequence[str]

    @property
    def columns(self) -> list[str]:
        """The names of the values."""
        parts = {CLIP_IQA.name: [f"{CLIP_IQA.name}-{pair}" for pair in PAIRS]}
        return [column for name in self.names for column in parts.get(name, [name])]

    def __call__(self, rgb: Float[Tensor, "V 3 H W"], prompt: str) -> dict[str, float]:
        """The value of each of `columns`, for views in [0, 1]."""
        images, text = self.clip.image_features(rgb), self.clip.text_features([prompt])
        values = {CLIP_SCORE.name: clip_score(images, text), CLIP_SIM.name: clip_sim(images, text)}
        if CLIP_IQA.name in self.names:
            for pair, texts in PAIRS.items():
                values[f"{CLIP_IQA.name}-{pair}"] = clip_iqa(images, self.clip.text_features(texts))
        return {column: values[column] for column in self.columns}
