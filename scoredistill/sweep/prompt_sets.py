"""Sets of prompts: those of the package by name, and text files of one's own with one prompt a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scoredistill.config import LONGEST_TEXT, nearest, shown
from scoredistill.files import read_limited

FOLDER = Path(__file__).parent / "prompts"
PROMPT_SETS = ("sdi43", "toybox20", "toybox43")
"""SDI's appendix A.4; twenty Toybox captions that no setting was tuned on; those of the 43 that Toybox can say."""
LARGEST = 1_000_000  # bytes of a file


def prompt_set(name: str) -> list[str]:
    """The prompts of a set of the package, or of a text file: one a line; lines that begin with # are comments.

    ValueError in one line for an unknown name, and for a file that is no text, holds no prompt, or one twice.
    """
    if name in PROMPT_SETS:
        return _prompts(FOLDER / f"{name}.txt")
    path = Path(name)
    if path.suffix == ".txt" or path.is_file():
        return _prompts(path)
    way_out = "or name a text file of your own (.txt), one prompt a line"
    raise ValueError(f"unknown prompt set {shown(name)}; {nearest(name, PROMPT_SETS)}; {way_out}")


def prompts_of(names: Sequence[str]) -> list[str]:
    """The prompts of several sets, one after the other; ValueError for a prompt that comes twice."""
    found: list[str] = []
    for name in names:
        prompts = prompt_set(name)
        if again := [prompt for prompt in prompts if prompt in found]:
            raise ValueError(f"the prompt {shown(again[0])} of {name} is in an earlier set too: name only one of them")
        found += prompts
    return found


def _prompts(path: Path) -> list[str]:
    try:
        text = read_limited(path, LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text: write the prompts in UTF-8, one per line") from None
    prompts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        prompt = line.strip()
        if not prompt or prompt.startswith("#"):
            continue
        if prompt in prompts:
            raise ValueError(f"{path} holds the prompt {shown(prompt)} twice, in lines {prompts[prompt]} and {number}")
        if len(prompt) > LONGEST_TEXT:
            raise ValueError(
                f"line {number} of {path} has {len(prompt):,} characters, a prompt at most {LONGEST_TEXT:,}"
            )
        prompts[prompt] = number
    if not prompts:
        raise ValueError(f"{path} contains no prompt: write one per line")
    return list(prompts)
