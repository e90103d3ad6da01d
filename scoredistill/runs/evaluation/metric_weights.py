"""The published weights of metrics: in a folder, or in the caches of the hub and of torch. Nothing is downloaded.

Where some are missing, the error names the command that fetches them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from scoredistill.priors.diffusers.fetch import cached
from scoredistill.priors.diffusers.hub import HUB_ID
from scoredistill.priors.weight_files import LARGEST, check_content

VIT_B_32 = "openai/clip-vit-base-patch32"  # the papers' model
CLIPS = {"clip": VIT_B_32, "clip-l": "openai/clip-vit-large-patch14"}
"""Aliases of CLIP's models, and where they are on the hub."""


@dataclass(frozen=True)
class Weights:
    """Files that lie together: on the hub in one of `places`, or a single one at `url`, cached by torch."""

    what: str
    files: tuple[str, ...]
    places: tuple[str, ...] = ()  # org/name[@revision]
    url: str = ""
    either: tuple[str, ...] = ()  # further files, of which one is enough

    def found(self, folder: Path | None = None) -> list[Path]:
        """The files in order, from `folder` if it has them all, else from the cache.

        ValueError in one line where they are not at hand, with the command that fetches them, and for empty files.
        """
        for paths in self._candidates(folder):
            several = [path for path in paths[len(self.files) :] if path.is_file()][:1]
            chosen = [*paths[: len(self.files)], *several]
            if all(path.is_file() for path in chosen) and len(several) == bool(self.either):
                for path in chosen:
                    check_content(path, LARGEST)
                return chosen
        searched = f"neither in {folder} nor in the cache" if folder else "not in the cache"
        names = ", ".join((*self.files, *self.either[:1]))
        raise ValueError(
            f"{self.what} has no weights here: {names}: {searched}; fetch them with: {self.command}, or {self.remedy}"
        )

    @property
    def command(self) -> str:
        """The command that fetches the files into the cache."""
        return self.fetching(_torch_cache())

    def fetching(self, cache: Path) -> str:
        """The same with another folder in the place of torch's cache."""
        if self.url:
            return shlex.join(["curl", "-fL", "--create-dirs", "-o", str(cache / self.files[0]), self.url])
        place, _, revision = self.places[0].partition("@")
        at = ["--revision", revision] if revision else []
        return shlex.join(["hf", "download", place, *self.files, *self.either[:1], *at])

    @property
    def remedy(self) -> str:
        """The other way to provide them."""
        return "name the folder that holds them: --clip FOLDER" if self.either else "put them into --weights FOLDER"

    def _candidates(self, folder: Path | None) -> Iterator[list[Path]]:
        """Where the files may be; those of `either` last."""
        names = (*self.files, *self.either)
        if folder:
            yield [folder / name for name in names]
        if self.url:
            yield [_torch_cache() / name for name in names]
        for place, _, revision in (each.partition("@") for each in self.places):
            first = cached(place, revision or None, self.files[0])
            if first:
                yield [first.parent / name for name in names]


def clip_weights(name: str) -> Weights:
    """CLIP by alias or org/name[@revision]; ValueError for a name that is neither."""
    if name not in CLIPS and not HUB_ID.fullmatch(name.partition("@")[0]):
        raise ValueError(f"clip must be {', '.join(CLIPS)}, a folder or org/name[@revision], and {name!r} is none")
    files = ("config.json", "vocab.json", "merges.txt", "tokenizer_config.json")
    either = ("model.safetensors", "pytorch_model.bin")  # the second by torch's weights-only reader
    return Weights(f"CLIP {name!r}", files, (CLIPS.get(name, name),), either=either)


IMAGE_REWARD = Weights(
    "ImageReward", ("ImageReward.pt", "med_config.json"), ("THUDM/ImageReward", "zai-org/ImageReward")
)
BERT = Weights("ImageReward", ("vocab.txt",), ("google-bert/bert-base-uncased", "bert-base-uncased"))
ALEXNET = Weights(
    "LPIPS",
    ("alexnet-owt-7be5be79.pth",),
    url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
)
INCEPTION = Weights(
    "FID",
    ("weights-inception-2015-12-05-6726825d.pth",),
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
)

_CLIP = (clip_weights("clip"),)
NEEDED: dict[str, Sequence[Weights]] = {
    "clip-score": _CLIP,
    "clip-iqa": _CLIP,
    "clip-sim": _CLIP,
    "image-reward": (IMAGE_REWARD, BERT),
    "lpips": (ALEXNET,),
    "fid": (INCEPTION,),
    "kid": (INCEPTION,),
}
"""The weights of each metric that needs some which are not embedded."""


def missing(metric: str) -> list[str]:
    """The commands that fetch those weights of a metric that are not in the cache, or damaged there."""
    commands = []
    for weights in NEEDED.get(metric, ()):
        try:
            weights.found()
        except ValueError:
            commands.append(weights.command)
    return commands


def _torch_cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"
