"""Prompts longer than the text encoder: cut before the words of the view, with one warning that names what was cut."""

from __future__ import annotations

import itertools
import logging

import pytest
import tiny_pipelines
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoredistill.camera import orbit
from scoredistill.contracts import Prompt
from scoredistill.priors.diffusers import DiffusersPrior
from scoredistill.priors.diffusers.denoisers import LUMINA2_PREFIX
from scoredistill.priors.diffusers.tokenizing import fitted
from scoredistill.priors.diffusers.view_prompting import VIEWS, with_view, without_view

WORDS = [f"{word}{'abc'[row % 3]}" for row, word in enumerate(("hamburger", "front", "blurry") * 30)]
LONG = " ".join(WORDS)
EVERYWHERE = orbit(
    torch.tensor([0.0, 1.57, 3.1, 0.0]), torch.tensor([0.0, 0.0, 0.0, 1.4]), torch.full((4,), 2.0), torch.ones(4), 16
)
"""Front, side, back and overhead."""


@pytest.fixture(scope="module", params=tiny_pipelines.FAMILIES)
def prior(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DiffusersPrior:
    folder = tmp_path_factory.mktemp(request.param)
    tiny_pipelines.save(request.param, folder)
    return DiffusersPrior.load(str(folder), dtype=torch.float32)


def test_the_views_of_a_long_prompt_differ(prior: DiffusersPrior, caplog: pytest.LogCaptureFixture) -> None:
    """For CLIP, T5 and Gemma, whatever their length; warned about once."""
    with caplog.at_level(logging.WARNING):
        tokens = prior.conditions(Prompt(LONG), EVERYWHERE, 4).text.tokens
    for first, second in itertools.combinations(tokens, 2):
        assert float((first - second).abs().max()) > 1e-4
    (record,) = caplog.records
    assert isinstance(record.args, tuple)
    words = str(record.args[1]).split()
    assert words
    assert WORDS[-len(words) :] == words


def test_a_cut_prompt_is_that_of_the_words_that_stay(prior: DiffusersPrior) -> None:
    """The beginning of the prompt stays, and so does all that a model puts before it."""
    shorter = " ".join(WORDS[:-1])
    longer, short = (prior.conditions(Prompt(text), EVERYWHERE, 4).text.tokens for text in (LONG, shorter))
    torch.testing.assert_close(longer, short)
    first = prior.conditions(Prompt(" ".join(["ugly", *WORDS[1:]])), EVERYWHERE, 4).text.tokens
    assert not torch.allclose(first, longer)


def test_a_prompt_that_fits_is_not_cut(prior: DiffusersPrior, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        prior.conditions(Prompt("a hamburger", "ugly, blurry"), EVERYWHERE, 4)
    assert not caplog.records


letters = st.text(st.sampled_from("ab ,v"), max_size=60)


@given(letters, st.sampled_from(["", *VIEWS]), st.integers(14, 60))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_any_text_is_cut_to_the_length_and_ends_with_its_view(text: str, view: str, length: int) -> None:
    """By letters as tokens; nothing is lost but what is named, and no word is torn unless it is the first."""
    whole = with_view(text, view) if view else text
    short, cut = fitted(whole, length, len)
    prompt, ending = without_view(short)
    assert ending == without_view(whole)[1]
    assert len(short) <= max(length, len(ending))
    assert text.startswith(prompt)
    assert text.removeprefix(prompt).strip() == cut.strip()
    if cut and " " in prompt.strip():
        assert text[len(prompt)] == " "


def test_the_view_of_a_text() -> None:
    for text, view in itertools.product(("", "a car", "a car, back view", LUMINA2_PREFIX), VIEWS):
        assert without_view(with_view(text, view)) == (text, f", {view} view")
    assert without_view("a car, front") == ("a car, front", "")
