"""Priors of diffusers pipelines in memory: equal to those of the saved folder, and the pipeline is not changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_lora
import tiny_pipelines
import torch
from torch import Tensor

from scoredistill.camera import ring
from scoredistill.contracts import Prompt
from scoredistill.priors.diffusers import DiffusersPrior

PROMPT = "a hamburger"


def predictions(prior: DiffusersPrior, seed: int = 0) -> list[Tensor]:
    """eps of three views under all their conditions, encoded and decoded images, and the embeddings themselves."""
    rng = torch.Generator().manual_seed(seed)
    rgb = torch.rand(3, 3, 16, 16, generator=rng)
    x = prior.encode(rgb, rng)
    conditions = prior.conditions(Prompt(PROMPT, "ugly"), ring(3, 16), 3)
    rows = [conditions.text, conditions.null, conditions.plain, *(view for view, _ in conditions.perpendicular)]
    t = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    return [
        x,
        prior.decode(x),
        *(row.tokens for row in rows),
        *prior.eps(torch.randn(x.shape, generator=rng), t, *rows),
    ]


def close(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("family", tiny_pipelines.FAMILIES)
def test_a_pipeline_in_memory_and_its_folder_are_the_same_prior(family: str, tmp_path: Path) -> None:
    pipeline = tiny_pipelines.save(family, tmp_path)
    settings: dict[str, Any] = {"view_prompting": "perp-neg"}
    folder = DiffusersPrior.load(str(tmp_path), dtype=torch.float32, **settings)
    memory = DiffusersPrior.from_pipeline(pipeline, **settings)
    close(predictions(memory), predictions(folder))
    assert memory.needs == folder.needs
    assert memory.space.size == folder.space.size
    assert torch.equal(memory.schedule.sigmas, folder.schedule.sigmas)
    assert DiffusersPrior.from_pipeline(pipeline, size=8).space.size == 8


def state(pipeline: Any) -> dict[str, Any]:
    """Everything of a pipeline's modules that a prior could change."""
    found: dict[str, Any] = {}
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            found |= {f"{name}.{key}": (each.requires_grad, each.stride()) for key, each in part.named_parameters()}
            found |= {f"{name}.{key}.training": module.training for key, module in part.named_modules()}
        found[f"{name}.side"] = getattr(part, "padding_side", None)
    slicing = pipeline.vae.use_slicing, any(getattr(m, "gradient_checkpointing", 0) for m in pipeline.vae.modules())
    return found | {"slicing": slicing}


@pytest.mark.parametrize("family", ["sd21", "lumina2"])
def test_the_pipeline_is_not_changed(family: str, tmp_path: Path) -> None:
    pipeline: Any = tiny_pipelines.save(family, tmp_path)
    pipeline.vae.train()
    before = state(pipeline)
    prior = DiffusersPrior.from_pipeline(pipeline)
    predictions(prior)
    assert state(pipeline) == before
    part = prior.denoiser.part
    pairs = zip(prior.net.parameters(), getattr(pipeline, part).parameters(), strict=True)
    assert all(ours.data_ptr() == theirs.data_ptr() for ours, theirs in pairs)


def test_a_pipeline_in_half_precision(tmp_path: Path) -> None:
    """Each part in its own precision; an autoencoder that overflows in float16 becomes a float32 copy."""
    pipeline: Any = tiny_pipelines.save("sdxl", tmp_path).to(torch.float16)
    pipeline.text_encoder.float()
    prior: Any = DiffusersPrior.from_pipeline(pipeline)
    assert prior.space.vae.dtype == torch.float32
    assert pipeline.vae.dtype == torch.float16
    found, expected = predictions(prior), predictions(DiffusersPrior.load(str(tmp_path), dtype=torch.float16))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0.02 * float(other.abs().max()))


def test_lora_of_a_pipeline_is_honored(tmp_path: Path) -> None:
    """Loaded or fused adapters are part of the prior; only fused ones can have a learner beside them."""
    pipeline: Any = tiny_pipelines.save("sd15", tmp_path / "sd15")
    plain = predictions(DiffusersPrior.from_pipeline(pipeline))
    pipeline.load_lora_weights(str(tiny_lora.diffusers_format(pipeline, tmp_path)))
    loaded = DiffusersPrior.from_pipeline(pipeline)
    with pytest.raises(ValueError, match=r"LoRA adapters that are not fused: call pipeline\.fuse_lora"):
        loaded.learner()
    with_lora = predictions(loaded)
    assert all(not torch.allclose(one, other) for one, other in zip(with_lora[2:], plain[2:], strict=True))
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    fused = DiffusersPrior.from_pipeline(pipeline)
    close(predictions(fused), with_lora)
    fused.learner()


def test_what_is_not_a_supported_pipeline(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a diffusers pipeline, got a Linear"):
        DiffusersPrior.from_pipeline(torch.nn.Linear(1, 1))
    pipeline: Any = tiny_pipelines.save("sd15", tmp_path)
    pipeline.unet._hf_hook = object()  # as enable_model_cpu_offload leaves it
    with pytest.raises(ValueError, match="offloads its modules between uses"):
        DiffusersPrior.from_pipeline(pipeline)
    del pipeline.unet._hf_hook
    pipeline.unet = None
    with pytest.raises(ValueError, match="holds no denoiser"):
        DiffusersPrior.from_pipeline(pipeline)
