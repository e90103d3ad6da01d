"""A published pipeline: a folder, on the disk or on the hub, whose `model_index.json` names its parts and classes.

Each part is in a subfolder (unet, vae, text_encoder, tokenizer, scheduler ...). Every file is checked when it is read:
there, whole, and of the format that its name says. Weights are read from safetensors files only; pickled .bin files
can run code and are never opened.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scoredistill.priors.diffusers.fetch import cached, fetched, listed, model_name, why
from scoredistill.priors.diffusers.libraries import library, one_line
from scoredistill.priors.weight_files import AGAIN, check_content, check_finite, opened, read_settings, read_weights

INDEX = "model_index.json"
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
STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}  # names of the libraries' files of weights
DTYPE = {"diffusers": "torch_dtype", "transformers": "dtype"}  # the libraries' names of the argument
HALF = "fp16"
TOKENIZERS = {
    "CLIP": ("vocab.json", "merges.txt"),
    "T5": ("spiece.model",),
    "Llama": ("tokenizer.model",),
    "Gemma": ("tokenizer.model",),
}
"""Kinds of tokenizers, and the files of their vocabularies; `VOCABULARY` holds the same in a newer format."""
VOCABULARY = "tokenizer.json"
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
MOST_LACKING = 0.1  # of the merges of a vocabulary
UNUSED = ("safety_checker", "feature_extractor", "watermarker")  # parts that are never read
READ = re.compile(
    r".+\.(json|txt|model)|(diffusion_pytorch_)?model(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.safetensors", re.IGNORECASE
)
"""Names of the files of a part that are read: settings, vocabularies and weights, also in several files."""


@dataclass(frozen=True)
class Checkpoint:
    """A published pipeline: a local folder, or org/name on the hub at a revision."""

    place: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.place + (f"@{self.revision}" if self.revision else "")

    @property
    def model(self) -> str:
        """The name of the model, without the folders around it, organization and revision."""
        return model_name(self.place)

    @cached_property
    def index(self) -> dict[str, Any]:
        """model_index.json: the library and class of every part, and the pipeline's own settings."""
        return read_settings(self.root / INDEX)

    @cached_property
    def root(self) -> Path:
        """The folder of the files: the local one, or the snapshot in the cache, of one revision for all files."""
        return Path(self.place) if self.local else fetched(self.place, self.revision, INDEX).parent

    @property
    def local(self) -> bool:
        """Whether it is a folder rather than a repository of the hub."""
        return Path(self.place).is_dir()

    @cached_property
    def on_hub(self) -> tuple[frozenset[str], str]:
        """The names of the files on the hub; none for a folder, and where the hub cannot be reached, and why."""
        return (frozenset(), "") if self.local else listed(self.place, self.root.name)

    def has(self, part: str) -> bool:
        """Whether the pipeline has a part of this name; the index has [null, null] for omitted parts."""
        match self.index.get(part):
            case [str(), str()]:
                return True
        return False

    def kind(self, part: str) -> str:
        """The class of a part in the index; ValueError if there is no such part."""
        if not self.has(part):
            raise ValueError(f"{self} has no part {part!r}; it has: {', '.join(self._parts())}")
        return self.index[part][1]

    def settings(self, part: str, name: str = "config.json") -> dict[str, Any]:
        """The configuration of a part, with its class; that of a scheduler is scheduler_config.json."""
        return read_settings(self.file(f"{part}/{name}")) | {"_class_name": self.kind(part)}

    def file(self, name: str) -> Path:
        """The path of one file, downloaded if it is not in the cache; ValueError that names it if that fails."""
        if not self.local:
            try:
                return fetched(self.place, self.root.name, name)
            except OSError as error:
                raise ValueError(f"{self}: {name} is {why(error)}") from None
        path = self.root / name
        if not path.exists():
            raise ValueError(f"there is no file {path}: the folder is incomplete, {AGAIN}")
        return path

    def network(self, part: str, dtype: torch.dtype) -> nn.Module:
        """A part as the class the index names, frozen, in `dtype`; half precision prefers the smaller fp16 files.

        ValueError for a class that is not in `KINDS`, without safetensors weights, and for weights that are damaged,
        incomplete (missing tensors would be random) or not finite.
        """
        name, origin = self.kind(part), self.index[part][0]
        if name not in KINDS.get(origin, ()):
            raise ValueError(f"{self}: {part} is a {name}, which is not supported; supported: {_supported()}")
        self.settings(part)
        kind = getattr(library(origin), name)
        variant = self._variant(part, STEMS[origin], dtype)
        options = {"subfolder": part, "use_safetensors": True, "local_files_only": True, DTYPE[origin]: dtype}
        try:
            network, found = _quietly(kind, self.root, variant=variant, output_loading_info=True, **options)
        except Exception as error:  # of many types, depending on what is wrong with the files
            raise ValueError(
                f"{self}: {part} cannot be loaded: its config.json and its weights do not agree, or are damaged "
                f"({one_line(error)})"
            ) from None
        if missing := sorted(found["missing_keys"]):
            raise ValueError(f"{self}: the weights of {part} lack {len(missing)} tensors, {missing[0]} among them")
        check_finite(f"{self}: {part}", network.named_parameters())
        return network.eval().requires_grad_(False)

    def tokenizer(self, part: str) -> Any:
        """A tokenizer as the class the index names; ValueError for a class not in `TOKENIZERS`, and damaged files."""
        name = self.kind(part)
        kind = name.removesuffix("Fast").removesuffix("Tokenizer")
        if kind not in TOKENIZERS or name not in (f"{kind}Tokenizer", f"{kind}TokenizerFast"):
            known = ", ".join(f"{each}Tokenizer" for each in TOKENIZERS)
            raise ValueError(f"{self}: {part} is a {name}, which is not supported; supported: {known}")
        wanted = (*TOKENIZERS[kind], VOCABULARY, *TOKENIZER_SETTINGS)
        found = {each: path for each in wanted if (path := self._available(f"{part}/{each}", local=False))}
        if VOCABULARY not in found and (missing := [each for each in TOKENIZERS[kind] if each not in found]):
            reason = self.on_hub[1] or f"the folder is incomplete, {AGAIN}"
            raise ValueError(f"{self}: {part} has no vocabulary, {' and '.join(missing)} (or {VOCABULARY}): {reason}")
        if kind == "CLIP" and VOCABULARY not in found:
            check_merges(*(found[each] for each in TOKENIZERS[kind]))
        for path in found.values():
            read_settings(path) if path.suffix == ".json" else check_content(path)
        try:
            return getattr(library("transformers"), name).from_pretrained(self.root / part, local_files_only=True)
        except Exception as error:  # of many types, depending on what is wrong with the files
            raise ValueError(f"{self}: {part} cannot be loaded ({one_line(error)}): {AGAIN}") from None

    def weights(self, part: str) -> dict[str, Tensor]:
        """The tensors of a part by name, for a network that diffusers does not have; ValueError if there are none."""
        stem = STEMS["diffusers"]
        files = self._weight_files(part, stem, self._variant(part, stem, torch.float32), local=True)
        tensors = {name: tensor for file in files for name, tensor in read_weights(file).items()}
        check_finite(f"{self}: {part}", tensors.items())
        return tensors

    def files(self) -> list[Path]:
        """The index and the local files that parts are read from, of the snapshot in the cache for a model of the hub.

        Weights of both precisions belong to them. Of a model of the hub that is not loaded yet, files are missing.
        """
        folders = [self.root / part for part in self._parts() if part not in UNUSED]
        found = [file for folder in folders for file in folder.rglob("*") if READ.fullmatch(file.name)]
        return [self.root / INDEX, *(file for file in found if file.is_file())]

    def _variant(self, part: str, stem: str, dtype: torch.dtype) -> str | None:
        """The variant of a part's files of weights, all of them there and whole: first those on the disk."""
        variants = (None, HALF) if dtype == torch.float32 else (HALF, None)
        damaged: list[ValueError] = []
        for local, variant in product((True, False), variants):
            try:
                files = self._weight_files(part, stem, variant, local=local)
                for file in files:
                    with opened(file):
                        pass
            except ValueError as error:
                damaged.append(error)
                continue
            if files:
                return variant
        if damaged:
            raise damaged[0]
        if self.on_hub[1]:
            raise ValueError(f"{self}: the weights of {part} are {self.on_hub[1]}")
        raise ValueError(
            f"{self}: no safetensors weights of {part} (expected {part}/{stem}.safetensors); pickled .bin weights are "
            "never opened: take a copy that has .safetensors, or convert them where you trust them"
        )

    def _weight_files(self, part: str, stem: str, variant: str | None, *, local: bool) -> list[Path]:
        """The files of one variant of a part's weights, one or several with an index; none if there are none."""
        ending = f".{variant}" if variant else ""
        if single := self._available(f"{part}/{stem}{ending}.safetensors", local=local):
            return [single]
        index = self._available(f"{part}/{stem}.safetensors.index{ending}.json", local=local)
        if index is None:
            return []
        shards = read_settings(index).get("weight_map")
        if not isinstance(shards, dict) or not all(Path(str(name)).name == name for name in shards.values()):
            raise ValueError(f"{index} has no weight_map from tensors to files beside it: {AGAIN}")
        return [self.file(f"{part}/{name}") for name in sorted(set(shards.values()))]

    def _available(self, name: str, *, local: bool) -> Path | None:
        """A file if it is there: in the folder or the cache, else unless `local` on the hub."""
        path = self.root / name if self.local else cached(self.place, self.root.name, name)
        if path is not None and path.exists():
            return path
        return self.file(name) if not local and name in self.on_hub[0] else None

    def _parts(self) -> list[str]:
        return [name for name in self.index if self.has(name)]


def check_merges(vocabulary: Path, merges: Path) -> None:
    """ValueError if most tokens of several letters cannot be made by the merges of a CLIP tokenizer (BPE)."""
    tokens = [token for token in read_settings(vocabulary) if len(token.removesuffix("</w>")) > 1 and token[:2] != "<|"]
    check_content(merges)
    made = {line.replace(" ", "") for line in merges.read_text(errors="replace").splitlines()}
    lacking = sum(token not in made for token in tokens)
    if lacking > MOST_LACKING * len(tokens):
        raise ValueError(f"{merges} lacks the merges of {lacking} of {len(tokens)} tokens, it may be cut off: {AGAIN}")


def _quietly(kind: Any, place: Path, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """from_pretrained without its log messages, which are reported here as errors; its progress bars stay."""
    log = library(kind.__module__.partition(".")[0] + ".utils.logging")
    level = log.get_verbosity()
    log.set_verbosity(log.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="huggingface_hub")  # of arguments that diffusers passes
            return kind.from_pretrained(place, **settings)
    finally:
        log.set_verbosity(level)


def _supported() -> str:
    return ", ".join(name for names in KINDS.values() for name in names)
