"""Priors of published models are equal to diffusers' own pipelines and schedulers, and can be distilled."""

from __future__ import annotations

import gc
import itertools
import weakref
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, DiffusionPipeline
from torch import Tensor

from scoredistill import schedule
from scoredistill.camera import ring
from scoredistill.contracts import Conditions, Prior, Prompt
from scoredistill.methods.dsd import DSD
from scoredistill.methods.guidance import guided_eps
from scoredistill.methods.inversion import ascend
from scoredistill.methods.sdi import SDI
from scoredistill.optimize import optimize
from scoredistill.priors.diffusers.denoisers import LUMINA2_PREFIX
from scoredistill.priors.diffusers.prior import DiffusersPrior
from scoredistill.priors.diffusers.scheduler import read_schedule
from scoredistill.priors.parametrization import eps_from
from scoredistill.scenes.image import Image
from scoredistill.views import no_cameras

PROMPT, NEGATIVE, SCALE = "a hamburger", "ugly, blurry", 5.0
LATENT = [family for family in tiny_pipelines.FAMILIES if family != "if"]
FLOWS = ("sd3", "auraflow", "lumina2")
MASKED = ("auraflow", "lumina2")  # their pipelines return a mask with every embedding
Saved = tuple[Path, DiffusionPipeline]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Saved]:
    """Folder and pipeline of every family."""
    folders = {family: tmp_path_factory.mktemp(family) for family in tiny_pipelines.FAMILIES}
    return {family: (folder, tiny_pipelines.save(family, folder)) for family, folder in folders.items()}


@pytest.fixture(scope="module")
def priors(saved: dict[str, Saved]) -> dict[str, DiffusersPrior]:
    return {family: DiffusersPrior.load(str(folder), dtype=torch.float32) for family, (folder, _) in saved.items()}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noisy(prior: DiffusersPrior, count: int = 2) -> Tensor:
    """Noise of the shape that the prior denoises."""
    return randn(*prior.encode(torch.rand(count, 3, 8, 8)).shape)


def masked(tokens: Tensor, mask: Tensor) -> Tensor:
    """Zeros in place of padding; the mask of AuraFlow is repeated for every feature."""
    mask = mask.reshape(*tokens.shape[:2], -1)[..., :1]
    assert 0 < int(mask.sum()) < len(mask[0])
    return mask * tokens


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance * float(expected.detach().abs().max()), rtol=0)


@pytest.mark.parametrize("family", tiny_pipelines.FAMILIES)
def test_texts_are_encoded_as_the_pipeline_does(
    family: str, saved: dict[str, Saved], priors: dict[str, DiffusersPrior]
) -> None:
    """Prompt, negative prompt and no prompt: tokens and pooled vectors."""
    _, pipeline = saved[family]
    encode: Any = pipeline.encode_prompt  # type: ignore[attr-defined] (every pipeline's own)
    third = (None,) * {"sdxl": 1, "sd3": 2}.get(family, 0)
    where = {} if family == "if" else {"num_images_per_prompt": 1, "device": "cpu"}

    def encoded(negative: str | None) -> tuple[Tensor, ...]:
        return encode(PROMPT, *third, do_classifier_free_guidance=True, negative_prompt=negative, **where)

    for negative in (NEGATIVE, None):
        conditions = priors[family].conditions(Prompt(PROMPT, negative or ""), None, 1)
        if family in MASKED:
            text, mask, null, null_mask = encoded(negative)
            text, null, pooled = masked(text, mask), masked(null, null_mask), []
        else:
            text, null, *pooled = encoded(negative)
        close(conditions.text.tokens, text)
        close(conditions.null.tokens, null)
        for found, expected in zip((conditions.text.pooled, conditions.null.pooled), pooled, strict=bool(pooled)):
            close(found, expected)


def ddim(config: Any) -> DDIMScheduler:
    return DDIMScheduler.from_config(config, clip_sample=False, set_alpha_to_one=False, timestep_spacing="leading")


