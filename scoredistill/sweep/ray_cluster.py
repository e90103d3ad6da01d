"""The engine of a Ray cluster: every trial is a task with a share in a node; a node that fails loses none.

https://docs.ray.io/en/latest/ray-core/tasks.html
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from scoredistill.config import Config, Range
from scoredistill.sweep.board import KILL, STOP, Board
from scoredistill.sweep.engine import End, EngineError, first_line, last_line
from scoredistill.sweep.ray_task import Share, attempt
from scoredistill.sweep.storage import StorageError
from scoredistill.sweep.trial import Trial

INSTALL = 'pip install "scoredistill[cluster]"'
LOSSES = 3  # times that Ray starts a trial again whose node or worker was lost, before that counts as a failure
PAUSE = 0.2  # seconds between two checks of the tasks
ANSWERS = 60.0  # seconds in which a cluster must answer
NO_NODE = 60.0  # seconds to wait for a node that can run a trial, once all such nodes are lost
ENDS = 10.0  # seconds for processes to end that are to end at once
STATISTICS = "RAY_USAGE_STATS_ENABLED"
OURS = "127.0.0.1"  # the address of a cluster that is started for the sweep

PROBE = """
import logging, sys, ray
logging.disable(logging.CRITICAL)
ray.init(address=sys.argv[1], log_to_driver=False)
"""

Cpus = Annotated[float, Range(0.01, 1024)]
Gpus = Annotated[float, Range(0, 1024)]


@dataclass(frozen=True)
class RayEngine(Config):
    """Tasks on the cluster at `address`; without one, on a cluster of this machine that begins and ends with the sweep.

    The folder of the sweep is on storage that all nodes see under the same path.
    """

    address: str = ""  # host:port, ray://host:port, or auto for the one that runs on this machine
    cpus: Cpus = 1.0  # of its node, for each trial
    gpus: Gpus = 0.0  # of its node, for each trial: 0.5 lets two trials share one

    def run(
        self, trials: Sequence[Trial], started: Callable[[Trial], object], stop: Callable[[], bool]
    ) -> Iterator[End]:
        """As `Engine.run`. ValueError for no Ray, no cluster, no node that is large enough; EngineError once lost."""
        ray = library()
        with _connected(ray, self.address):
            self._check_nodes(ray)
            board = Board.beside(_words(trials[0])[1])
            board.open()
            tasks = _Tasks(ray, Share(self.cpus, self.gpus), board)
            try:
                yield from self._run(ray, tasks, trials, started, stop)
            finally:
                tasks.kill()
                board.close()

    def _run(
        self,
        ray: Any,
        tasks: _Tasks,
        trials: Sequence[Trial],
        started: Callable[[Trial], object],
        stop: Callable[[], bool],
    ) -> Iterator[End]:
        for trial in trials:
            trial.prepare()
            tasks.submit(trial)
        fits = time.monotonic()
        while tasks.pending:
            if stop():
                with contextlib.suppress(StorageError):  # it is tried again
                    tasks.board.want(STOP)
            ended = tasks.ended()
            for trial in tasks.newly_begun():
                started(trial)
            yield from (end for task in ended if (end := tasks.end(task)) is not None)
            if _fits(ray, self.cpus, self.gpus):
                fits = time.monotonic()
            elif time.monotonic() - fits > NO_NODE:
                raise EngineError(f"no node is left that can run a trial: {self._lacking(ray)}")

    def _check_nodes(self, ray: Any) -> None:
        """ValueError if no node is large enough for a trial: Ray would wait for one without a word."""
        if not _fits(ray, self.cpus, self.gpus):
            raise ValueError(f"no node can run a trial: {self._lacking(ray)}; ask for less, or add a node")

    def _lacking(self, ray: Any) -> str:
        have = "; ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in _nodes(ray)) or "none"
        return f"--cpus {self.cpus:g} --gpus {self.gpus:g} are asked for, the nodes have {have}"


class _Tasks:
    """The attempts at trials as tasks of a cluster, and the board that they read."""

    def __init__(self, ray: Any, share: Share, board: Board) -> None:
        self.ray, self.share, self.board = ray, share, board
        self.task = ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, max_retries=LOSSES)(attempt)
        self.pending: dict[Any, Trial] = {}
        self.begun: set[str] = set()

    def submit(self, trial: Trial) -> None:
        """Queue a trial."""
        task = self.task.options(name=trial.name).remote(_words(trial), self.share)
        self.pending[task] = trial

    def ended(self, wait: float = PAUSE) -> list[Any]:
        """The tasks that have ended, all or after some seconds."""
        return self.ray.wait(list(self.pending), num_returns=len(self.pending), timeout=wait)[0]

    def newly_begun(self) -> list[Trial]:
        """The trials that have begun since the last call, each once, whatever nodes are lost."""
        fresh = self.board.beginnings() - self.begun
        self.begun |= fresh
        return [trial for trial in self.pending.values() if trial.name in fresh]

    def end(self, task: Any) -> End | None:
        """How a task ended; None if it did not begin."""
        trial = self.pending.pop(task)
        try:
            found = self.ray.get(task)
        except self.ray.exceptions.RayTaskError as error:
            return End(trial, 1, first_line(error.cause), 0.0)
        except self.ray.exceptions.RayError as error:
            return End(trial, 1, f"its node or Ray worker was lost {LOSSES + 1} times: {first_line(error)}", 0.0)
        return None if found is None else End(trial, *found)

    def kill(self) -> None:
        """End what still runs at once."""
        if self.pending:
            with contextlib.suppress(self.ray.exceptions.RayError, StorageError):
                self.board.want(KILL)
                self.ended(ENDS)


def _words(trial: Trial) -> list[str]:
    """The command for an attempt on any node."""
    return replace(trial, path=trial.path.absolute()).words()


def library() -> Any:
    """Ray, silent; ValueError in one line with the command that installs it."""
    os.environ[STATISTICS] = "0"  # nothing is sent anywhere
    handler = signal.getsignal(signal.SIGTERM)
    try:
        import ray
    except ImportError as error:
        raise ValueError(f"--engine ray needs Ray: {INSTALL} ({error})") from None
    finally:
        _restore(handler)
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    worker: Any = importlib.import_module("ray._private.worker")
    worker.print_to_stdstream = _drop  # no public switch: it prints what nodes report between the sweep's lines
    return ray


def _drop(*message: Any, **settings: Any) -> None:
    """What a lost node means to a trial is in the line of that trial."""


@contextlib.contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """A connection to a cluster for the block; one that is there already is used, and stays."""
    if ray.is_initialized():
        yield
        return
    if address:
        _probe(address)
    ours = {"include_dashboard": False, "_node_ip_address": OURS}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address or "local",
            logging_level=logging.CRITICAL,
            configure_logging=False,
            log_to_driver=False,
            **({} if address else ours),
        )
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
        raise ValueError(f"{where} cannot be used: {first_line(error)}") from None
    finally:
        _restore(handler)  # Ray's would end the sweep at once
    try:
        yield
    finally:
        ray.shutdown()


def _probe(address: str) -> None:
    """ValueError in one line unless a cluster answers; Ray itself tries for minutes, and cannot be interrupted."""
    way_out = "ray status --address HOST:PORT says whether it runs"
    try:
        found = subprocess.run(
            [sys.executable, "-c", PROBE, address], capture_output=True, text=True, timeout=ANSWERS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"no Ray cluster answers at {address} within {ANSWERS:.0f} s; {way_out}") from None
    if found.returncode:
        raise ValueError(f"no Ray cluster can be reached at {address}: {last_line(found.stderr)}; {way_out}")


def _restore(handler: Any) -> None:
    with contextlib.suppress(ValueError):  # not in the main thread, where no handler is set either
        signal.signal(signal.SIGTERM, handler)


def _nodes(ray: Any) -> list[tuple[float, float]]:
    """CPUs and GPUs of the nodes that live."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(resources.get("CPU", 0.0), resources.get("GPU", 0.0)) for resources in alive]


def _fits(ray: Any, cpus: float, gpus: float) -> bool:
    """Whether a node is large enough for a trial."""
    return any(have >= cpus and held >= gpus for have, held in _nodes(ray))
