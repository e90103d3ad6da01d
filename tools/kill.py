"""Kill runs at random moments, and take away disk, memory and terminal; every result must be that of a quiet run.

    python tools/kill.py --kills 100 --hazards 40 --seed 0

Runs of NeRF-SDI, splats-DSD and image-VSD of toy size, in forked children, are killed with SIGKILL at a random time or
at a random change of a file, from their creation to their finish; then `resume`, itself killed now and then, completes
them. A folder fails if it can be neither resumed nor used again, if its tensors, log or finished files differ from
those of an undisturbed run, or if anything unfinished is left. Prints a summary; exits with 1 for failures. Linux only.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tools.abuse import child, hazards, world
from tools.abuse.child import Outcome, call, start
from tools.abuse.compare import differences, names
from tools.abuse.moments import Counter as Changes
from tools.abuse.verdict import last_line, table, trouble
from tools.abuse.whole import broken, unfinished

KINDS = (("nerf", "sdi"), ("splats", "dsd"), ("image", "vsd"))
LIMIT = 120.0  # seconds of a command
STOPPED = (0, 1, 2, 129, 130, 143)  # exit codes after a signal


@dataclass(frozen=True)
class Quiet:
    """An undisturbed run, to compare with."""

    name: str
    config: Path
    folder: Path
    seconds: float
    changes: int  # of files

    @property
    def largest(self) -> int:
        """Bytes of its largest file."""
        return max(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def generate(self, folder: Path) -> list[str]:
        """The command that begins the run in a folder."""
        return ["generate", "--config", str(self.config), "--out", str(folder)]


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--kills", type=int, default=100)
    flags.add_argument("--hazards", type=int, default=40, help="runs with a full disk, little memory, no terminal ...")
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--kinds", nargs="*", default=[name for name, _ in KINDS], help="scenes: nerf splats image")
    chosen = flags.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        child.warm(place / "hub")
        prior = world.weights(place / "prior.safetensors")
        quiet = [undisturbed(place, scene, method, prior) for scene, method in KINDS if scene in chosen.kinds]
        trials = Trials(place, quiet, random.Random(chosen.seed))
        trials.kill(chosen.kills)
        trials.endanger(chosen.hazards)
    print(table(trials.tried, trials.failed))
    return 1 if trials.failed else 0


def undisturbed(place: Path, scene: str, method: str, prior: Path) -> Quiet:
    """Run to the end once, and measure."""
    name = f"{scene}-{method}"
    config = world.write_config(place / f"{name}.yaml", world.recipe(scene, method, prior, steps=8, save_every=2))
    world.rehearse(config, place)
    folder = place / f"quiet-{name}"
    watch = Changes(folder)
    outcome = call(["generate", "--config", str(config), "--out", str(folder)], place, LIMIT, watch.watch())
    if outcome.code:
        raise RuntimeError(f"the undisturbed run failed: {outcome.err}")
    return Quiet(name, config, folder, outcome.seconds, watch.count)


class Trials:
    """Disturbed runs, and what went wrong with them."""

    def __init__(self, place: Path, quiet: Sequence[Quiet], rng: random.Random) -> None:
        self.place, self.quiet, self.rng = place, quiet, rng
        self.tried: Counter[str] = Counter()
        self.failed: dict[str, Counter[str]] = defaultdict(Counter)

    def kill(self, kills: int) -> None:
        """Kill runs until `kills` of them have died."""
        while kills > 0:
            quiet = self.rng.choice(self.quiet)
            died = self._story(quiet)
            self.tried[f"SIGKILL, {quiet.name}"] += died
            kills -= died

    def _story(self, quiet: Quiet) -> int:
        """A run that is killed until it comes to its end; returns how often."""
        folder, subject, died = self._fresh("killed"), f"SIGKILL, {quiet.name}", 0
        commands = [quiet.generate(folder)]
        moments: list[str] = []
        while commands:
            command = commands.pop(0)
            outcome, moment = self._killed(command, quiet, folder) if died < 4 else (self._call(command), "")
            if outcome.code == -signal.SIGKILL and moment:
                died += 1
                moments.append(moment)
                commands = [["resume", str(folder)], quiet.generate(folder)]  # the second where nothing was begun
            elif outcome.code == 0:
                self._compare(subject, quiet, folder, ", ".join(moments))
                return died
            elif outcome.code != 2 or not commands:
                self._fail(subject, "a dead end", f"{', '.join(moments)}: {command[0]}: {last_line(outcome)}")
                return died
        return died

    def _killed(self, command: Sequence[str], quiet: Quiet, folder: Path) -> tuple[Outcome, str]:
        """Start a command and kill it, by the clock or at a change of a file; it may come to its end before."""
        if self.rng.random() < 0.5:
            last = self.rng.randint(1, quiet.changes)
            watch = Changes(folder)
            return self._call(command, watch.watch(last)), f"{command[0]} at change {last} of {quiet.changes}"
        delay = self.rng.uniform(0, quiet.seconds)
        process = start(command, self.place)
        if not process.ended(delay):
            process.send(signal.SIGKILL)
        return process.outcome(LIMIT), f"{command[0]} after {delay:.3f} s of {quiet.seconds:.1f}"

    def endanger(self, count: int) -> None:
        """Run with something missing, then resume with everything there."""
        kinds = (self._limited_files, self._full_disk, self._read_only, self._no_memory, self._streams, self._signal)
        for number in range(count):
            kinds[number % len(kinds)](self.rng.choice(self.quiet))

    def _limited_files(self, quiet: Quiet) -> None:
        size = hazards.size_of(self.rng, quiet.largest)
        self._hazard("a full disk (file size)", quiet, f"{size} bytes", hazards.largest_file(size))

    def _no_memory(self, quiet: Quiet) -> None:
        size = hazards.size_of(self.rng, 2**29)
        self._hazard("no memory", quiet, f"{size} bytes more", hazards.memory_beyond_now(size))

    def _streams(self, quiet: Quiet) -> None:
        name = self.rng.choice(list(hazards.STREAMS))
        folder = self._fresh("endangered")
        self.tried["streams"] += 1
        outcome = self._call(quiet.generate(folder), hazards.STREAMS[name])
        if outcome.code:
            self._fail("streams", "the run did not go on without output", f"{name}: {last_line(outcome)}")
        self._whole_then_complete("streams", quiet, folder, name)

    def _hazard(self, subject: str, quiet: Quiet, detail: str, before: Callable[[], None]) -> None:
        """A run under a limit, and its resume without."""
        folder = self._fresh("endangered")
        self.tried[subject] += 1
        outcome = self._call(quiet.generate(folder), before)
        if kind := trouble(outcome):
            self._fail(subject, kind, f"{quiet.name}, {detail}: {last_line(outcome)}")
        self._whole_then_complete(subject, quiet, folder, detail)

    def _full_disk(self, quiet: Quiet) -> None:
        size = hazards.size_of(self.rng, quiet.size)
        with hazards.disk(self._fresh("disk"), size) as disk:
            if disk is None:
                self.tried["a full disk (skipped: may not mount)"] += 1
                return
            subject, detail, folder = "a full disk (tmpfs)", f"{size} bytes", disk.folder / "run"
            self.tried[subject] += 1
            outcome = self._call(quiet.generate(folder))
            if kind := trouble(outcome):
                self._fail(subject, kind, f"{quiet.name}, {detail}: {last_line(outcome)}")
            if outcome.code == 0:
                self._fail(subject, "exit code 0 on a full disk", f"{quiet.name}, {detail}")
            disk.become(2**26)
            self._whole_then_complete(subject, quiet, folder, detail)

    def _read_only(self, quiet: Quiet) -> None:
        with hazards.disk(self._fresh("disk"), 2**26) as disk:
            if disk is None:
                self.tried["read-only (skipped: may not mount)"] += 1
                return
            subject, folder = "read-only", disk.folder / "run"
            self.tried[subject] += 1
            watch = Changes(folder)
            self._call(quiet.generate(folder), watch.watch(self.rng.randint(quiet.changes // 4, quiet.changes)))
            before = names(folder)
            disk.become(2**26, writable=False)
            for command in (["resume", str(folder)], quiet.generate(disk.folder / "other")):
                outcome = self._call(command)
                kind = trouble(outcome) or ("" if outcome.code else "exit code 0")
                if kind:
                    self._fail(subject, kind, f"{quiet.name}, {command[0]}: {last_line(outcome)}")
            if names(folder) != before:
                self._fail(subject, "files changed", quiet.name)
            disk.become(2**26)
            self._whole_then_complete(subject, quiet, folder, "")

    def _signal(self, quiet: Quiet) -> None:
        folder, number = self._fresh("stopped"), self.rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        subject, delay = f"{number.name}", self.rng.uniform(0, quiet.seconds)
        self.tried[subject] += 1
        process = start(quiet.generate(folder), self.place)
        if not process.ended(delay):
            process.send(number)
        outcome = process.outcome(LIMIT)
        at_once = outcome.code == -number and not (folder / "log.jsonl").exists()  # nothing was begun
        if not (outcome.code in STOPPED or at_once) or "Traceback" in outcome.err:
            self._fail(subject, f"exit code {outcome.code}", f"{quiet.name} after {delay:.3f} s: {last_line(outcome)}")
        self._whole_then_complete(subject, quiet, folder, f"after {delay:.3f} s")

    def _whole_then_complete(self, subject: str, quiet: Quiet, folder: Path, detail: str) -> None:
        """Nothing may be half-written; then the run is completed and compared."""
        if found := broken(folder):
            self._fail(subject, "half-written", f"{quiet.name}, {detail}: {', '.join(found)}")
        outcome = self._call(["resume", str(folder)])
        if outcome.code == 2:
            outcome = self._call(quiet.generate(folder))
        if outcome.code:
            self._fail(subject, "a dead end", f"{quiet.name}, {detail}: {last_line(outcome)}")
        else:
            self._compare(subject, quiet, folder, detail)

    def _compare(self, subject: str, quiet: Quiet, folder: Path, detail: str) -> None:
        found = differences(folder, quiet.folder)
        if found:
            self._fail(subject, "another result", f"{quiet.name}, {detail}: {', '.join(found)}")
        if left := unfinished(folder) or sorted(names(folder) ^ names(quiet.folder)):
            self._fail(subject, "left over or missing", f"{quiet.name}, {detail}: {', '.join(left)}")

    def _call(self, command: Sequence[str], before: Callable[[], object] = int) -> Outcome:
        return call(command, self.place, LIMIT, before)

    def _fresh(self, name: str) -> Path:
        folder = self.place / name
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def _fail(self, subject: str, kind: str, detail: str) -> None:
        self.failed[subject][kind] += 1
        print(f"{subject}: {kind}: {detail[:400]!a}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
