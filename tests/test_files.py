"""Files are replaced whole or not at all, and read only where they are regular and small enough."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest

from scoredistill.files import PART, append, digest, read_limited, remove_unfinished, replacing, write_safely


def test_a_file_is_replaced_whole_and_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a b.json"
    write_safely(path, b"old")
    path.chmod(0o640)
    write_safely(path, b"new")
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write_safely(path, b"good")
    with pytest.raises(RuntimeError), replacing(path) as part:
        part.write_bytes(b"half")
        assert part.suffix == ".mp4" and PART.fullmatch(part.name)
        raise RuntimeError
    assert path.read_bytes() == b"good" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_only_regular_files_are_replaced(tmp_path: Path, kind: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / "out.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        if kind == "link":
            victim.write_bytes(b"precious")
        path.symlink_to(victim)
    with pytest.raises(ValueError, match="only a regular file is replaced"):
        write_safely(path, b"new")
    assert not victim.exists() if kind == "dangling link" else kind != "link" or victim.read_bytes() == b"precious"
    assert path.is_symlink() or kind in ("pipe", "folder")


def test_links_with_the_old_predictable_name_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "log.jsonl.part").symlink_to(victim)
    write_safely(tmp_path / "log.jsonl", b"new")
    assert victim.read_bytes() == b"precious"


def test_a_missing_folder_is_an_error_about_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.json"
    with pytest.raises(FileNotFoundError) as error:
        write_safely(path, b"")
    assert error.value.filename == str(path)


def test_a_disk_that_refuses_is_an_error_about_the_file_itself(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        for write in (write_safely, append):
            with pytest.raises(OSError, match="large") as caught:
                write(tmp_path / "file.txt", bytes(20))
            assert caught.value.filename == str(tmp_path / "file.txt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [".hidden", "a.part", ".gitignore", "log.jsonl"]
    for name in [*kept, ".log-abcd0123.part.jsonl", ".config-abc_0123.part"]:
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_reading_has_limits(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    assert len(read_limited(path, 100)) == 100
    with pytest.raises(ValueError, match="too large: 100 bytes, at most 99"):
        read_limited(path, 99)
    os.mkfifo(tmp_path / "pipe")
    for other, message in ((tmp_path / "pipe", "a pipe"), (tmp_path, "a folder"), (Path("/dev/zero"), "a device")):
        with pytest.raises(ValueError, match=message):
            read_limited(other, 100)
    with pytest.raises(ValueError, match="there is no file"):
        read_limited(tmp_path / "none", 1)


def test_the_digest_of_a_folder_depends_on_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    first = digest(tmp_path)
    (tmp_path / "a").write_text("y")
    second = digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, digest(tmp_path)}) == 3
