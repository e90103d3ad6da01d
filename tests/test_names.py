"""Default names of run folders: one for each prompt, in every script, that every file system takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoredistill.runs.names import default_path, unused_path

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a purple snowman", "a-purple-snowman-sdi-3"),
        ("a DSLR photo of a car!", "a-dslr-photo-of-a-car_f102aba79843-sdi-3"),
        ("一辆红色的汽车", "一辆红色的汽车-sdi-3"),
        ("красная машина", "красная-машина-sdi-3"),
        ("🚗", "prompt_3a3fbeedf9e3-sdi-3"),
        ("ａ ｒｅｄ ｃａｒ", "a-red-car_ba43d4b487a2-sdi-3"),
        ("a red café car", "a-red-café-car-sdi-3"),
    ],
)
def test_a_folder_is_named_after_its_prompt(prompt: str, name: str) -> None:
    assert default_path(prompt, "sdi", 3) == Path("runs") / name


def test_a_method_of_ones_own_goes_by_its_name() -> None:
    assert default_path("a car", "/home/me/mine.py:Mine", 0) == Path("runs/a-car-mine-0")


@settings(deadline=None, derandomize=True, max_examples=400)
@given(TEXT, TEXT)
def test_every_prompt_has_a_name_of_its_own(prompt: str, other: str) -> None:
    names = {each: default_path(each, "sdi", 0).name for each in (prompt, other)}
    assert len(set(names.values())) == len({prompt, other})
    for name in names.values():
        assert Path("runs") / name == default_path(prompt, "sdi", 0).parent / name, "one part of a path"
        assert len(name.encode()) < 200 and name[0] not in "-._" and name.isprintable()
        assert name.endswith("-sdi-0") and not set(name) & set('<>:"/\\|?*. '), "so none that Windows reserves"


@pytest.mark.parametrize("others", [("A purple snowman", "a purple  snowman", "a purple snowman ", "a-purple-snowman")])
def test_prompts_that_differ_a_little_do_not_share_a_name(others: tuple[str, ...]) -> None:
    prompts = ["a purple snowman", *others, "x" * 50, "x" * 51]
    assert len({default_path(prompt, "sdi", 0) for prompt in prompts}) == len(prompts)


def test_a_file_that_exists_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "car-ddim-0.png"
    assert unused_path(path) == path
    path.touch()
    (tmp_path / "car-ddim-0-2.png").symlink_to("nowhere")
    assert unused_path(path) == tmp_path / "car-ddim-0-3.png"
