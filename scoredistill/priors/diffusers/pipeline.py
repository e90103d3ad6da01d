"""A diffusers pipeline that is already in memory, with the interface of a `hub.Checkpoint`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class PipelineCheckpoint:
    """The parts of a pipeline in memory: networks and tokenizers are the pipeline's own objects."""

    def __init__(self, pipeline: Any) -> None:
        if not hasattr(pipeline, "components") or not hasattr(pipeline, "config"):
            raise ValueError(f"a diffusers pipeline is needed, got a {type(pipeline).__name__}")
        self.pipeline = pipeline
        self.index: dict[str, Any] = dict(pipeline.config)
        for name, component in pipeline.components.items():
            if component is not None:
                library = type(component).__module__.partition(".")[0]
                self.index[name] = [library, type(component).__name__]

    def __str__(self) -> str:
        return str(self.pipeline.config.get("_name_or_path") or type(self.pipeline).__name__)

    def has(self, part: str) -> bool:
        """Whether the pipeline has a part of this name."""
        return getattr(self.pipeline, part, None) is not None

    def kind(self, part: str) -> str:
        """The class of a part; ValueError where there is no such part."""
        if not self.has(part):
            raise ValueError(f"{self} has no part {part!r}")
        return type(getattr(self.pipeline, part)).__name__

    def settings(self, part: str, name: str = "config.json") -> dict[str, Any]:
        """A part's own configuration, with the name of its class."""
        component = getattr(self.pipeline, part)
        config = component.config
        plain = dict(config) if isinstance(config, dict) else config.to_dict()
        return {"_class_name": type(component).__name__} | plain

    def network(self, part: str, dtype: torch.dtype | None) -> nn.Module:
        """The pipeline's own module, in its own precision, without gradients to its parameters."""
        return getattr(self.pipeline, part).eval().requires_grad_(False)

    def tokenizer(self, part: str) -> Any:
        """The pipeline's own tokenizer."""
        return getattr(self.pipeline, part)
