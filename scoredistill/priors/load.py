"""Load a prior by name, or describe what it needs without reading its weights.

A name is an embedded prior (toybox ...), a file of weights (Toybox's, or Stable Diffusion in a single file), an alias
of a published model (sd ...), a folder in the layout of diffusers, org/name[@revision] on the hub, or FILE.py:NAME or
MODULE:NAME for a user's prior.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from scoredistill import own
from scoredistill.config import named
from scoredistill.contracts import Needs, Prior
from scoredistill.priors.diffusers.checkpoint import INDEX
from scoredistill.priors.diffusers.hub import ALIASES, FAMILIES, SHIPPED, find, model_folder, published
from scoredistill.priors.diffusers.libraries import INSTALL
from scoredistill.priors.diffusers.lora import parse_lora
from scoredistill.priors.diffusers.prior import DiffusersPrior
from scoredistill.priors.diffusers.single_file import check_single_file, weight_and_settings
from scoredistill.priors.diffusers.view_prompting import ViewAngles, ViewPrompting
from scoredistill.priors.mvdream import MVDreamPrior
from scoredistill.priors.mvdream import unet as mvdream_unet
from scoredistill.priors.network import NetworkPrior
from scoredistill.priors.toybox import EMBEDDED, ToyboxPrior, prior_class
from scoredistill.priors.weight_files import is_weight_file, read_settings
from scoredistill.priors.zero123 import Zero123Prior
from scoredistill.priors.zero123.prior import projection_part
from scoredistill.toybox import captions

NAMES = (*EMBEDDED, *SHIPPED, *ALIASES)
"""All short names; a file or folder of such a name needs a path, as in ./sd."""
SD_TOOL = "tools/train_toybox_sd.py"

PUBLISHED: dict[str, type[Any]] = {"diffusers": DiffusersPrior, "mvdream": MVDreamPrior, "zero123": Zero123Prior}
"""The classes of published models, by family."""


def full_prior_name(name: str) -> str:
    """The name in the configuration of a run: files and folders as absolute paths.

    ValueError with the nearest known names if there is no such prior.
    """
    if own.is_own(name):
        return own.full_name(name)
    if _is_file(name):
        return str(Path(name).absolute())
    _check_name(name)
    if name not in NAMES and Path(name).is_dir():
        return str(model_folder(Path(name)))
    return name


def describe_prior(name: str) -> Needs:
    """The needs of a prior; equal for all names of one model. ValueError if there is no such prior.

    Those of a user's class are its attribute `needs`, by default those of a text-to-image prior with its `views`.
    """
    if own.is_own(name):
        kind = own.load_own(name)
        return getattr(kind, "needs", Needs(views=getattr(kind, "views", 1)))
    if toybox := _toybox(name):
        return toybox.needs
    return PUBLISHED[family_of(name)].needs


def load_prior(
    name: str,
    device: torch.device | str = "cpu",
    *,
    dtype: torch.dtype | None = None,
    view_prompting: ViewPrompting | None = None,
    view_angles: ViewAngles | None = None,
    lora: Sequence[str] = (),
) -> Prior:
    """Load a prior; published weights are downloaded at first use. ValueError in one line if it is not available.

    `view_prompting` and `view_angles` apply to published text models (None: view words, MVDream none), `lora`
    (FILE[:weight]) to Stable Diffusion 1, 2 and XL; other priors raise ValueError for view prompting by anything but
    words, and for LoRA files.
    """
    _check_options(name, view_prompting, lora)
    prior = _loaded(name, device, dtype, view_prompting, view_angles, tuple(lora))
    if isinstance(prior, NetworkPrior):
        prior.name = name
    return prior


def _loaded(
    name: str,
    device: torch.device | str,
    dtype: torch.dtype | None,
    view_prompting: ViewPrompting | None,
    view_angles: ViewAngles | None,
    lora: tuple[str, ...],
) -> Prior:
    if own.is_own(name):
        return _own_prior(name, device)
    if toybox := _toybox(name):
        return toybox.load(Path(name) if _is_file(name) else None, device, dtype)
    family = family_of(name)
    if family == "zero123":
        return Zero123Prior.load(name, device, dtype)
    if family == "mvdream":
        return MVDreamPrior.load(name, device, dtype, view_prompting=view_prompting or "none", view_angles=view_angles)
    prompting = view_prompting or "words"
    return DiffusersPrior.load(name, device, dtype, view_prompting=prompting, view_angles=view_angles, lora=lora)


def prior_files(name: str, lora: Sequence[str] = ()) -> list[Path]:
    """All local files on which the output of a prior depends, as sorted absolute paths: weights, settings, code, LoRA.

    Those of a model of the hub are in its snapshot in the cache, complete once the model was loaded and has encoded a
    prompt. ValueError as `load_prior` for names and LoRA files that are not there.
    """
    files = [parse_lora(file)[0] for file in lora]
    if own.is_own(name):
        files += own.code_files(name)
    elif _is_file(name):
        files += weight_and_settings(Path(name)) if _toybox(name) is None else [Path(name)]
    elif name in EMBEDDED:
        files.append(EMBEDDED[name].weights)
    else:
        _check_name(name)
        files += find(name).files()
    return sorted({file.absolute() for file in files})


def family_of(name: str) -> str:
    """The family of a published model, a key of `PUBLISHED`.

    For an alias, or a hub id that is a candidate of one, it is looked up; otherwise model_index.json is read, or the
    header of a file.
    """
    if _is_file(name):
        check_single_file(Path(name))
        return "diffusers"
    _check_name(name)
    place = name.partition("@")[0]
    for alias, candidates in ALIASES.items():
        places = [candidate.partition("@")[0] for candidate in candidates]
        if name == alias or (place in places and not Path(name).is_dir()):
            return FAMILIES.get(alias, "diffusers")
    checkpoint = find(name)
    if checkpoint.has("unet") and checkpoint.kind("unet") == mvdream_unet.KIND:
        return "mvdream"
    return "zero123" if projection_part(checkpoint) else "diffusers"


def is_toybox(name: str) -> bool:
    """Whether a prior generates Toybox's toys: an embedded one, a readable file of Toybox weights, or a folder of a
    model that knows no words but Toybox's.
    """
    try:
        return not own.is_own(name) and (_toybox(name) is not None or _knows_toybox_only(name))
    except (ValueError, OSError):
        return False


def priors_help() -> str:
    """A list of all priors: names, and where the weights are, in this package or on the hub. Nothing is downloaded."""
    about = {
        "toybox": "text to single views of toys, 64x64 pixels",
        "toybox-mv": "text to four views of a toy at once",
        "toybox-pose": "a picture of a toy to other views of it (--image)",
    }
    latent = "a latent diffusion model of toys, 128x128 pixels"
    places = {name: (EMBEDDED[name].weights, EMBEDDED[name].tool) for name in about}
    rows = [
        *((name, f"{words}, {_embedded(*places[name])}") for name, words in about.items()),
        *((name, f"{latent}, {_embedded(SHIPPED[name], SD_TOOL)}") for name in SHIPPED),
        *((name, ", else ".join(ALIASES[name])) for name in ALIASES),
        ("PATH.safetensors", "weights of a Toybox prior (tools/train_toybox.py), or Stable Diffusion in one file"),
        ("FOLDER", f"a published model in the layout of diffusers, with {INDEX}"),
        (
            "org/name[@revision]",
            "such a folder on the hub, downloaded at first use; HF_HUB_OFFLINE=1 uses the cache only",
        ),
        ("FILE.py:NAME", "your own prior (docs/extending.md)"),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {words}" for name, words in rows]
    return "\n".join([*lines, "", f"all except Toybox's and your own need: {INSTALL}"])


def _embedded(weights: Path, tool: str) -> str:
    """The path of embedded weights, or the command that makes them."""
    return f"embedded: {weights}" if weights.exists() else f"not trained yet: python {tool}"


def _knows_toybox_only(name: str) -> bool:
    """Whether a folder's tokenizer knows all words of Toybox, and nothing but these and pieces of them."""
    if name not in SHIPPED and not Path(name).is_dir():
        return False
    words, special = " ".join(captions.VOCABULARY), ("<|startoftext|>", "<|endoftext|>")
    tokens = {token.removesuffix("</w>") for token in read_settings(find(name).file("tokenizer/vocab.json"))}
    known = all(token in words for token in tokens.difference(special) if len(token) > 1)
    return known and all(word in tokens for word in captions.VOCABULARY if word.isalpha())


