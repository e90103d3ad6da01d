"""ImageReward (Xu et al. 2023) as published: human preference of an image for a prompt.

BLIP's ViT reads the image, BERT with cross-attention to it the prompt, and a linear head the first token's state.

V images   P patches and the class token   W width of the ViT   D width of BERT   rgb in [0, 1]
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.evaluate.networks import fill, library, read_pickled
from scoredistill.files import read_limited

TOKENS = 35  # of a prompt, which is padded or cut to them
MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of the raw reward over the authors' images
PIXEL_MEAN, PIXEL_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
HEAD = 64  # width of a head of the ViT, as in all sizes of it
VISION, TEXT = "blip.visual_encoder.", "blip.text_encoder."
RENAMED = {
    r"^cls_token$": "embeddings.class_embedding",
    r"^pos_embed$": "embeddings.position_embedding",
    r"^patch_embed\.proj\.": "embeddings.patch_embedding.",
    r"^blocks\.(\d+)\.norm": r"encoder.layers.\1.layer_norm",
    r"^blocks\.(\d+)\.attn\.qkv\.": r"encoder.layers.\1.self_attn.qkv.",
    r"^blocks\.(\d+)\.attn\.proj\.": r"encoder.layers.\1.self_attn.projection.",
    r"^blocks\.(\d+)\.mlp\.": r"encoder.layers.\1.mlp.",
    r"^norm\.": "post_layernorm.",
}
"""Names of the published ViT's tensors, as patterns, and transformers' names of the same."""
LARGEST_CONFIG = 2**20  # bytes


class ImageReward:
    """The published network: transformers' BLIP modules, the authors' weights, tokenizer and preprocessing."""

    def __init__(self, vision: Any, text: Any, head: nn.Sequential, tokenizer: Any) -> None:
        self.vision, self.text, self.head, self.tokenizer = vision, text, head, tokenizer

    @classmethod
    def load(cls, weights: Path, config: Path, vocabulary: Path) -> ImageReward:
        """From ImageReward.pt, med_config.json, and the vocabulary (vocab.txt) of bert-base-uncased.

        ValueError in one line without the libraries, and for files that are damaged or of something else.
        """
        transformers = library("transformers", "ImageReward")
        tensors = read_pickled(weights)
        seeing = {_renamed(name): tensor for name, tensor in _part(tensors, VISION).items()}
        try:
            vision = transformers.BlipVisionModel(transformers.BlipVisionConfig(**_vision_sizes(seeing)))
            width = vision.config.hidden_size
            text = transformers.BlipTextModel(_text_config(transformers, config, width), add_pooling_layer=False)
            head = _head(_part(tensors, "mlp.layers."))
        except (LookupError, ArithmeticError, TypeError, RuntimeError) as error:  # of sizes that make no network
            raise ValueError(f"{weights} is no file of ImageReward ({type(error).__name__}: {error})") from None
        for network, found in ((vision, seeing), (text, _part(tensors, TEXT)), (head, _numbered(tensors))):
            fill(network, found, weights)
        return cls(vision, text, head, _tokenizer(transformers, vocabulary))

    @torch.no_grad()
    def __call__(self, rgb: Float[Tensor, "V 3 H W"], prompt: str) -> Float[Tensor, "V"]:
        """The reward of each image for the prompt, standardized over the authors' images; higher is better."""
        tokens = self.tokenizer(prompt, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
        rewards = []
        for image in rgb:
            seen = self.vision(self.pixels(image)[None]).last_hidden_state
            states = self.text(
                tokens.input_ids, attention_mask=tokens.attention_mask, encoder_hidden_states=seen
            ).last_hidden_state
            rewards.append(self.head(states[:, 0]))
        return (torch.cat(rewards)[:, 0] - MEAN) / STD

    def pixels(self, rgb: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 h w"]:
        """Rounded to 8 bits, the shorter side resized (bicubic, by Pillow), the middle cut out, standardized."""
        from PIL import Image

        size = self.vision.config.image_size
        levels = (255 * rgb.detach().cpu().clamp(0, 1)).round().byte().movedim(0, -1).numpy()
        image = Image.fromarray(levels)
        short = min(image.size)
        wide, high = (int(size * side / short) for side in image.size)
        left, top = (round((side - size) / 2.0) for side in (wide, high))
        image = image.resize((wide, high), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
        values = torch.from_numpy(np.array(image)).movedim(-1, 0).float() / 255
        mean, std = (values.new_tensor(each)[:, None, None] for each in (PIXEL_MEAN, PIXEL_STD))
        return (values - mean) / std


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}


def _renamed(name: str) -> str:
    for pattern, replacement in RENAMED.items():
        name = re.sub(pattern, replacement, name)
    return name


def _vision_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The configuration of a ViT, read off its weights."""
    width, _, patch, _ = tensors["embeddings.patch_embedding.weight"].shape
    side = math.isqrt(tensors["embeddings.position_embedding"].shape[1] - 1)
    blocks = {name.split(".")[2] for name in tensors if name.startswith("encoder.layers.")}
    return {
        "hidden_size": width,
        "intermediate_size": tensors["encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len(blocks),
        "num_attention_heads": width // HEAD,
        "image_size": side * patch,
        "patch_size": patch,
        "layer_norm_eps": 1e-6,
    }


def _text_config(transformers: Any, path: Path, width: int) -> Any:
    """BERT with cross-attention to image features of `width`, from the published configuration."""
    try:
        found = json.loads(read_limited(path, LARGEST_CONFIG))
        sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        names = (*sizes, "vocab_size", "max_position_embeddings", "hidden_act", "layer_norm_eps", "pad_token_id")
        return transformers.BlipTextConfig(**{name: found[name] for name in names}, encoder_hidden_size=width)
    except Exception as error:  # the library's own types too, for values that are no sizes
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is no configuration of ImageReward's text encoder ({reason})") from None


def _head(tensors: Mapping[str, Tensor]) -> nn.Sequential:
    """The linear layers, between which the authors have dropout and no activation."""
    shapes = [tensors[f"{index}.weight"].shape for index in _layers(tensors)]
    return nn.Sequential(*(nn.Linear(inside, outside) for outside, inside in shapes))


def _numbered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The head's tensors, its layers numbered without the dropout between them."""
    found = _part(tensors, "mlp.layers.")
    kinds = ("weight", "bias")
    return {
        f"{place}.{kind}": found[f"{index}.{kind}"]
        for place, index in enumerate(_layers(found))
        for kind in kinds
        if f"{index}.{kind}" in found
    }


def _layers(tensors: Mapping[str, Tensor]) -> list[int]:
    """The numbers of the head's linear layers; KeyError without any."""
    if not tensors:
        raise KeyError("mlp.layers")
    return sorted({int(name.split(".")[0]) for name in tensors})


def _tokenizer(transformers: Any, vocabulary: Path) -> Any:
    """The tokenizer of bert-base-uncased with BLIP's two tokens, which no prompt has unless it spells them out."""
    try:
        words = read_limited(vocabulary, LARGEST_CONFIG).decode().splitlines()
        tokenizer = transformers.BertTokenizer(vocab={word: index for index, word in enumerate(words)})
        missing = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"} - set(words)
        if missing:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except ValueError as error:  # UnicodeDecodeError is one
        raise ValueError(f"{vocabulary} is no vocabulary of bert-base-uncased ({error})") from None
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_tokens(["[ENC]"], special_tokens=True)
    return tokenizer
