"""Flip single bits of everything that a run reads; no result may change without a word.

    python tools/flips.py --flips 3000 --seed 0

A random bit of a random file of a finished or an interrupted run folder (or of the prior's weights) is flipped, then
`resume`, `render`, `export` or `evaluate` runs in a forked child. Either the result is that of an undamaged run, bit
for bit, or an error or a warning names what is damaged. Each kind of file gets the same share of flips. The same runs
on 1 and 2 threads must give the same tensors, or say that they may not. Exits with 1 for failures; Ctrl-C ends early
with the summary of what was tried. A flip takes one or two seconds of a core. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tools.abuse import child, world
from tools.abuse.child import Outcome, call
from tools.abuse.compare import differences
from tools.abuse.damage import flip
from tools.abuse.moments import Counter as Changes
from tools.abuse.verdict import complaints, last_line, named, table, trouble

LIMIT = 60.0  # seconds of a command
STEPS = 4
REPORTED = 100  # flips from one line of progress to the next
PROMISE = re.compile(r"thread|bit for bit", re.IGNORECASE)


@dataclass(frozen=True)
class Subject:
    """A run folder to damage, the finished run that it must lead to, and what other commands make of it."""

    name: str
    original: Path
    reference: Path
    folder: Path  # where its copy is damaged: always the same, because a run may know its place
    finished: bool


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--flips", type=int, default=3000)
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--scenes", nargs="*", default=list(world.SCENES))
    chosen = flags.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        child.warm(place / "hub")
        flips = Flips(place, random.Random(chosen.seed), chosen.scenes)
        with contextlib.suppress(KeyboardInterrupt):  # of a long trial, what was tried counts
            for scene in chosen.scenes:
                flips.threads(scene)
            for number in range(1, chosen.flips + 1):
                flips.flip()
                if number % REPORTED == 0:
                    print(f"{number} flips, {sum(map(Counter.total, flips.failed.values()))} failures", flush=True)
    print(table(flips.tried, flips.failed))
    return 1 if flips.failed else 0


class Flips:
    """Damaged runs, and what went wrong with them."""

    def __init__(self, place: Path, rng: random.Random, scenes: Sequence[str]) -> None:
        self.place, self.rng = place, rng
        self.prior = world.weights(place / "prior.safetensors")
        self.photo = world.picture(place / "photo.png")
        self.tried: Counter[str] = Counter()
        self.failed: dict[str, Counter[str]] = defaultdict(Counter)
        self.subjects = [subject for scene in scenes for subject in self._runs(scene)]
        self.quiet: dict[str, Outcome] = {}  # what commands print of an undamaged run, by command and run

    def _runs(self, scene: str) -> list[Subject]:
        """A finished and an interrupted run."""
        folder, watch = self.place / f"run-{scene}", Changes(self.place / f"run-{scene}")
        config = self._config(scene)
        world.rehearse(config, self.place)
        command = ["generate", "--config", str(config), "--out", str(folder)]
        _succeed(call(command, self.place, LIMIT, watch.watch()))
        kept = self.place / "originals"
        kept.mkdir(exist_ok=True)
        reference = folder.rename(kept / f"finished-{scene}")
        call(command, self.place, LIMIT, watch.watch(int(0.45 * watch.count)))  # killed after its second checkpoint
        interrupted = folder.rename(kept / f"interrupted-{scene}")
        return [
            Subject(f"{scene}, finished", reference, reference, folder, True),
            Subject(f"{scene}, interrupted", interrupted, reference, folder, False),
        ]

    def _config(self, scene: str) -> Path:
        """A recipe; the radiance field starts from a picture, of which the run keeps a copy."""
        recipe = world.recipe(scene, "sdi", self.prior, steps=STEPS, save_every=1)
        if scene == "nerf":
            recipe = world.recipe(scene, "sds", "toybox-pose", str(self.photo), steps=STEPS, save_every=1)
        return world.write_config(self.place / f"{scene}.yaml", recipe)

    def flip(self) -> None:
        """Damage one file of one run, use the run, compare."""
        subject = self.rng.choice(self.subjects)
        folder = world.restore(subject.folder, subject.original)
        target = self._target(subject, folder)
        command = self._command(subject, folder)
        quiet = self._undamaged(subject, command) if command[0] != "resume" else None
        for path in self.place.glob("out.*"):
            path.unlink()
        intact = target.read_bytes()
        bit = flip(target, self.rng)
        try:
            outcome = call(command, self.place, LIMIT)
        finally:
            if target == self.prior:
                target.write_bytes(intact)
        label = str(target.relative_to(folder if target.is_relative_to(folder) else self.place))
        kind = re.sub(r"\d+", "N", label)
        self.tried[kind] += 1
        if failure := self._verdict(subject, target, command, outcome, quiet):
            self.failed[kind][failure] += 1
            print(
                f"{label}, bit {bit} ({subject.name}): {command[0]}: {failure}: {last_line(outcome)[:300]!a}",
                flush=True,
            )

    def _target(self, subject: Subject, folder: Path) -> Path:
        """A file, of a kind drawn evenly."""
        kinds: dict[str, list[Path]] = defaultdict(list)
        for path in [*folder.rglob("*"), self.prior]:
            if path.is_file() and path.stat().st_size:
                kinds[f"{path.parent.name}/{path.suffix}"].append(path)
        return self.rng.choice(sorted(kinds[self.rng.choice(sorted(kinds))]))

    def _command(self, subject: Subject, folder: Path) -> list[str]:
        """What is done with the damaged run: mostly, it is resumed."""
        if not subject.finished or self.rng.random() < 0.7:
            return ["resume", str(folder)]
        views = ["--azimuths-deg", "0", "--resolution", "16", "--out", str(self.place / "out.png")]
        mesh = ["--resolution", "16", "--out", str(self.place / "out.glb")]
        choices = {"evaluate": [], "render": views, "export": mesh}
        if "image" in subject.name:
            choices = {"evaluate": []}
        command = self.rng.choice(list(choices))
        return [command, str(folder), *choices[command]]

    def _undamaged(self, subject: Subject, command: list[str]) -> Outcome:
        """What a command prints and writes for the undamaged run."""
        key = " ".join((subject.name, *command))
        if key not in self.quiet:
            self.quiet[key] = _succeed(call(command, self.place, LIMIT))
            for path in self.place.glob("out.*"):
                path.replace(self.place / f"quiet-{path.name}-{subject.name}")
        return self.quiet[key]

    def _verdict(
        self, subject: Subject, target: Path, command: Sequence[str], outcome: Outcome, quiet: Outcome | None
    ) -> str:
        """The kind of a failure; empty if the damage had no effect, or was named."""
        if kind := trouble(outcome):
            return kind
        words = [
            target.name,
            target.stem,
            f"{target.parent.name}/" if target.parent.name == "checkpoint" else target.name,
        ]
        if target == self.prior:
            words.append("prior")
        if complaints(outcome):
            return "" if named(outcome, words) else "a line that names something else"
        found = self._changed(subject, command, outcome, quiet)
        return f"silently changed: {', '.join(found)}" if found else ""

    def _changed(self, subject: Subject, command: Sequence[str], outcome: Outcome, quiet: Outcome | None) -> list[str]:
        if quiet is None:
            return differences(subject.folder, subject.reference)
        found = ["the output"] if outcome.out != quiet.out else []
        for path in self.place.glob("out.*"):
            if path.read_bytes() != (self.place / f"quiet-{path.name}-{subject.name}").read_bytes():
                found.append(path.name)
        return found

    def threads(self, scene: str) -> None:
        """The same run on 1 and on 2 threads, and one that is begun on 1 and resumed on 2."""
        subjects = [each for each in self.subjects if each.name.startswith(scene)]
        config, folder = self._config(scene), subjects[0].folder
        world.restore(folder, subjects[0].original)
        other = self.place / f"two-{scene}"
        outcome = call(["generate", "--config", str(config), "--out", str(other)], self.place, LIMIT, _two_threads)
        self.tried["2 threads"] += 1
        found = differences(other, folder) if outcome.code == 0 else []
        print(f"2 threads instead of 1, {scene}: {', '.join(found) or 'the same'}")
        world.restore(folder, subjects[1].original)
        outcome = call(["resume", str(folder)], self.place, LIMIT, _two_threads)
        found = differences(folder, subjects[0].reference) if outcome.code == 0 else []
        if trouble(outcome) or (found and not PROMISE.search(outcome.err)):
            self.failed["2 threads"]["silently changed"] += 1
            print(f"resumed on 2 threads, {scene}: {', '.join(found)}: {last_line(outcome)!a}")


def _two_threads() -> None:
    import torch

    torch.set_num_threads(2)


def _succeed(outcome: Outcome) -> Outcome:
    if outcome.code:
        raise RuntimeError(f"the undamaged run failed: {outcome.err}")
    return outcome


if __name__ == "__main__":
    sys.exit(main())
