"""Low-rank adapters of the library peft, for learners on published networks (VSD, ESD)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from scoredistill.priors.low_rank_learner import Start, down_std

NAME = "learner"  # of the adapters in peft


def peft_adapters(
    net: nn.Module, layers: Sequence[str], rank: int, rng: torch.Generator, start: Start = "prior"
) -> nn.ModuleDict:
    """Put adapters of `rank` into the named linear layers of `net`: W x + up (down x), up = 0 (Hu et al. 2022, eq. 3).

    `net` is changed in place, its weights are not. The adapters are float32 at least, since steps of 1e-4 vanish in
    half precision; peft converts inputs and outputs.
    """
    import peft

    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=list(layers), bias="none")
    peft.inject_adapter_in_model(config, net, NAME)
    adapters = nn.ModuleDict()
    for layer in layers:
        adapted: Any = net.get_submodule(layer)
        down, up = adapted.lora_A[NAME], adapted.lora_B[NAME]
        dtype = torch.promote_types(down.weight.dtype, torch.float32)
        first = torch.randn(down.weight.shape, generator=rng) * down_std(start, rank, down.in_features)
        down.weight.data = first.to(down.weight.device, dtype)
        up.weight.data = up.weight.data.to(dtype)
        adapters[layer.replace(".", "-")] = nn.ModuleDict({"down": down, "up": up})
    return adapters
