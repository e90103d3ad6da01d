"""A diffusers pipeline in memory, with the interface of a `hub.Checkpoint`."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from scoredistill.priors.diffusers.fetch import model_name


class PipelineCheckpoint:
    """The parts of a pipeline in memory.

    A network is a copy of the structure of the pipeline's own, around the same memory of its weights: the prior's
    settings (evaluation mode, gradients disabled, slicing and checkpointing of the autoencoder) do not change the
    pipeline, and take no second copy of the weights. Weights that the pipeline changes in place, the prior sees; LoRA
    that is loaded into the pipeline later, it does not.
    """

    def __init__(self, pipeline: Any, name: str = "") -> None:
        if not hasattr(pipeline, "components") or not hasattr(pipeline, "config"):
            raise ValueError(f"from_pipeline needs a diffusers pipeline, got a {type(pipeline).__name__}")
        self.pipeline = pipeline
        self.name = name or str(pipeline.config.get("_name_or_path") or type(pipeline).__name__)
        self.components = {
            name: getattr(component, "_orig_mod", component)  # what torch.compile wraps
            for name, component in pipeline.components.items()
            if component is not None
        }
        self.index: dict[str, Any] = dict(pipeline.config)
        for name, component in self.components.items():
            self.index[name] = [type(component).__module__.partition(".")[0], type(component).__name__]
        if any(hasattr(component, "_hf_hook") for component in self.components.values()):
            raise ValueError(
                "the pipeline offloads its modules between uses; call pipeline.remove_all_hooks() and "
                'pipeline.to("cuda") first'
            )

    def __str__(self) -> str:
        return self.name

    @property
    def model(self) -> str:
        """The name of the model, without the folders around it."""
        return model_name(self.name)

    def has(self, part: str) -> bool:
        """Whether the pipeline has a part of this name."""
        return part in self.components

    def kind(self, part: str) -> str:
        """The class of a part; ValueError if there is no such part."""
        if not self.has(part):
            raise ValueError(f"{self} has no part {part!r}; it has: {', '.join(self.components)}")
        return type(self.components[part]).__name__

    def settings(self, part: str, name: str = "config.json") -> dict[str, Any]:
        """The configuration of a part, with the name of its class."""
        component = self.components[part]
        config = component.config
        plain = dict(config) if isinstance(config, dict) else config.to_dict()
        return {"_class_name": type(component).__name__} | plain

    def network(self, part: str, dtype: torch.dtype) -> nn.Module:
        """A part that shares its weights with the pipeline, or a converted copy if these are not in `dtype`."""
        network = sharing_weights(self.components[part])
        if next(network.parameters()).dtype != dtype:
            network = network.to(dtype)
        return network.eval().requires_grad_(False)

    def tokenizer(self, part: str) -> Any:
        """A tokenizer whose settings are independent of the pipeline's."""
        return copy.copy(self.components[part])


def sharing_weights(network: nn.Module) -> nn.Module:
    """A copy of a network's structure; its parameters are new objects without gradient around the same memory."""
    shared: dict[int, Any] = {id(buffer): buffer for buffer in network.buffers()}
    for parameter in network.parameters():
        plain = type(parameter) is nn.Parameter  # quantized ones are classes of their own
        shared[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False) if plain else parameter
    return copy.deepcopy(network, shared)
