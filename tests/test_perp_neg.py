"""View-dependent prompting: words, embeddings in between, and Perp-Neg, whose rows are each sample's own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import tiny_pipelines
import torch
from torch import Tensor

from scoredistill.camera import Cameras, orbit
from scoredistill.contracts import Conditions, Prompt
from scoredistill.methods.guidance import guided_eps
from scoredistill.priors.diffusers.prior import DiffusersPrior
from scoredistill.priors.diffusers.view_prompting import (
    BACK,
    FRONT,
    OVERHEAD,
    SIDE,
    ViewAngles,
    ViewPrompting,
    with_view,
)

PROMPT = "a hamburger"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sd15")
    tiny_pipelines.save("sd15", path)
    return path


def load(folder: Path, prompting: ViewPrompting) -> DiffusersPrior:
    return DiffusersPrior.load(str(folder), dtype=torch.float32, view_prompting=prompting)


def radians(*degrees: float) -> Tensor:
    return torch.tensor(degrees, dtype=torch.float64).deg2rad()


def cameras(*azimuths_deg: float, elevation_deg: float = 15.0) -> Cameras:
    azimuth = radians(*azimuths_deg)
    constant = torch.ones_like(azimuth)
    return orbit(azimuth, math.radians(elevation_deg) * constant, 2 * constant, constant, 16)


def test_words_follow_the_thresholds() -> None:
    """METHODS 1.5: front within 45 degrees, back beyond 135, overhead above 60 whatever the azimuth; all narrower."""
    azimuth = radians(0, 44, -44, 46, -90, 134, 136, -179, 405, 0)
    elevation = radians(*[15] * 9, 61)
    views = ["front"] * 3 + ["side"] * 3 + ["back"] * 2 + ["side", "overhead"]
    views[8] = "side"  # 405 is 45, which is no longer within 45
    assert ViewAngles().views(azimuth, elevation) == views
    assert ViewAngles(30, 30).views(radians(31, 149, 151), radians(0, 0, 0)) == ["side", "side", "back"]
    assert with_view(PROMPT, "back") == "a hamburger, back view"


def test_embeddings_between_views_are_linear_in_the_azimuth() -> None:
    """r front + (1 - r) side, r = 1 - |a| / 90, then r side + (1 - r) back, r = 2 - |a| / 90."""
    found = ViewAngles().between(radians(0, 30, -90, 135, 180, 30), radians(0, 0, 0, 0, 0, 80))
    expected = torch.zeros(6, 4, dtype=torch.float64)
    expected[0, FRONT] = expected[2, SIDE] = expected[4, BACK] = expected[5, OVERHEAD] = 1
    expected[1, FRONT], expected[1, SIDE] = 2 / 3, 1 / 3
    expected[3, SIDE] = expected[3, BACK] = 1 / 2
    torch.testing.assert_close(found, expected)


def test_perp_neg_weights_are_the_tabulated_ones() -> None:
    """METHODS 1.4, (front, side) at the front, at the side from both halves, at the back, and overhead."""
    found = ViewAngles().away(radians(0, 90 - 1e-9, 90, 180, 0), radians(0, 0, 0, 0, 70))
    expected = [[0, -1.574], [-1.574, 0], [-1.574, 0], [-1.967, -0.394], [0, 0]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-3, rtol=0)
    everywhere = ViewAngles().away(radians(*range(-180, 181)), radians(*[0] * 361))
    assert float(everywhere.max()) <= 0
    torch.testing.assert_close(everywhere, everywhere.flip(0), atol=1e-12, rtol=0)


def ask(prior: DiffusersPrior, look: Cameras, x_t: Tensor, t: Tensor) -> Tensor:
    return guided_eps(prior, x_t, t, prior.conditions(Prompt(PROMPT), look, len(look)), 7.5)


@pytest.mark.parametrize("prompting", ["words", "interpolated", "perp-neg"])
def test_a_batch_of_two_is_two_batches_of_one(folder: Path, prompting: ViewPrompting) -> None:
    """At views, times and latents of their own; swapping the two swaps the answers."""
    prior = load(folder, prompting)
    x_t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.3, 0.8], dtype=torch.float64)
    both = ask(prior, cameras(20, 160), x_t, t)
    alone = [
        ask(prior, cameras(azimuth), x_t[row : row + 1], t[row : row + 1]) for row, azimuth in enumerate((20, 160))
    ]
    torch.testing.assert_close(both, torch.cat(alone), atol=1e-5, rtol=1e-5)
    swapped = ask(prior, cameras(160, 20), x_t.flip(0), t.flip(0))
    torch.testing.assert_close(both, swapped.flip(0), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(both, ask(prior, cameras(160, 20), x_t, t), atol=1e-4)


def test_perp_neg_is_its_formula(folder: Path) -> None:
    """eps_u + g (e_pos + sum_i w_i (e_i - <e_i, e_pos> / <e_pos, e_pos> e_pos)) from four single rows."""
    prior, look = load(folder, "perp-neg"), cameras(130)
    x_t, t = (
        torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)),
        torch.tensor([0.6], dtype=torch.float64),
    )

    def eps(*mixed: tuple[float, str]) -> Tensor:
        tokens = sum(share * prior.texts([text]).tokens for share, text in mixed)
        return prior.eps(x_t, t, type(prior.texts([""]))(tokens))[0]

    r = 2 - 130 / 90
    null, positive = eps((1, "")), eps((r, f"{PROMPT}, side view"), (1 - r, f"{PROMPT}, back view"))
    direction = positive - null
    expected = direction.clone()
    for view, weight in (("front", -(math.exp(-0.5 * r) + 0.967)), ("side", -(math.exp(-0.5 * r) - 0.606))):
        away = eps((1, f"{PROMPT}, {view} view")) - null
        expected += weight * (away - (away * direction).sum() / (direction * direction).sum() * direction)
    torch.testing.assert_close(ask(prior, look, x_t, t), null + 7.5 * expected, atol=1e-4, rtol=1e-4)


def test_words_in_front_of_the_text_and_no_words_at_all(folder: Path) -> None:
    """SJC's official wording, and MVDream's prompt as it is."""
    look, prompt = cameras(0, 90, 180), Prompt(PROMPT)
    prefixed = load(folder, "prefix").conditions(prompt, look, 3)
    assert prefixed.keys == tuple(f"{view} view of {PROMPT}" for view in ("front", "side", "backside"))
    plain = load(folder, "none").conditions(prompt, look, 3)
    assert plain.keys == (PROMPT,) * 3
    assert plain.text is plain.plain
    assert not plain.perpendicular


def keys(conditions: Conditions) -> tuple[str, ...] | None:
    return conditions.keys


def test_only_words_have_keys_and_only_perp_neg_has_negative_views(folder: Path) -> None:
    """Embeddings that vary without end cannot be remembered by name; without cameras there is no view at all."""
    look, prompt = cameras(10, 100), Prompt(PROMPT, "ugly")
    found = {
        prompting: load(folder, prompting).conditions(prompt, look, 2)
        for prompting in ("words", "interpolated", "perp-neg")
    }
    assert keys(found["words"]) == (f"{PROMPT}, front view", f"{PROMPT}, side view")
    assert keys(found["interpolated"]) is keys(found["perp-neg"]) is None
    assert [len(conditions.perpendicular) for conditions in found.values()] == [0, 0, 2]
    for conditions in found.values():
        assert not torch.equal(conditions.null.tokens, conditions.empty.tokens)
        assert torch.equal(conditions.plain.tokens, found["words"].plain.tokens)
    flat = load(folder, "perp-neg").conditions(prompt, None, 2)
    assert flat.perpendicular == ()
    assert torch.equal(flat.text.tokens, flat.plain.tokens)
