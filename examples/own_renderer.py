"""SDI as a loss on your own renderer: a notebook, five minutes on one CPU core.

    python examples/own_renderer.py

The renderer, its parameters, its optimizer and the loop are yours; the method gives the gradient of the images.
"""

# %% [markdown]
# # SDI as a loss on your own renderer
#
# You have a differentiable renderer and a training loop, as in the examples of gsplat or nerfstudio, and want a text
# prompt to be the loss. Three objects are enough, without this package's scenes and training loop: a *prior* (the
# diffusion model), its *conditions* (text and cameras), and a *method*, which returns the gradient with respect to the
# image.

# %%
from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from scoredistill import SDI, Cameras, OrbitConfig, Prompt, Query, load_prior, ring
from scoredistill.export.images import grid, write_png
from scoredistill.toybox import BACKGROUND

PROMPT = "a red strawberry"
PRIOR = "toybox-mv"  # four views at once; "sd" or another published model works in the same way
STEPS = 200
VIEWS = 4  # camera views per optimization step
SPLATS = 1500
SIZE = 64  # render resolution in pixels: that of the prior
torch.manual_seed(0)

# %% [markdown]
# ## The renderer
#
# Isotropic Gaussian splats in plain PyTorch, with the arguments of gsplat's `rasterization` (without quaternions):
# world-to-camera matrices, OpenCV cameras, intrinsics in pixels. The renderer is independent of score distillation. You
# can replace it by `gsplat.rasterization`, nvdiffrast, a NeRF, or a program that draws strokes.


# %%
def rasterize(means: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, views: Tensor, Ks: Tensor) -> Tensor:
    """Pictures [B 3 H W] in [0, 1] of N splats: means [N 3], scales [N], opacities [N], colors [N 3]."""
    pixels = torch.stack(torch.meshgrid(*[torch.arange(SIZE) + 0.5] * 2, indexing="xy"), -1).reshape(-1, 2)
    pictures = []
    for view, K in zip(views, Ks, strict=True):
        x, y, z = (means @ view[:3, :3].T + view[:3, 3]).unbind(-1)
        front_first = z.argsort()
        centers = torch.stack([K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]], -1)[front_first]
        radii = (K[0, 0] * scales / z)[front_first]
        distances = (pixels[:, None] - centers).square().sum(-1)
        alpha = opacities[front_first] * torch.exp(-distances / (2 * radii**2))
        through = torch.cumprod(1 - alpha, -1)
        seen = alpha * torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], -1)
        rgb = seen @ colors[front_first] + through[:, -1:] * background
        pictures.append(rgb.T.reshape(3, SIZE, SIZE))
    return torch.stack(pictures)


# %% [markdown]
# ## The prior and the method
#
# A method is prepared for one prior. `SDI.toybox` returns the settings tuned on the embedded priors. With a published
# model use `SDI.official()` and compute latents with `prior.encode`, through which the gradient flows back.

# %%
prior = load_prior(PRIOR)
method = SDI.toybox(flat=False).prepare(prior, seed=0)
prompt = Prompt(PROMPT)
rng = torch.Generator().manual_seed(0)
background = torch.tensor(BACKGROUND)  # of the pictures on which Toybox's priors were trained


def loss_of(rgb: Tensor, query: Query) -> Tensor:
    """A number whose gradient with respect to the pictures is the method's (its value means nothing)."""
    x = prior.encode(rgb, rng)
    answer = method(replace(query, rgb=rgb.detach()), x.detach())
    loss = (x * answer.grad).sum()
    return loss if answer.grad_rgb is None else loss + (rgb * answer.grad_rgb).sum()


# %% [markdown]
# ## The training loop
#
# The cameras describe where an image was taken from: the prior needs this for view-dependent prompting, the renderer
# for its matrices. A query also contains the progress of the run, since SDI's t decreases with it. Further loss terms
# are added as usual.

# %%
means = 0.6 * torch.randn(SPLATS, 3) / math.sqrt(3)
parameters = {
    "means": (means.requires_grad_(), 5e-3),
    "scales": (torch.full((SPLATS,), math.log(0.05)).requires_grad_(), 1e-2),
    "opacities": (torch.full((SPLATS,), -1.0).requires_grad_(), 3e-2),
    "colors": (torch.zeros(SPLATS, 3).requires_grad_(), 3e-2),
}
adam = torch.optim.Adam([{"params": [value], "lr": rate} for value, rate in parameters.values()], betas=(0.9, 0.99))


def render(cameras: Cameras) -> Tensor:
    """My scene from some cameras: [B 3 H W]."""
    values = {name: value for name, (value, _) in parameters.items()}
    return rasterize(
        values["means"],
        values["scales"].exp(),
        values["opacities"].sigmoid(),
        values["colors"].sigmoid(),
        cameras.c2w.inverse(),
        cameras.intrinsics(),
    )


for step in range(STEPS):
    cameras = OrbitConfig().cameras(VIEWS, rng, resolution=SIZE, group=prior.views)
    query = Query(prior, prior.conditions(prompt, cameras, VIEWS), step / STEPS, rng, cameras=cameras)
    loss = loss_of(render(cameras), query)
    adam.zero_grad()
    loss.backward()
    adam.step()

# %% [markdown]
# ## The result

# %%
with torch.no_grad():
    views = render(ring(8, SIZE))
write_png(grid(views.clamp(0, 1), columns=4), Path("own_renderer.png"))
print("own_renderer.png")

# %% [markdown]
# `own_renderer.png`. Eight views around the object, the front first: a strawberry with seeds on all sides.

# %% [markdown]
# A method with a state (DSD's trajectory, CFD's noise map) has `method.start()`: call it once and pass the result to
# every query as `state=`. VSD and ESD also train a second score network; `optimize` shows how
# (`scoredistill/optimize.py`, one page). With `optimize`, the loop above becomes a single `for`, and the renderer a
# class with a method `render`, as the page "Extending" shows.
