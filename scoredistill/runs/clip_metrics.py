"""The metrics of published CLIP weights by name: from a folder, the cache of the hub, or downloaded when asked for."""

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
from scoredistill.priors.diffusers.fetch import cached, fetched, why

VIT_B_32 = "openai/clip-vit-base-patch32"  # the papers' model
FILES = ("config.json", "vocab.json", "merges.txt", "tokenizer_config.json")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the second by torch's weights-only reader
NAMES = (CLIP_SCORE.name, CLIP_IQA.name, CLIP_SIM.name)


def load_clip(name: str = VIT_B_32) -> Clip:
    """The CLIP of a folder or org/name[@revision]; downloaded if it is not in the cache, unless HF_HUB_OFFLINE is set.

    ValueError in one line with the reason where it is not available.
    """
    return Clip.load(Path(name) if Path(name).is_dir() else _snapshot(name))


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


def _snapshot(name: str) -> Path:
    """The folder in the cache of the hub with all files of a model."""
    place, _, revision = name.partition("@")
    try:
        paths = [fetched(place, revision or None, file) for file in FILES]
        root = paths[0].parent
        if not any(cached(place, root.name, file) for file in WEIGHTS):
            _first_available(place, root.name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"CLIP {name!r} is not available ({why(error)}): name a folder with its files, as in --clip /path/to/folder"
        ) from None
    return root


def _first_available(place: str, revision: str) -> Path:
    """The weights, downloaded as safetensors where the repository has them."""
    try:
        return fetched(place, revision, WEIGHTS[0])
    except (OSError, ValueError):
        return fetched(place, revision, WEIGHTS[1])
