"""The evaluation of each kind of published network: one function each.

x_t    noisy images in the prior's space                             [B C h w]
time   time input of the network: timestep index or 1000 sigma       [B]
view   camera embedding of a learner, added to the time embedding    [B E]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scoredistill.priors.diffusers.text import Embedded
from scoredistill.priors.network import Time, X

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
"""Name endings of the layers that a learner adapts: the attention projections, as in the official code of VSD."""

STEPS = 1000.0  # of the time of all published flow models
LUMINA2_PREFIX = (
    "You are an assistant designed to generate superior images with the superior degree of image-text alignment based "
    "on textual prompts or user prompts. <Prompt Start> "
)


@dataclass(frozen=True)
class Denoiser:
    """A kind of network: its subfolder, the layer that outputs the time embedding, and the function to evaluate it.

    `prefix` is put before every prompt, as in training, but not before negative prompts.
    """

    part: str
    embedding: str
    evaluate: Callable[[Any, X, Time, Embedded, int], Tensor]
    prefix: str = ""

    def __call__(
        self, net: nn.Module, x_t: X, time: Time, condition: Embedded, size: int, view: Tensor | None = None
    ) -> X:
        """The network's output for x_t, in the precision of x_t, of images of `size` pixels; `view` is optional."""
        dtype = condition.tokens.dtype
        with added(net.get_submodule(self.embedding), view):
            output = self.evaluate(net, x_t.to(dtype), time.to(x_t.device, torch.float32), condition, size)
        return output.to(x_t.dtype)

    def width(self, net: nn.Module) -> int:
        """Channels of the time embedding."""
        layers = [layer for layer in net.get_submodule(self.embedding).modules() if isinstance(layer, nn.Linear)]
        return layers[-1].out_features


def evaluate_unet(net: Any, x_t: X, time: Time, condition: Embedded, size: int) -> Tensor:
    """A U-Net of Stable Diffusion 1 and 2, SDXL or DeepFloyd IF; the learned variance of IF is discarded.

    SDXL is also conditioned on original size, crop and target size: `size`, 0 and `size`.
    """
    extra = None
    if condition.pooled is not None:
        sizes = torch.tensor([size, size, 0, 0, size, size], dtype=x_t.dtype, device=x_t.device)
        extra = {"text_embeds": condition.pooled, "time_ids": sizes.expand(len(x_t), -1)}
    output = net(x_t, time, condition.tokens, added_cond_kwargs=extra, return_dict=False)[0]
    return output[:, : x_t.shape[1]]


def evaluate_sd3(net: Any, x_t: X, time: Time, condition: Embedded, size: int) -> Tensor:
    """A transformer of Stable Diffusion 3 and 3.5."""
    return net(x_t, condition.tokens, condition.pooled, time, return_dict=False)[0]


def evaluate_auraflow(net: Any, x_t: X, time: Time, condition: Embedded, size: int) -> Tensor:
    """A transformer of AuraFlow; its time input is sigma."""
    return net(x_t, condition.tokens, time / STEPS, return_dict=False)[0]


def evaluate_lumina2(net: Any, x_t: X, time: Time, condition: Embedded, size: int) -> Tensor:
    """A transformer of Lumina-Image 2.0, whose flow goes from noise to image: time 1 - sigma, output -v."""
    return -net(x_t, 1 - time / STEPS, condition.tokens, condition.mask, return_dict=False)[0]


DENOISERS = {
    "UNet2DConditionModel": Denoiser("unet", "time_embedding", evaluate_unet),
    "SD3Transformer2DModel": Denoiser("transformer", "time_text_embed", evaluate_sd3),
    "AuraFlowTransformer2DModel": Denoiser("transformer", "time_step_proj", evaluate_auraflow),
    "Lumina2Transformer2DModel": Denoiser(
        "transformer", "time_caption_embed.timestep_embedder", evaluate_lumina2, LUMINA2_PREFIX
    ),
}
"""By the class name in model_index.json."""


@contextmanager
def added(layer: nn.Module, view: Tensor | None) -> Iterator[None]:
    """In this context `view` [B E] is added to the output of the layer."""
    if view is None:
        yield
        return

    def add(_layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output + view.to(output.dtype)

    handle = layer.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