def sampled(prior: DiffusersPrior, x: Tensor, conditions: Conditions, times: list[float]) -> Tensor:
    """DDIM along descending times; the network is not evaluated at the last one."""
    for t, s in itertools.pairwise(torch.tensor([[t] for t in times], dtype=torch.float64)):
        eps = guided_eps(prior, x, t, conditions, SCALE)
        x = prior.schedule.move(x, eps, t, s)
    return x


def test_view_words_are_next_to_the_prompt_behind_the_instruction_of_its_model(saved: dict[str, Saved]) -> None:
    folder, _ = saved["lumina2"]
    prior = DiffusersPrior.load(str(folder), dtype=torch.float32, view_prompting="prefix")
    conditions = prior.conditions(Prompt(PROMPT), ring(1, 8), 1)
    assert conditions.keys == (f"{LUMINA2_PREFIX}front view of {PROMPT}",)


@pytest.mark.parametrize("family", LATENT)
def test_samples_equal_those_of_the_pipeline(
    family: str, saved: dict[str, Saved], priors: dict[str, DiffusersPrior]
) -> None:
    """Text, denoiser, guidance, parametrization, schedule, DDIM and the way back to pixels, all in one."""
    _, pipeline = saved[family]
    prior, arguments = priors[family], dict[str, Any]()
    start = noisy(prior, 1)
    if family in FLOWS:
        times = [0.9, 0.7, 0.5, 0.3, 0.1, 0.0]
        arguments["sigmas"] = times[:-1]
    if family == "lumina2":
        arguments["cfg_normalization"] = False  # of its sampler, not of the model
    if family not in FLOWS:
        pipeline.scheduler = ddim(pipeline.scheduler.config)  # type: ignore[attr-defined]
        times = [0.801, 0.601, 0.401, 0.201, 0.001, 0.0]
    settings = {"guidance_scale": SCALE, "latents": start, "num_inference_steps": 5, "return_dict": False} | arguments
    latents = pipeline(PROMPT, negative_prompt=NEGATIVE, output_type="latent", **settings)[0]
    found = sampled(prior, start, prior.conditions(Prompt(PROMPT, NEGATIVE), None, 1), times)
    close(found, latents)
    pixels = pipeline(PROMPT, negative_prompt=NEGATIVE, output_type="pt", **settings)[0]
    close(prior.decode(found).clamp(0, 1), pixels)


def test_the_pixel_cascade_equals_its_pipeline(saved: dict[str, Saved], priors: dict[str, DiffusersPrior]) -> None:
    """The recorded inputs of the pipeline's scheduler; the first three of six channels are the noise."""
    _, pipeline = saved["if"]
    prior, records = priors["if"], []
    step = pipeline.scheduler.step  # type: ignore[attr-defined]

    def recording(output: Tensor, t: Tensor, x_t: Tensor, **settings: Any) -> Any:
        records.append((output, t, x_t))
        return step(output, t, x_t, **settings)

    pipeline.scheduler.step = recording  # type: ignore[attr-defined]
    rng = torch.Generator().manual_seed(0)
    pipeline(
        PROMPT, negative_prompt=NEGATIVE, guidance_scale=SCALE, num_inference_steps=3, output_type="pt", generator=rng
    )
    conditions = prior.conditions(Prompt(PROMPT, NEGATIVE), None, 1)
    assert len(records) == 3
    for output, t, x_t in records:
        assert output.shape[1] == 2 * x_t.shape[1]
        close(guided_eps(prior, x_t, t[None].double() / 1000, conditions, SCALE), output[:, :3])


@pytest.mark.parametrize("family", LATENT)
def test_latents_equal_those_of_the_autoencoder(
    family: str, saved: dict[str, Saved], priors: dict[str, DiffusersPrior]
) -> None:
    """(mean - shift) scale without a generator, a sample of the posterior with one; published scales and shifts."""
    _, pipeline = saved[family]
    vae: Any = pipeline.vae  # type: ignore[attr-defined]
    rgb = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    posterior = vae.encode(2 * rgb - 1).latent_dist
    scale, shift = {
        "sdxl": (0.13025, 0),
        "auraflow": (0.13025, 0),
        "sd3": (1.5305, 0.0609),
        "lumina2": (0.3611, 0.1159),
    }.get(family, (0.18215, 0))
    close(priors[family].encode(rgb), (posterior.mode() - shift) * scale)
    drawn = posterior.sample(torch.Generator().manual_seed(1))
    close(priors[family].encode(rgb, torch.Generator().manual_seed(1)), (drawn - shift) * scale)


