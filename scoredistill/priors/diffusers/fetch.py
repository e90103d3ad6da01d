"""Files of repositories on the Hugging Face hub: from the cache, or downloaded into it. Nothing else uses the network.

Every request waits at most `LOOKUP_SECONDS` for an answer and is not repeated; HF_HUB_OFFLINE is honored.
"""

from __future__ import annotations

from pathlib import Path

from scoredistill.priors.diffusers.libraries import library, quiet

LOOKUP_SECONDS = 3.0  # to wait for an answer of the hub
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


def cached(place: str, revision: str | None, name: str) -> Path | None:
    """A file of a repository in the cache; None if it is not there."""
    found = library("huggingface_hub").try_to_load_from_cache(place, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def fetched(place: str, revision: str | None, name: str) -> Path:
    """A file of a repository, from the cache or downloaded into it; OSError with the reason if that fails.

    A request for it precedes the download: hf_hub_download retries for 23 s while the hub is unreachable.
    """
    if found := cached(place, revision, name):
        return found
    hub = library("huggingface_hub")
    with quiet("huggingface_hub"):
        try:
            hub.utils.get_session().head(hub.hf_hub_url(place, name, revision=revision), timeout=LOOKUP_SECONDS)
        except Exception as error:  # of the HTTP library in use
            raise OSError(why(error)) from error
    return Path(hub.hf_hub_download(place, name, revision=revision))


def listed(place: str, revision: str | None) -> tuple[frozenset[str], str]:
    """The names of all files of a repository on the hub; if it cannot be reached none, and why."""
    hub = library("huggingface_hub")
    with quiet("huggingface_hub"):
        try:
            found = hub.HfApi().model_info(place, revision=revision, timeout=LOOKUP_SECONDS)
        except Exception as error:  # of the hub's library or its HTTP library: what is in the cache has to do
            return frozenset(), why(error)
    return frozenset(file.rfilename for file in found.siblings or ()), ""


def cached_revisions(place: str) -> list[str]:
    """The revisions of a repository of which the cache holds files."""
    hub = library("huggingface_hub")
    folder = Path(hub.constants.HF_HUB_CACHE) / hub.file_download.repo_folder_name(repo_id=place, repo_type="model")
    return sorted(path.name for path in (folder / "snapshots").glob("*") if path.is_dir())


def model_name(place: str) -> str:
    """The name of a model without the folders around it: the last part of a path or of org/name.

    Of a snapshot in the hub's cache it is the folder of the repository, models--org--name.
    """
    path = Path(place)
    return path.parent.parent.name if path.parent.name == "snapshots" else path.name


def why(error: Exception) -> str:
    """Why a look-up on the hub failed, in a few words."""
    found = (REASONS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in REASONS)
    return next(found, str(error).splitlines()[0] if str(error) else type(error).__name__)
