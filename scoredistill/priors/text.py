"""Texts as what denoisers are conditioned on: each encoded once, after which the text encoders are let go.

tokens  features of each token of a text, of all encoders together   [B L D]
pooled  one vector for the whole text, where a denoiser wants it     [B P]
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scoredistill.priors.hub import Checkpoint
from scoredistill.priors.network import stacked

log = logging.getLogger(__name__)

IF_LENGTH = 77  # what DeepFloyd IF was trained with, though its encoder reads more
SD3_LENGTH = 256  # tokens of T5 that SD3 reads beside CLIP's 77


@dataclass(frozen=True)
class Embedded:
    """An encoded text for each of B images."""

    tokens: Float[Tensor, "B L D"]
    pooled: Float[Tensor, "B P"] | None = None

    def __len__(self) -> int:
        return len(self.tokens)


TextEncoder = Callable[[list[str]], Embedded]


def mixed(parts: Sequence[Embedded], weights: Float[Tensor, "B K"]) -> Embedded:
    """sum_k weights[:, k] parts[k], image by image: an embedding between those of several texts."""
    tokens = sum(_over(weights[:, k], part.tokens) * part.tokens for k, part in enumerate(parts))
    if parts[0].pooled is None:
        return Embedded(tokens)  # type: ignore[arg-type] (a sum of at least one tensor)
    return Embedded(tokens, sum(_over(weights[:, k], part.pooled) * part.pooled for k, part in enumerate(parts)))  # type: ignore[arg-type]


class Texts:
    """Embeddings of texts, each computed once; `load` gives the encoders, which live only while they are at work."""

    def __init__(self, load: Callable[[], TextEncoder]):
        self.load = load
        self.known: dict[str, Embedded] = {}

    @torch.no_grad()
    def learn(self, texts: Iterable[str]) -> None:
        """Encode what is not known yet, loading the encoders for it at most once."""
        if new := [text for text in dict.fromkeys(texts) if text not in self.known]:
            encode = self.load()
            self.known |= {text: encode([text]) for text in new}

    def __call__(self, texts: Sequence[str]) -> Embedded:
        """The embeddings of B texts."""
        self.learn(texts)
        return stacked([self.known[text] for text in texts])


def encoder(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> TextEncoder:
    """The text encoding of a published pipeline, told by the encoders it has.

    CLIP alone (SD 1.5 and 2.1), two CLIPs (SDXL), two CLIPs and T5 (SD3), T5 alone (DeepFloyd IF).
    """
    make = if_text if checkpoint.kind("text_encoder") == "T5EncoderModel" else sd_text
    if checkpoint.has("text_encoder_2"):
        make = sd3_text if "text_encoder_3" in checkpoint.index else sdxl_text
    return make(checkpoint, device, dtype)


def sd_text(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> TextEncoder:
    """CLIP's last layer, normalized (Rombach et al. 2022)."""
    tokenize, network = _pair(checkpoint, "", device, dtype)
    return lambda texts: Embedded(network(tokenize(texts).input_ids.to(device))[0])


def sdxl_text(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> TextEncoder:
    """The last but one layers of both CLIPs side by side, pooled by the second (Podell et al. 2023).

    No words are zeros, where the pipeline says that it was trained so.
    """
    clips = [_pair(checkpoint, number, device, dtype) for number in ("", "_2")]
    zero_empty = checkpoint.index.get("force_zeros_for_empty_prompt", True)

    def encode(texts: list[str]) -> Embedded:
        (first, _), (second, pooled) = (_clip(*clip, texts, device) for clip in clips)
        said = torch.tensor([bool(text) or not zero_empty for text in texts], device=device)
        tokens = torch.cat([first, second], -1)
        return Embedded(_over(said, tokens) * tokens, _over(said, pooled) * pooled)

    return encode


def sd3_text(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> TextEncoder:
    """Both CLIPs as in SDXL, widened by zeros to T5's width and followed by its tokens (Esser et al. 2024).

    Zeros stand for T5 where it was left out of the folder, which SD3 was trained to bear.
    """
    clips = [_pair(checkpoint, number, device, dtype) for number in ("", "_2")]
    t5 = _pair(checkpoint, "_3", device, dtype) if checkpoint.has("text_encoder_3") else None
    width = checkpoint.settings("transformer")["joint_attention_dim"]

    def encode(texts: list[str]) -> Embedded:
        (first, pooled), (second, pooled_2) = (_clip(*clip, texts, device) for clip in clips)
        short = torch.cat([first, second], -1)
        if t5 is None:
            long = short.new_zeros(len(texts), SD3_LENGTH, width)
        else:
            tokenize, network = t5
            long = network(tokenize(texts, SD3_LENGTH).input_ids.to(device))[0].to(dtype)
        tokens = torch.cat([F.pad(short, (0, width - short.shape[-1])), long], 1)
        return Embedded(tokens, torch.cat([pooled, pooled_2], -1))

    return encode


def if_text(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> TextEncoder:
    """T5 with its padding masked, of lower-case text (DeepFloyd IF, after Saharia et al. 2022)."""
    tokenize, network = _pair(checkpoint, "", device, dtype)

    def encode(texts: list[str]) -> Embedded:
        asked = tokenize([text.lower().strip() for text in texts], IF_LENGTH)
        tokens = network(asked.input_ids.to(device), attention_mask=asked.attention_mask.to(device))[0]
        return Embedded(tokens.to(dtype))

    return encode


def _pair(checkpoint: Checkpoint, number: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """The tokenizer (padding to its length, aloud where it cuts) and the encoder of that number."""
    tokenizer = checkpoint.tokenizer(f"tokenizer{number}")
    network = checkpoint.network(f"text_encoder{number}", dtype).to(device)

    def tokenize(texts: list[str], length: int = tokenizer.model_max_length) -> Any:
        for text, full in zip(texts, tokenizer(texts).input_ids, strict=True):
            if len(full) > length:
                log.warning("only %d of %d tokens are read (tokenizer%s): %r", length, len(full), number, text)
        return tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")

    return tokenize, network


def _clip(tokenize: Any, network: Any, texts: list[str], device: torch.device) -> tuple[Tensor, Tensor]:
    """The last but one layer, and what the encoder itself gives for the whole text."""
    answer = network(tokenize(texts).input_ids.to(device), output_hidden_states=True)
    return answer.hidden_states[-2], answer[0]


def _over(weight: Tensor, like: Tensor) -> Tensor:
    return weight.to(like.device, like.dtype).reshape(-1, *[1] * (like.ndim - 1))
