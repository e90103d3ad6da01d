"""Files: written so that a crash leaves the old one or the new one, and read within limits."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DIGESTS = "SHA256SUMS"
PART = re.compile(r"\..+-[0-9a-z_]{8}\.part(\.\w+)?")
"""Names of files that are being written, in the folder of the finished file."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path`, with its suffix, that takes its place when the block ends without an error.

    After a crash at any moment `path` is the old file or the new one, never a part. ValueError if something other than
    a regular file (a link, a folder, a device) has this name; OSError if the disk refuses.
    """
    mode = _replaceable(path)
    try:
        handle, name = tempfile.mkstemp(f".part{path.suffix}", f".{path.stem}-", path.parent)  # exclusive, no link
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None
    part = Path(name)
    try:
        os.close(handle)
        part.chmod(mode)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        _replaceable(path)  # it may have changed meanwhile
        part.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        _name(error, path)
        raise
    _sync_folder(path.parent)


def write_safely(path: Path, content: bytes) -> None:
    """Write a file as `replacing` does."""
    with replacing(path) as part:
        part.write_bytes(content)


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file, which is made unless it is there; OSError if the disk refuses, perhaps in part."""
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError as error:
        _name(error, path)
        raise


def _name(error: BaseException, path: Path) -> None:
    """Name the file in an error of the disk that names none, as one of a write."""
    if isinstance(error, OSError) and error.errno and not error.filename:
        error.filename = str(path)


def check_replaceable(path: Path, *, folder_made: bool = False) -> None:
    """ValueError in one line unless `path` can be written: nothing or a regular file, in a writable folder.

    With `folder_made` its folder may be missing where it can be made.
    """
    folder = path.parent
    while folder_made and not folder.exists() and not folder.is_symlink():
        folder = folder.parent
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder} to write {path.name} into")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{folder} cannot be written to: choose another folder for {path.name}")
    _replaceable(path)


def check_regular(path: Path, limit: int) -> None:
    """ValueError in one line unless `path` is a regular file (or a link to one) of at most `limit` bytes."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} is {_kind(found.st_mode)}, not a regular file")
    if found.st_size > limit:
        raise ValueError(f"{path} is too large: {found.st_size:,} bytes, at most {limit:,} are read")


def read_limited(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes; ValueError as `check_regular`."""
    check_regular(path, limit)
    return path.read_bytes()


def read_object(path: Path, limit: int) -> dict[str, Any]:
    """The values in a JSON file of at most `limit` bytes; none where there is no such file, or anything else in it."""
    try:
        found = json.loads(read_limited(path, limit))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def json_bytes(value: Any) -> bytes:
    """A tree as JSON text for a file; numbers that are not finite, which JSON does not have, are null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False).encode()


def digest(path: Path) -> str:
    """SHA-256 of a regular file, or of a folder's files with their names; hexadecimal."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = [f"{file.relative_to(path).as_posix()} {digest(file)}\n" for file in files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path) -> None:
    """ValueError in one line if `SHA256SUMS` beside `path` lists another sum of it, in the format of sha256sum."""
    listed = _digests(path.with_name(DIGESTS)).get(path.name)
    if listed not in (None, digest(path)):
        raise ValueError(f"{path} is damaged or was changed, by its SHA-256 in {DIGESTS}: reinstall the package")


def record_digest(path: Path) -> None:
    """Enter the sum of `path` into `SHA256SUMS` beside it, if there is one."""
    listing = path.with_name(DIGESTS)
    if listing.is_file():
        sums = _digests(listing) | {path.name: digest(path)}
        write_safely(listing, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode())


def _digests(listing: Path) -> dict[str, str]:
    """The sums of a file in the format of sha256sum, by name; none without such a file."""
    if not listing.is_file():
        return {}
    lines = (line.split(maxsplit=1) for line in listing.read_text().splitlines())
    return {parts[1]: parts[0] for parts in lines if len(parts) == 2}


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process left unfinished in `folder`; only for the process that holds the folder."""
    for path in folder.iterdir():
        if PART.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


def _finite(value: Any) -> Any:
    """The same tree without NaN and infinities."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _replaceable(path: Path) -> int:
    """The permissions of the file to be replaced, or of a new one; ValueError if it is not a regular file."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is {_kind(mode)}, and only a regular file is replaced: name another file")
    return stat.S_IMODE(mode)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "a special file")


def _sync_folder(folder: Path) -> None:
    """Bring a new name itself to the disk; Windows cannot, and needs not."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
