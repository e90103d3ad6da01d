"""Sweeps on a Ray cluster: a lost node loses nothing, and what is wrong with a cluster is one line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_folder import same
from test_sweep import forked, states, steps_logged, sweep, tiny_plan

from scoredistill.cli import main
from scoredistill.runs.folder import RunFolder
from scoredistill.sweep import ray_cluster
from scoredistill.sweep.conduct import Tally, conduct
from scoredistill.sweep.engine import End
from scoredistill.sweep.ray_cluster import RayEngine

pytestmark = [
    pytest.mark.usefixtures("toy_presets"),
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signals"),
]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A node of one core, to which others can be added; all end with the test."""
    pytest.importorskip("ray")
    ray_cluster.library()
    monkeypatch.setenv("RAY_worker_niceness", "0")
    from ray.cluster_utils import Cluster

    handler = signal.getsignal(signal.SIGTERM)
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    signal.signal(signal.SIGTERM, handler)  # Ray's ends this process
    yield found
    found.shutdown()


def test_a_node_that_is_killed_loses_nothing(
    prior: str, tmp_path: Path, cluster: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    ray = ray_cluster.library()
    plan = tiny_plan(prior, prompt="a red car", seed="0..2")
    plan = replace(plan, base={**plan.base, "steps": 12})
    undisturbed = forked(lambda: sweep(plan, tmp_path / "undisturbed"))
    undisturbed.join(120)
    second, folder = None, tmp_path / "sweep"
    ends: list[End] = []
    killed = False

    def report(tally: Tally, end: End | None) -> None:
        ends.extend([] if end is None else [end])

    def stop() -> bool:
        """Asked again and again; adds a second node, on which the sweep itself is not, and kills it once both run."""
        nonlocal killed, second
        if second is None and ray.is_initialized():
            second = cluster.add_node(num_cpus=1)
        if not killed and len(list(folder.glob("*/log.jsonl"))) >= 2 and steps_logged(folder) >= 4:
            cluster.remove_node(second, allow_graceful=False)
            killed = True
        return False

    with pytest.raises(ValueError, match=r"no node can run a trial: --cpus 2 --gpus 0 are asked for, the nodes have 1"):
        conduct(plan, folder, RayEngine(cluster.address, cpus=2), retries=0, report=report, stop=stop)
    tally = conduct(plan, folder, RayEngine(cluster.address), retries=0, report=report, stop=stop)
    assert killed and tally.complete and not tally.failed and tally.running == []
    assert sorted(end.trial.name[-1] for end in ends) == ["0", "1", "2"], "each ends once"
    assert {end.code for end in ends} == {0}
    ours, expected = states(folder), states(tmp_path / "undisturbed")
    assert len(expected) == 3 and ours.keys() == expected.keys()
    for name, state in expected.items():
        assert same(ours[name]["scene"], state["scene"])
        assert [record["step"] for record in RunFolder.open(folder / name).log()] == list(range(12))
    assert capfd.readouterr() == ("", ""), "Ray itself prints nothing"


def test_no_ray_is_one_line(
    prior: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["sweep", "--engine", "ray", "--out", str(tmp_path / "x"), "--set", "prompt=a red car", f"prior={prior}"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert 'pip install "scoredistill[cluster]"' in error and error.count("\n") == 1


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:9"])
def test_no_cluster_at_the_address_is_one_line(
    prior: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_cluster, "ANSWERS", 2.0)
    words = ["sweep", "--engine", "ray", "--address", address, "--out", str(tmp_path / "x")]
    assert main([*words, "--set", "prompt=a red car", f"prior={prior}"]) == 2
    error = capsys.readouterr().err
    assert f"at {address}" in error and error.count("\n") == 1


def test_a_setting_of_the_other_engine_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--engine", "ray", "--devices", "cuda:0"], ["--gpus", "1"]):
        assert main(["sweep", "--out", str(tmp_path), "--prompts", "toybox20", *words]) == 2
        assert "is a setting of --engine" in capsys.readouterr().err
