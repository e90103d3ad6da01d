"""Storage behind a URL: s3://BUCKET/PATH, gs://, sftp://, file://, whatever fsspec has an implementation for.

https://filesystem-spec.readthedocs.io
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scoredistill.files import replacing
from scoredistill.sweep.engine import first_line

PART = ".part"  # of the names of files that are being uploaded
NAME = re.compile(r"[^./\\:\0][^/\\:\0]*(/[^./\\:\0][^/\\:\0]*)*")
"""Relative names of files that are read and written: no part of one is hidden, or leads out of a folder."""
OWN_MEMORY = ("memory",)  # protocols whose files no other process sees


class StorageError(OSError):
    """The storage could not be reached, or refuses, or holds a file that is too large; one line."""


@dataclass(frozen=True)
class Storage:
    """A folder of a filesystem; names in it are relative, with slashes. All methods raise StorageError."""

    fs: Any  # an fsspec filesystem
    root: str  # the folder as the filesystem names it
    url: str  # the same for messages
    made: set[str] = field(default_factory=set, compare=False)  # folders that this process has made

    @classmethod
    def open(cls, url: str) -> Storage:
        """The storage at a URL; ValueError for an unknown protocol, or none that can be used, no bucket, no access."""
        import fsspec

        url = url.rstrip("/")
        protocol = _protocol(url)
        try:
            fs, root = fsspec.url_to_fs(url)
        except ImportError as error:
            raise ValueError(f"{url} needs a package: {first_line(error)} (pip install)") from None
        except Exception as error:
            raise ValueError(f"{url} cannot be used: {first_line(error)}") from None
        if protocol in OWN_MEMORY:
            raise ValueError(f"{url} is the memory of one process, which no run sees: name a shared place")
        storage = cls(fs, root.rstrip("/"), url)
        storage._check_bucket()
        return storage

    @classmethod
    def of_folder(cls, folder: Path) -> Storage:
        """A folder that is named by its path."""
        from fsspec.implementations.local import LocalFileSystem

        return cls(LocalFileSystem(), str(folder.absolute()), str(folder))

    def within(self, name: str) -> Storage:
        """A folder in it."""
        return Storage(self.fs, f"{self.root}/{name}", f"{self.url}/{name}")

    def listing(self, folder: str = "") -> dict[str, str]:
        """The kinds, `file` or `directory`, of what is directly in a folder, by name; nothing without the folder."""
        place = self._path(folder)
        with self._reached():
            self.fs.invalidate_cache()  # others write too
            try:
                found = self.fs.ls(place, detail=True)
            except FileNotFoundError:
                return {}
        names = {str(each["name"]).rstrip("/"): each["type"] for each in found}
        return {name.rpartition("/")[2]: kind for name, kind in names.items() if name != place}

    def files(self, folder: str = "") -> set[str]:
        """The names of all files in a folder and its folders, relative to it, without hidden ones."""
        found: set[str] = set()
        for name, kind in self.listing(folder).items():
            if not NAME.fullmatch(name):
                continue
            if kind == "file":
                found.add(name)
            elif kind == "directory":
                found |= {f"{name}/{inner}" for inner in self.files(f"{folder}/{name}" if folder else name)}
        return found

    def read(self, name: str, limit: int) -> bytes | None:
        """The content of a file of at most `limit` bytes; None without it."""
        with self._reached():
            self.fs.invalidate_cache()
            try:
                size = self.fs.size(self._path(name))
                content = self._start(name, size, limit)
            except FileNotFoundError:
                return None
        self._check_size(name, max(size or 0, len(content)), limit)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        part, whole = self._names(name)
        with self._reached():
            self.fs.pipe_file(part, content)
            self.fs.mv(part, whole)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file unless it is there; whether it was not."""
        _, whole = self._names(name)
        with self._reached():
            self.fs.invalidate_cache()
            try:
                self.fs.pipe_file(whole, content, mode="create")
            except Exception:  # each implementation has its own for a file that is there
                self.fs.invalidate_cache()
                if self.fs.exists(whole):
                    return False
                raise
        return True

    def upload(self, file: Path, name: str) -> None:
        """Copy a file into the storage, where it appears whole; FileNotFoundError if it has vanished."""
        if not file.is_file():
            raise FileNotFoundError(file)
        part, whole = self._names(name)
        with self._reached():
            self.fs.put_file(str(file), part)
            self.fs.mv(part, whole)

    def download(self, name: str, file: Path, limit: int) -> None:
        """Copy a file of at most `limit` bytes from the storage."""
        with self._reached():
            self.fs.invalidate_cache()
            size = self.fs.size(self._path(name))
        self._check_size(name, math.inf if size is None else size, limit)
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part, self._reached():
            self.fs.get_file(self._path(name), str(part))

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, if they are there."""
        for name in names:
            with self._reached(), contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(self._path(name))

    def remove_folder(self, name: str) -> None:
        """Remove a folder with everything in it, if it is there."""
        self.made.discard(self._path(name))
        with self._reached(), contextlib.suppress(FileNotFoundError):
            self.fs.rm(self._path(name), recursive=True)

    def _start(self, name: str, size: int | None, limit: int) -> bytes:
        """The content of a file, but no more than one byte beyond `limit`; nothing of a file whose size exceeds it."""
        if size is None:  # a server that does not state it: read as a stream
            with self.fs.open(self._path(name), "rb") as file:
                return file.read(limit + 1)
        return self.fs.cat_file(self._path(name), start=0, end=limit + 1) if 0 < size <= limit else b""

    def _check_size(self, name: str, size: float, limit: int) -> None:
        """StorageError for a file of more than `limit` bytes; of unknown size, infinity, too."""
        if size > limit:
            stated = "of unknown size" if size == math.inf else f"too large: {size:,} bytes"
            raise StorageError(f"{self.url}/{name} is {stated}, at most {limit:,} are read")

    def _check_bucket(self) -> None:
        """ValueError where the bucket that the path begins with does not exist, or must not be read."""
        try:
            self.listing()
            bucket = self.root.partition("/")[0]
            found = not bucket or self.fs.exists(bucket) or self.fs.exists(self.root)
        except Exception as error:
            raise ValueError(f"{self.url} cannot be read: {first_line(error)}") from None
        if not found:
            raise ValueError(f"{self.url}: there is no bucket {bucket}, or no access to it: create it first")

    def _names(self, name: str) -> tuple[str, str]:
        """The paths of a file while and after it is written, in a folder that is there."""
        whole = self._path(name)
        parent, _, last = whole.rpartition("/")
        if parent not in self.made:
            with self._reached():
                self.fs.makedirs(parent, exist_ok=True)
            self.made.add(parent)
        return f"{parent}/.{last}{PART}", whole

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """Whatever an implementation raises, as a StorageError."""
        try:
            yield
        except Exception as error:
            raise StorageError(f"{self.url} cannot be reached: {first_line(error)}") from error


def is_url(text: str) -> bool:
    """Whether a place is a URL, and no path."""
    return "://" in text


def _protocol(url: str) -> str:
    """The protocol of a URL; ValueError for what is no place of results."""
    protocol, _, rest = url.partition("://")
    if "@" in rest and ":" in rest.partition("@")[0]:
        raise ValueError(f"{protocol}://...: no password belongs into a URL; configure it as the fsspec docs say")
    if "::" in url or set("*?[") & set(rest):
        raise ValueError(f"{url} is no single place: name it without ::, *, ? and [")
    if not rest.strip("/"):
        raise ValueError(f"{url} names no folder: name one, as in s3://BUCKET/sweep")
    return protocol
