"""toybox-sd: its words, its linear start, its training in small, and that diffusers and we draw the same image."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny_pipelines
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional

from scoredistill.contracts import Prompt
from scoredistill.evaluate.judge import Judge, Recognition
from scoredistill.methods import ddim
from scoredistill.priors.diffusers.hub import SHIPPED
from scoredistill.priors.load import describe_prior, is_toybox, load_prior
from scoredistill.toybox import captions, dataset
from tools import train_toybox_sd
from tools.toybox_sd import autoencoder, linear, networks, words


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Renders of six toys."""
    folder = tmp_path_factory.mktemp("data") / "toys"
    views = train_toybox_sd.VIEWS_PER_TOY
    dataset.make(folder, 6 * views, seed=5000, views_per_toy=views, size=networks.SIZE, workers=1)
    return folder


@pytest.fixture(scope="module")
def trained(renders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model after a step of each training."""
    out = tmp_path_factory.mktemp("sd")
    shared = {
        "data": renders,
        "views": 48,
        "seed": 0,
        "workers": 1,
        "device": "cpu",
        "every": 1,
        "steps": 1,
        "begin": None,
        "held_out": 2,
        "renderers": 1,
        "only_data": False,
        "only": None,
    }
    sizes = {"vae_minutes": 1, "vae_batch": 2, "vae_rate": 1e-4, "minutes": 1, "batch": 4, "rate": 1e-4}
    flags = argparse.Namespace(**shared, **sizes, out=out / "train", weights=out / "toybox-sd")
    train_toybox_sd.run(flags)
    return flags.weights


def patches(x: Tensor) -> Tensor:
    return functional.unfold(x, 8, stride=8).transpose(1, 2).flatten(0, 1).double()


def test_every_word_is_a_token() -> None:
    tokenizer = words.tokenizer()
    for word in captions.VOCABULARY[1:]:
        pieces = 2 if word == "3d" else 1  # CLIP divides digits from letters
        assert len(tokenizer(word).input_ids) == 2 + pieces
    assert tokenizer("zebra").input_ids[1:-1] != tokenizer("zero").input_ids[1:-1]


def test_the_tokenizer_is_the_one_that_ships() -> None:
    """Made anew at every training and at its resumption, it must number the words as the trained embeddings do."""
    shipped = json.loads((SHIPPED["toybox-sd"] / "tokenizer" / "vocab.json").read_text())
    assert words.tokenizer().get_vocab() == words.tokenizer().get_vocab() == shipped


def test_the_encoder_begins_with_principal_components(renders: Path) -> None:
    x = autoencoder.to_input(autoencoder.shards(renders)[0])
    vae = networks.autoencoder()
    linear.start(vae, x)
    with torch.no_grad():
        posterior = vae.encode(x).latent_dist
    z = posterior.mean * vae.config["scaling_factor"]
    ones = torch.ones(z.shape[0] * z.shape[2] * z.shape[3], 1, dtype=torch.float64)
    rows = torch.cat([z.flatten(2).transpose(1, 2).flatten(0, 1).double(), ones], 1)
    found = rows @ torch.linalg.lstsq(rows, patches(x)).solution
    centered = patches(x) - patches(x).mean(0)
    left = torch.linalg.svdvals(centered)[networks.CHANNELS :].square().sum() / centered.numel()
    assert (found - patches(x)).square().mean() < 1.6 * left  # components of components, of what is not background
    assert abs(float(z.square().mean()) - 1) < 0.3
    torch.testing.assert_close(posterior.std * vae.config["scaling_factor"], torch.full_like(z, linear.POSTERIOR))


@torch.no_grad()
def test_diffusers_and_we_draw_the_same_image(trained: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(trained, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)  # DDIM, at any steps
    x_T = torch.randn(1, networks.CHANNELS, networks.LATENT, networks.LATENT)
    size = {"height": networks.SIZE, "width": networks.SIZE}
    steps = {"timesteps": [999, *range(900, 0, -100)], "guidance_scale": 7.5}
    theirs = pipeline("a red car, front view", latents=x_T, output_type="pt", **steps, **size).images
    prior = load_prior(str(trained), dtype=torch.float32)
    conditions = prior.conditions(Prompt("a red car, front view"), None, 1)
    ours = prior.decode(ddim.sample(prior, x_T, conditions, scale=7.5, steps=10)).clamp(0, 1)
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


def test_a_model_of_toybox_words_is_judged_like_the_pixel_priors(trained: Path, tmp_path: Path) -> None:
    assert is_toybox(str(trained))
    assert describe_prior(str(trained)).published
    tiny_pipelines.save("sd15", tmp_path)
    assert not is_toybox(str(tmp_path))
    assert not is_toybox(str(tmp_path / "missing"))


def recognized(texts: Sequence[str], steps: int) -> Recognition:
    """What the judge sees in a sample of the shipped model for each text."""
    prior = load_prior("toybox-sd")
    shape = len(texts), networks.CHANNELS, networks.LATENT, networks.LATENT
    x_T = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    x = ddim.sample(prior, x_T, prior.conditions(Prompt(tuple(texts)), None, len(texts)), scale=7.5, steps=steps)
    return Judge.load().recognize(prior.decode(x).float().clamp(0, 1))


def test_the_shipped_model_draws_what_captions_say() -> None:
    texts = ("a green tree", "a white rabbit", "a blue cupcake", "a yellow mushroom")
    seen = recognized(texts, steps=20)
    wanted = [text.split()[1:] for text in texts]
    assert sum([color, kind] == each for color, kind, each in zip(seen.colors, seen.kinds, wanted, strict=True)) >= 3


def test_the_shipped_model_draws_every_kind() -> None:
    """Words whose ids were exchanged draw each other's toys: car and cat differ in an ending that ties with others."""
    kinds = sorted(captions.KINDS)
    seen = recognized([captions.phrase(captions.Description(kind, "red")) for kind in kinds], steps=10)
    right = {kind for kind, found in zip(kinds, seen.kinds, strict=True) if kind == found}
    assert {"car", "cat"} <= right and len(right) >= 28
    assert seen.colors.count("red") >= 28


def test_the_folder_is_small_and_says_what_it_is(trained: Path) -> None:
    assert sum(path.stat().st_size for path in trained.rglob("*")) < 40e6
    card = (trained / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert " dB on 2 held-out renders" in card
