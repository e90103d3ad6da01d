"""Prompt sets: the paper's, Toybox's, and files of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scoredistill.sweep.prompt_sets import FOLDER, PROMPT_SETS, prompt_set, prompts_of
from scoredistill.toybox import captions


def test_every_set_is_there_and_has_no_prompt_twice() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(PROMPT_SETS)
    assert {name: len(prompt_set(name)) for name in PROMPT_SETS} == {"sdi43": 43, "toybox20": 20, "toybox43": 18}
    for name in PROMPT_SETS:
        assert len(set(prompt_set(name))) == len(prompt_set(name))


def test_the_papers_prompts_are_exact() -> None:
    """The first, the last and those that one would correct."""
    prompts = prompt_set("sdi43")
    assert (prompts[0], prompts[-1]) == ("A car made out of sushi", "A Viking panda with an axe")
    odd = ("A DSLR photo of a an old man", "A rabbit, animated movie character, high detail 3d mode")
    assert {*odd, "DSLR photograph of a baby racoon holding a hamburger, 80mm"} < set(prompts)


def test_the_held_out_captions_are_drawn_as_their_file_says() -> None:
    rng = np.random.default_rng(777)
    kinds = rng.permutation(list(captions.KINDS))[:20]
    colors = rng.choice(list(captions.COLORS), 20)
    drawn = [captions.Description(str(kind), str(color)) for kind, color in zip(kinds, colors, strict=True)]
    assert prompt_set("toybox20") == [captions.phrase(each) for each in drawn]


def test_the_papers_prompts_in_toyboxs_words() -> None:
    """Each caption stands below its prompt, in the order of the paper, and is a sentence of Toybox about its toy."""
    lines = (FOLDER / "toybox43.txt").read_text().split("\n\n", 1)[1].splitlines()
    originals, ours = [line.removeprefix("# ") for line in lines[::2]], lines[1::2]
    assert ours == prompt_set("toybox43")
    paper = prompt_set("sdi43")
    assert [paper.index(prompt) for prompt in originals] == sorted(map(paper.index, originals))
    for original, caption in zip(originals, ours, strict=True):
        assert captions.tokenize(caption)
        kind, _ = captions.subject(caption)
        assert kind in original.lower().replace("bunny", "rabbit")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeff# two prompts\na red car\r\n\n  café à la carte  \n".encode())
    assert prompt_set(str(path)) == ["a red car", "café à la carte"]
    assert prompts_of([str(path), "toybox20"])[1:3] == ["café à la carte", "a white croissant"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# nothing\n\n", "contains no prompt"),
        (b"a cat\na dog\na cat\n", "the prompt 'a cat' twice, in lines 1 and 3"),
        (b"\xff\xfe\n", "is not UTF-8 text"),
        (b"x" * 20_000, "line 1 of .* has 20,000 characters"),
        (b"x" * 2_000_000, "too large"),
    ],
)
def test_a_file_that_is_no_prompt_set(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        prompt_set(str(path))


def test_names_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown prompt set 'toybox4'; nearest known: toybox43, toybox20; or name"):
        prompt_set("toybox4")
    with pytest.raises(ValueError, match=r"there is no file .*mine\.txt"):
        prompt_set(str(tmp_path / "mine.txt"))
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        prompt_set(str(tmp_path / "a.txt"))
    with pytest.raises(ValueError, match="'a white croissant' of toybox20 is in an earlier set too"):
        prompts_of(["toybox20", "toybox20"])
