"""Fuzz the command line: invocations from a grammar over every command and field, and damaged files of every kind.

    python tools/fuzz.py --cases 500 --files 500 --seed 0

Each command runs in a forked child in a temporary folder, where all its outputs go. A case fails on a traceback,
"this is a bug", a crash, a hang, an unknown exit code, more or less than one error line, nonsense that is accepted,
or an output whose content does not match its suffix. Prints a summary, writes failures as JSON, exits with 1 if any.
Linux only. `--only TEXT` runs the cases whose command line contains a text; `--models` adds published models.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tools.abuse import child, world
from tools.abuse.child import Outcome, call
from tools.abuse.files import Files, published
from tools.abuse.grammar import Case, Grammar
from tools.abuse.verdict import last_line, table, trouble

MAGIC = {".png": (0, b"\x89PNG"), ".jpg": (0, b"\xff\xd8"), ".gif": (0, b"GIF8"), ".mp4": (4, b"ftyp")}
MAGIC |= {
    ".glb": (0, b"glTF"),
    ".ply": (0, b"ply\n"),
    ".obj": (0, b"# "),
    ".stl": (0, b"solid"),
    ".txt": (0, b"no such"),
}


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--cases", type=int, default=500, help="invocations from the grammar")
    flags.add_argument("--files", type=int, default=500, help="damaged files")
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--seconds", type=float, default=10.0, help="limit of a command")
    flags.add_argument("--models", action="store_true", help="damage the files of a published model and LoRA too")
    flags.add_argument("--only", default="", help="run the cases whose command line contains this text")
    flags.add_argument("--out", type=Path, help="a JSON file of the failures")
    chosen = flags.parse_args()
    with tempfile.TemporaryDirectory() as name:
        failures, summary = fuzz(Path(name), chosen)
    print(summary)
    if chosen.out:
        chosen.out.write_text(json.dumps(failures, indent=1, ensure_ascii=True))
    return 1 if failures else 0


def fuzz(folder: Path, chosen: argparse.Namespace) -> tuple[list[dict[str, object]], str]:
    """All cases of a seed: the failures, and a summary."""
    child.warm(folder / "hub")
    place = world.prepare(folder)
    model = published(folder) if chosen.models else None
    draws: list[Callable[[Path], Case]] = [Grammar(place, chosen.seed).case] * chosen.cases
    draws += [Files(place, chosen.seed, model).case] * chosen.files
    tried: Counter[str] = Counter()
    failed: dict[str, Counter[str]] = defaultdict(Counter)
    failures: list[dict[str, object]] = []
    for number, draw in enumerate(draws):
        here = _case_folder(folder / f"case-{number}")
        case = draw(here)
        if chosen.only in shlex.join(case.arguments):
            outcome = call(case.arguments, here, min(4.0, chosen.seconds) if case.costly else chosen.seconds)
            tried[case.subject] += 1
            kind = _verdict(case, outcome, here)
            if kind:
                failed[case.subject][kind] += 1
                failures.append(_report(number, case, outcome, kind, here))
                print(f"{case.subject}: {kind}: {' | '.join(case.changes)}: {last_line(outcome)[:160]!a}", flush=True)
        _remove(here)
    return failures, table(tried, failed)


def _verdict(case: Case, outcome: Outcome, folder: Path) -> str:
    """The kind of a failure; empty if the command did what a sound program does."""
    if outcome.late and case.costly:
        return ""
    if kind := trouble(outcome):
        return kind
    if case.expected == "refuse" and outcome.code == 0:
        return "nonsense accepted"
    if case.expected == "accept" and outcome.code:
        return "good input refused"
    return _mismatched(folder) if outcome.code == 0 else ""


def _mismatched(folder: Path) -> str:
    """Outputs whose content is not what their suffix says."""
    for path in folder.glob("out*"):
        offset, magic = MAGIC.get(path.suffix.lower(), (0, b""))
        if path.is_file() and path.read_bytes()[offset : offset + len(magic)] != magic:
            return f"{path.suffix} holds something else"
    return ""


def _report(number: int, case: Case, outcome: Outcome, kind: str, folder: Path) -> dict[str, object]:
    words = [word.replace(str(folder), "CASE") for word in case.arguments]
    return {
        "kind": kind,
        "case": number,
        "subject": case.subject,
        "changes": case.changes,
        "arguments": [word[:200] for word in words],
        "code": outcome.code,
        "seconds": round(outcome.seconds, 2),
        "stderr": outcome.err[-1500:],
    }


def _case_folder(folder: Path) -> Path:
    """A folder for a case, with things in the way of outputs."""
    (folder / "folder").mkdir(parents=True)
    (folder / "folder" / "file").touch()
    (folder / "empty").touch()
    os.mkfifo(folder / "pipe")
    (folder / "link-to-pipe").symlink_to("pipe")
    (folder / "dangling").symlink_to("elsewhere")
    return folder


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