def _is_file(name: str) -> bool:
    """Whether the name is that of a file of weights."""
    return name not in NAMES and is_weight_file(name)


def _toybox(name: str) -> type[ToyboxPrior] | None:
    """The class of an embedded prior or of a file with Toybox weights; None for published models."""
    return prior_class(Path(name)) if _is_file(name) else EMBEDDED.get(name)


def _check_name(name: str) -> None:
    """ValueError if no prior can have this name."""
    if name and (name in EMBEDDED or published(name)):
        return
    if "/" in name or Path(name).name != name:
        raise ValueError(f"there is no file or folder {name}")
    named("prior", name, dict.fromkeys(NAMES))


def _check_options(name: str, view_prompting: str | None, lora: Sequence[str]) -> None:
    """ValueError for options that the prior does not support."""
    text_model = not own.is_own(name) and _toybox(name) is None and family_of(name) != "zero123"
    if view_prompting not in (None, "words") and not text_model:
        raise ValueError(f"prior {name!r} has no view-dependent prompting: leave out view_prompting")
    if lora and not (text_model and family_of(name) == "diffusers"):
        raise ValueError(f"prior {name!r} takes no LoRA files: leave out --prior.lora")


def _own_prior(name: str, device: torch.device | str) -> Prior:
    """A user's prior: a class or function, called with device=... if it has that parameter."""
    make = own.load_own(name)
    if not callable(make):
        raise ValueError(f"{name} is neither a class nor a function that returns a prior")
    signature = inspect.signature(make)
    arguments = {"device": device} if "device" in signature.parameters else {}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{name} is called with no argument but device: {error}") from None
    prior = make(**arguments)
    if not isinstance(prior, Prior):
        raise ValueError(f"{name} returned a {type(prior).__name__}, which is not a Prior (see scoredistill.contracts)")
    return prior