@pytest.mark.parametrize("family", tiny_pipelines.FAMILIES)
def test_encoding_is_differentiable(family: str, priors: dict[str, DiffusersPrior]) -> None:
    """The gradient with checkpointing equals a finite difference; images of a batch are independent."""
    prior = priors[family]
    rgb = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)).requires_grad_()
    weight = randn(*prior.encode(rgb).shape)
    (gradient,) = torch.autograd.grad((weight[0] * prior.encode(rgb)[0]).sum(), rgb)
    assert not gradient[1].any()
    direction, h = randn(*rgb.shape, seed=3), 2e-3
    with torch.no_grad():
        ahead, behind = (float((weight[0] * prior.encode(rgb + side * h * direction)[0]).sum()) for side in (1, -1))
    assert float((gradient * direction).sum()) == pytest.approx((ahead - behind) / (2 * h), rel=1e-2)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_step_equals_that_of_the_scheduler(prediction: str) -> None:
    """`move` with eps_from(output) equals a step of DDIMScheduler, and upwards of DDIMInverseScheduler."""
    x_t, output = randn(2, 4, 8, 8), randn(2, 4, 8, 8, seed=1)
    there: Any = DDIMScheduler(
        **tiny_pipelines.BETAS, prediction_type=prediction, clip_sample=False, set_alpha_to_one=False
    )
    back: Any = DDIMInverseScheduler.from_config(there.config, clip_sample=False)
    levels, kind = read_schedule({"_class_name": "DDIMScheduler"} | there.config)
    there.set_timesteps(5)
    back.set_timesteps(5)
    assert sorted(there.timesteps.tolist()) == back.timesteps.tolist() == [1, 201, 401, 601, 801]
    for high in (201, 401, 601, 801):
        t, s = (torch.full((2,), index / 1000, dtype=torch.float64) for index in (high, high - 200))
        found = levels.move(x_t, eps_from(kind, output, x_t, t, levels), t, s)
        close(found, there.step(output, high, x_t).prev_sample)
        found = levels.move(x_t, eps_from(kind, output, x_t, s, levels), s, t)
        close(found, back.step(output, high, x_t).prev_sample)


def test_inversion_equals_the_inverse_scheduler(saved: dict[str, Saved], priors: dict[str, DiffusersPrior]) -> None:
    """Up from the lowest level, the prior evaluated at the source of each step, as in our inversion."""
    prior = priors["sd15"]
    conditions, x = prior.conditions(Prompt(PROMPT), None, 1), noisy(prior, 1)
    back: Any = DDIMInverseScheduler(**tiny_pipelines.BETAS | {"steps_offset": 0}, clip_sample=False)
    back.set_timesteps(5)
    levels = torch.tensor([[0.0], [0.2], [0.4], [0.6], [0.8]], dtype=torch.float64)
    x_t = prior.schedule.alpha(levels[0], x) * x
    for source, target in itertools.pairwise(levels):
        eps = guided_eps(prior, x_t, source, conditions, -2.0)
        x_t = back.step(eps, round(1000 * float(target)), x_t).prev_sample
    found = prior.schedule.alpha(levels[-1], x) * ascend(prior, x, levels, conditions, -2.0)
    close(found, x_t)


