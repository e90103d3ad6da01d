"""Storage of a sweep behind a URL: in which order a run is stored, what a half upload is, who owns a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from scoredistill.sweep import storage_lock
from scoredistill.sweep.storage import Storage, StorageError
from scoredistill.sweep.storage_lock import LONGEST, own
from scoredistill.sweep.transfer import Upload, fetch, local_files


class Recorded(MemoryFileSystem):
    """A filesystem that records what appears in it, and loses its connection when it is asked to."""

    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012 (as in the class above)
    pseudo_dirs = [""]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.store.clear()
        self.pseudo_dirs[:] = [""]
        self.appeared: list[str] = []
        self.fails: Callable[[str], bool] = lambda path: False

    def mv(self, path1: str, path2: str, **settings: Any) -> None:
        if self.fails(path2):
            raise ConnectionResetError("connection reset")
        super().mv(path1, path2, **settings)
        self.appeared.append(path2.removeprefix("/sweep/run/"))


@pytest.fixture
def fs() -> Recorded:
    return Recorded()


@pytest.fixture
def storage(fs: Recorded) -> Storage:
    return Storage(fs, "/sweep/run", "s3://bucket/sweep/run")


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write(
        tmp_path / "run",
        config_yaml="c",
        log_jsonl="1\n",
        checkpoint__000005_safetensors="five",
        checkpoint__000010_safetensors="ten",
        metrics_json="m",
        index_html="i",
        trace__1_png="t",
    )


def test_what_makes_a_run_done_is_stored_last_and_no_checkpoint_without_its_log(
    fs: Recorded, storage: Storage, run: Path, tmp_path: Path
) -> None:
    (run / ".lock").write_text("hidden")
    (run / "link").symlink_to("/etc/hostname")
    Upload(run, storage).complete()
    order = ["config.yaml", "log.jsonl", "checkpoint/000010.safetensors", "checkpoint/000005.safetensors"]
    assert fs.appeared == [*order, "trace/1.png", "index.html", "metrics.json"]
    fetch(storage, tmp_path / "again")
    assert local_files(tmp_path / "again") == local_files(run) == storage.files()


def test_a_snapshot_stores_what_has_changed_and_drops_older_checkpoints(
    fs: Recorded, storage: Storage, run: Path
) -> None:
    upload = Upload(run, storage)
    upload.snapshot()
    assert not {"metrics.json", "index.html"} & storage.files(), "they say that a run is done"
    fs.appeared.clear()
    (run / "checkpoint/000005.safetensors").unlink()
    write(run, checkpoint__000015_safetensors="fifteen", log_jsonl="1\n2\n")
    upload.snapshot()
    assert fs.appeared == ["log.jsonl", "checkpoint/000015.safetensors"]
    assert set(storage.listing("checkpoint")) == {"000010.safetensors", "000015.safetensors"}


@pytest.mark.parametrize("lost", ["log.jsonl", "checkpoint/000010.safetensors", "index.html", "metrics.json"])
def test_a_half_upload_is_not_done_and_is_made_whole_by_the_next(
    fs: Recorded, storage: Storage, run: Path, lost: str
) -> None:
    upload = Upload(run, storage)
    fs.fails = lambda path: path.endswith(lost)
    with pytest.raises(StorageError, match="s3://bucket/sweep/run cannot be reached: connection reset"):
        upload.complete()
    assert "metrics.json" not in storage.files() and lost not in storage.files()
    fs.fails = lambda path: False
    upload.complete()
    assert storage.files() == local_files(run)


def test_what_the_run_has_removed_is_removed_and_nothing_else(fs: Recorded, storage: Storage, run: Path) -> None:
    for name in ("mesh.glb", "checkpoint/000001.safetensors", "notes.txt", "failed.json"):
        storage.write(name, b"x")
    Upload(run, storage).complete()
    assert storage.files() == local_files(run) | {"notes.txt", "failed.json"}


def test_a_fetch_that_fails_leaves_the_folder_as_it_is(
    storage: Storage, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Upload(run, storage).complete()
    here = write(tmp_path / "here", log_jsonl="older")

    def fail(*paths: str) -> None:
        raise ConnectionResetError("connection reset")

    monkeypatch.setattr(storage.fs, "get_file", fail)
    with pytest.raises(StorageError):
        fetch(storage, here)
    assert (here / "log.jsonl").read_text() == "older" and local_files(here) == {"log.jsonl"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "run"]


def test_names_that_lead_out_of_the_folder_are_not_fetched(fs: Recorded, storage: Storage, tmp_path: Path) -> None:
    for name in ("../evil", "a/../../evil", ".hidden/x", "a\\b", "good"):
        fs.store[f"/sweep/run/{name}"] = fs.open("/x", "wb", data=b"x") or fs.store["/x"]
    fetch(storage, tmp_path / "run")
    assert local_files(tmp_path) == {"run/good"}


def test_one_owner_at_a_time(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_lock, "BEAT", 0.05)
    ours, other = (tmp_path / name for name in ("ours", "other"))
    ours.mkdir()
    other.mkdir()
    with (
        own(storage, other, wait=False),
        pytest.raises(ValueError, match=r"s3://bucket/sweep/run is in use by process \d+ on"),
        own(storage, ours, wait=False),
    ):
        pass
    assert storage.read(storage_lock.NAME, LONGEST) is None


@pytest.mark.parametrize("mark", [{"token": "an owner that is silent"}, [1], "junk"])
def test_an_owner_that_is_silent_is_dead(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Any
) -> None:
    monkeypatch.setattr(storage_lock, "BEAT", 0.05)
    monkeypatch.setattr(storage_lock, "SILENCE", 0.1)
    storage.write(storage_lock.NAME, json.dumps(mark).encode())
    with own(storage, tmp_path, wait=False):
        assert (tmp_path / "token").read_text().encode() in (storage.read(storage_lock.NAME, LONGEST) or b"")


def test_what_the_same_scratch_folder_owned_is_free_at_once(storage: Storage, tmp_path: Path) -> None:
    with own(storage, tmp_path, wait=False):
        mark = storage.read(storage_lock.NAME, LONGEST)
    storage.write(storage_lock.NAME, mark or b"")  # as after SIGKILL
    with own(storage, tmp_path, wait=False):
        pass


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s4://bucket/x", "Protocol not known: s4"),
        ("memory://x", "is the memory of one process"),
        ("s3://", "names no folder"),
        ("sftp://me:secret@host/x", "no password belongs into a URL"),
        ("simplecache::file:///x", "is no single place"),
    ],
)
def test_urls_that_cannot_be_used_are_one_line(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as found:
        Storage.open(url)
    assert "\n" not in str(found.value) and "secret" not in str(found.value)


def test_a_missing_implementation_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(ValueError, match="s3://bucket/x needs a package: Install s3fs"):
        Storage.open("s3://bucket/x")


@pytest.mark.parametrize("size", [0, 9, 10])
def test_a_file_within_the_limit_is_read_and_copied(fs: Recorded, storage: Storage, tmp_path: Path, size: int) -> None:
    fs.pipe_file("/sweep/run/log.jsonl", size * b"x")
    assert storage.read("log.jsonl", 10) == size * b"x"
    storage.download("log.jsonl", tmp_path / "log.jsonl", 10)
    assert (tmp_path / "log.jsonl").read_bytes() == size * b"x"


def test_a_file_beyond_the_limit_is_one_line_and_not_read(fs: Recorded, storage: Storage, tmp_path: Path) -> None:
    fs.pipe_file("/sweep/run/log.jsonl", 11 * b"x")
    line = r"^s3://bucket/sweep/run/log.jsonl is too large: 11 bytes, at most 10 are read$"
    with pytest.raises(StorageError, match=line):
        storage.read("log.jsonl", 10)
    with pytest.raises(StorageError, match=line):
        storage.download("log.jsonl", tmp_path / "here" / "log.jsonl", 10)
    assert not list(tmp_path.iterdir())


def test_a_file_whose_size_is_not_stated_is_read_no_further_than_the_limit(
    fs: Recorded, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs.pipe_file("/sweep/run/config.yaml", 11 * b"x")
    monkeypatch.setattr(fs, "size", lambda path: None)
    assert storage.read("config.yaml", 11) == 11 * b"x"
    with pytest.raises(StorageError, match="too large: 11 bytes, at most 10"):
        storage.read("config.yaml", 10)
    with pytest.raises(StorageError, match="of unknown size"):
        storage.download("config.yaml", tmp_path / "config.yaml", 10)


def test_a_run_whose_metrics_are_too_large_is_not_fetched(fs: Recorded, storage: Storage, tmp_path: Path) -> None:
    fs.pipe_file("/sweep/run/metrics.json", ((1 << 20) + 1) * b" ")
    with pytest.raises(StorageError, match=r"metrics\.json is too large"):
        fetch(storage, tmp_path / "run")
    assert not list(tmp_path.iterdir())
