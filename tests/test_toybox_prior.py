"""The embedded prior: its language, its parametrization, and the identities on a real network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import times
from safetensors import safe_open
from safetensors.torch import save_file

from scoredistill.camera import ring
from scoredistill.contracts import Prompt, Query
from scoredistill.methods import guidance
from scoredistill.methods.sdi import cached_noise_sdi
from scoredistill.priors import toybox
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.toybox import captions


@pytest.fixture(scope="module")
def prior() -> ToyboxPrior:
    return ToyboxPrior.load(dtype=torch.float32)


def noise_image(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def test_rows_are_counted_and_answer_one_by_one(prior: ToyboxPrior) -> None:
    conditions = prior.conditions(Prompt("a purple snowman"), ring(2, 64), 2)
    x_t, t = noise_image(2), times(0.6)
    calls, rows = prior.calls, prior.rows
    text, null = prior.eps(x_t, t, conditions.text, conditions.null)
    assert (prior.calls - calls, prior.rows - rows) == (1, 4)
    torch.testing.assert_close(text, prior.eps(x_t, t, conditions.text)[0], atol=1e-4, rtol=1e-4)
    assert float((text - null).abs().mean()) > 1e-4


def test_a_batch_of_two_is_two_batches_of_one(prior: ToyboxPrior) -> None:
    x_t, t = noise_image(2), torch.tensor([0.3, 0.8], dtype=torch.float64)
    together = prior.eps(x_t, t, prior.encode_text(["a red car", "a green tree"]))[0]
    alone = prior.eps(x_t[1:], t[1:], prior.encode_text(["a green tree"]))[0]
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=1e-4)


def test_cameras_become_view_words(prior: ToyboxPrior) -> None:
    cameras = ring(4, 64)
    with_views = prior.conditions(Prompt("a red car"), cameras, 4).text
    spelled = prior.encode_text(
        [f"a red car, {view}" for view in ("front view", "side view", "back view", "side view")]
    )
    torch.testing.assert_close(with_views.features, spelled.features)


def test_bf16_is_close_to_float32(prior: ToyboxPrior) -> None:
    fast = ToyboxPrior(prior.net, dtype=torch.bfloat16)
    text = prior.encode_text(["a purple snowman"])
    x_t, t = noise_image(1), times(0.7, 1)
    exact, quick = prior.eps(x_t, t, text)[0], fast.eps(x_t, t, text)[0]
    assert float((exact - quick).norm() / exact.norm()) < 0.02


def test_pixels_survive_the_round_trip(prior: ToyboxPrior) -> None:
    rgb = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(prior.decode(prior.encode(rgb)), rgb)
    assert prior.encode(torch.rand(1, 3, 128, 128)).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_cached_sdi_is_ddim_on_a_network(prior: ToyboxPrior, scale: float) -> None:
    """The paper's figure 1c: SDI with the last step's noise retraces DDIM; float32 leaves 1e-3."""
    x_T, levels = noise_image(2), prior.schedule
    conditions = prior.conditions(Prompt("a purple snowman"), None, 2)
    grid = [0.95, 0.75, 0.5, 0.25, 0.05]
    t, x_t = levels.snap(times(1.0)), x_T
    eps = guidance.guided_eps(prior, x_t, t, conditions, scale)
    for s in grid:
        x_t, t = levels.move(x_t, eps, t, times(s)), times(s)
        eps = guidance.guided_eps(prior, x_t, t, conditions, scale)
    query = Query(prior, conditions, 0.0, torch.Generator().manual_seed(0))
    *_, x = cached_noise_sdi(query, x_T, scale=scale, times=grid)
    assert float((x - levels.clean(x_t, eps, t)).abs().max()) < 1e-3


def test_the_error_of_an_unknown_word_names_the_nearest_ones(prior: ToyboxPrior) -> None:
    with pytest.raises(ValueError, match=r"'snowmann'.*snowman"):
        prior.conditions(Prompt("a purple snowmann"), None, 1)


def test_missing_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no Toybox weights at .*train_toybox"):
        ToyboxPrior.load(tmp_path / "none.safetensors")
    with safe_open(toybox.WEIGHTS, "pt") as file:
        about = file.metadata() | {"vocabulary": "other words"}
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, foreign, about)
    with pytest.raises(ValueError, match="another vocabulary"):
        ToyboxPrior.load(foreign)


def test_weights_are_saved_with_all_that_loading_needs(prior: ToyboxPrior, tmp_path: Path) -> None:
    path = tmp_path / "copy.safetensors"
    toybox.save(path, prior.net)
    again = ToyboxPrior.load(path, dtype=torch.float32)
    text = captions.tokenize("a red car, front view")
    assert len(text) == captions.CONTEXT
    x_t, t = noise_image(1), times(0.5, 1)
    first, second = (p.eps(x_t, t, p.encode_text(["a red car"]))[0] for p in (prior, again))
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)