@pytest.mark.parametrize("family", tiny_pipelines.FAMILIES)
@pytest.mark.parametrize("method", [SDI, DSD])
def test_two_steps_of_distillation(family: str, method: Any, priors: dict[str, DiffusersPrior]) -> None:
    """Gradients have the shape of the latents and reach every pixel; pixels move by about the learning rate."""
    prior = priors[family]
    assert isinstance(prior, Prior)
    scene = Image(0.5 + 0.1 * randn(2, 3, 16, 16), lr=1e-2)
    before, calls = scene.pixels.detach().clone(), prior.calls
    background = torch.ones(3)
    steps = list(optimize(scene, prior, method(), no_cameras, Prompt(PROMPT), steps=2, background=background))
    for step in steps:
        assert step.distilled.grad.shape == step.x.shape == (2, *noisy(prior).shape[1:])
        assert step.distilled.probe["x0"].shape == step.x.shape
    moved = (scene.pixels.detach() - before).abs()
    assert bool((moved > 0).all())
    assert 5e-3 < float(moved.mean()) < 2.1e-2
    assert prior.calls > calls + 3


def test_text_encoders_are_freed_and_each_text_is_encoded_once(saved: dict[str, Saved]) -> None:
    prior = DiffusersPrior.load(str(saved["sd15"][0]), dtype=torch.float32)
    load, alive, encoded = prior.texts.load, [], []

    def counting() -> Any:
        encode = load()
        alive.append(weakref.ref(encode))
        return lambda texts: encoded.extend(texts) or encode(texts)

    prior.texts.load = counting
    prompt = Prompt(PROMPT, NEGATIVE)
    prior.conditions(prompt, None, 1)
    gc.collect()
    assert [reference() for reference in alive] == [None]
    prior.conditions(prompt, ring(4, 16), 4)
    prior.conditions(prompt, ring(3, 16), 3)
    assert len(alive) == 1
    assert sorted(encoded) == sorted(set(encoded))
    assert {f"{PROMPT}, back view", NEGATIVE, "", PROMPT} <= set(encoded)


def test_half_precision_is_close_to_float32(saved: dict[str, Saved], priors: dict[str, DiffusersPrior]) -> None:
    """In bfloat16; inputs and outputs stay float32."""
    for family in ("sd21", "sd3"):
        full, half = priors[family], DiffusersPrior.load(str(saved[family][0]), dtype=torch.bfloat16)
        t, rgb = torch.tensor([0.5, 0.8], dtype=torch.float64), torch.rand(2, 3, 16, 16)
        found, expected = half.encode(rgb), full.encode(rgb)
        assert found.dtype == torch.float32
        close(found, expected, 0.05)
        x_t = noisy(full)
        found, expected = (
            prior.eps(x_t, t, prior.conditions(Prompt(PROMPT), None, 2).text)[0] for prior in (half, full)
        )
        assert found.dtype == torch.float32
        close(found, expected, 0.05)


def test_in_float16_small_gradients_reach_the_pixels(
    saved: dict[str, Saved], priors: dict[str, DiffusersPrior]
) -> None:
    """Gradients of 1e-8 per latent, too small for float16: the autoencoder stays in float32."""
    for family in ("sd21", "sdxl"):
        half = DiffusersPrior.load(str(saved[family][0]), dtype=torch.float16)
        grads = []
        for prior in (half, priors[family]):
            rgb = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
            x = prior.encode(rgb)
            (1e-8 * x).sum().backward()
            grads.append(rgb.grad)
        close(grads[0], grads[1])
        t, prompt = torch.tensor([0.5], dtype=torch.float64), Prompt(PROMPT)
        found, expected = (
            prior.eps(x.detach(), t, prior.conditions(prompt, None, 1).text)[0] for prior in (half, priors[family])
        )
        close(found, expected, 0.01)


def test_the_time_input_of_a_flow(priors: dict[str, DiffusersPrior]) -> None:
    """SD3's shift of 3: sigma = 3 t / (1 + 2 t), and the time input of the network is 1000 sigma."""
    prior = priors["sd3"]
    t = torch.tensor([0.0, 0.25, 0.5, 0.9], dtype=torch.float64)
    expected = torch.tensor([0.0, 500.0, 750.0, 2700 / 2.8], dtype=torch.float64)
    torch.testing.assert_close(prior.time(t), expected)
    torch.testing.assert_close(prior.schedule.sigmas, schedule.rectified_flow(shift=3.0).sigmas)
    assert float(prior.schedule.sbar(t[1:2], torch.zeros(1))) == 1
