"""CLIP (Radford et al. 2021) as published: features of images and texts, and the metrics that are made of them.

V images   N texts   D width of the features   rgb in [0, 1]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scoredistill.evaluate.networks import library


class Clip:
    """A published CLIP model with its tokenizer and its image processor, all of the transformers library."""

    def __init__(self, network: Any, tokenizer: Any, processor: Any) -> None:
        self.network = network.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.processor = processor

    @classmethod
    def load(cls, folder: Path) -> Clip:
        """The model in a folder, from safetensors, or from a pickle by torch's weights-only reader.

        ValueError in one line without the libraries, and for files that are missing or damaged.
        """
        transformers = library("transformers", "CLIP")
        try:
            network, found = transformers.CLIPModel.from_pretrained(
                folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
            tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # of many types, depending on what is wrong with the files
            raise ValueError(f"{folder} holds no CLIP model: {' '.join(str(error).split())[:300]}") from None
        if missing := sorted(found["missing_keys"]):
            raise ValueError(f"{folder}: the weights of CLIP lack {len(missing)} tensors, {missing[0]} among them")
        size = network.config.vision_config.image_size
        processor = transformers.CLIPImageProcessor(size={"shortest_edge": size}, crop_size=size)
        return cls(network, tokenizer, processor)

    @torch.no_grad()
    def image_features(self, rgb: Float[Tensor, "V 3 H W"]) -> Float[Tensor, "V D"]:
        """Unit features; the images are rounded to 8 bits, resized and cut as in the model's training."""
        pictures = list((255 * rgb.clamp(0, 1)).round().byte().cpu())
        pixels = self.processor(images=pictures, return_tensors="pt").pixel_values
        output = self.network.vision_model(pixels)
        return functional.normalize(self.network.visual_projection(output.pooler_output), dim=-1)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Unit features; a text longer than the model's context is cut."""
        longest = self.network.config.text_config.max_position_embeddings
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        output = self.network.text_model(tokens.input_ids, tokens.attention_mask)
        return functional.normalize(self.network.text_projection(output.pooler_output), dim=-1)
