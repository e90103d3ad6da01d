"""Text encoding of published models, each equal to that of the model's own pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scoredistill.priors.diffusers.checkpoint import Checkpoint
from scoredistill.priors.diffusers.lora import Lora, fuse_loras
from scoredistill.priors.diffusers.pipeline import PipelineCheckpoint
from scoredistill.priors.diffusers.text import Embedded, TextEncoder, over
from scoredistill.priors.diffusers.tokenizing import Tokens

Source = Checkpoint | PipelineCheckpoint

IF_LENGTH = 77  # tokens of a prompt in DeepFloyd IF's training; its encoder accepts more
SD3_WIDTH = 4096  # of the features of Stable Diffusion 3, where the settings do not say
LENGTH = 256  # T5 tokens of SD3 beside CLIP's 77, and all tokens of AuraFlow and Lumina 2


@dataclass(frozen=True)
class Parts:
    """The tokenizers and text encoders of a pipeline, loaded with `loras` fused; prompts that were `cut` so far."""

    checkpoint: Source
    device: torch.device
    dtype: torch.dtype
    loras: Sequence[Lora] = ()
    width: int | None = None  # of the text features that the denoiser takes
    cut: set[str] = field(default_factory=set)

    def pair(self, number: str, side: str = "", length: int | None = None) -> Pair:
        """The tokens of texts, padded on `side`, and the encoder."""
        tokenizer = self.checkpoint.tokenizer(f"tokenizer{number}")
        tokenizer.padding_side = side or tokenizer.padding_side
        network: Any = self.checkpoint.network(f"text_encoder{number}", self.dtype).to(self.device)
        fuse_loras(network, f"text_encoder{number}", self.loras)
        source = f"{self.checkpoint}: tokenizer{number}"
        return Pair(Tokens(tokenizer, network, source, self.cut, length), network, self.device)


@dataclass(frozen=True)
class Pair:
    """A tokenizer and its text encoder."""

    tokenize: Tokens
    network: Any
    device: torch.device

    def __call__(self, texts: list[str], **more: Any) -> Any:
        """The output of the encoder."""
        return self.network(self.tokenize(texts).input_ids.to(self.device), **more)

    def clip(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """The second to last layer, and the encoder's embedding of the whole text."""
        answer = self(texts, output_hidden_states=True)
        return answer.hidden_states[-2], answer[0]

    def masked(self, texts: list[str], **more: Any) -> tuple[Any, Tensor]:
        """The output of an encoder that masks the padding, and the mask of the texts' tokens [B L]."""
        tokens = self.tokenize(texts).to(self.device)
        answer = self.network(tokens.input_ids, attention_mask=tokens.attention_mask, **more)
        return answer, tokens.attention_mask.bool()


def encoder(
    checkpoint: Source,
    device: torch.device,
    dtype: torch.dtype,
    loras: Sequence[Lora] = (),
    *,
    width: int | None = None,
) -> TextEncoder:
    """The text encoding of a published pipeline, with `loras` fused into CLIP.

    CLIP alone (SD 1.5 and 2.1), two CLIPs (SDXL), two CLIPs and T5 (SD3), or an entry of `OTHERS`. ValueError unless
    the features are as wide as the denoiser takes them, which shows that an encoder is missing.
    """
    parts = Parts(checkpoint, device, dtype, loras, width)
    if checkpoint.has("text_encoder_2"):
        make = sd3_text if "text_encoder_3" in checkpoint.index else sdxl_text
    else:
        make = OTHERS.get(checkpoint.kind("text_encoder"), sd_text)
    encode = make(parts)

    def checked(texts: list[str]) -> Embedded:
        found = encode(texts)
        if width is not None and found.tokens.shape[-1] != width:
            raise ValueError(
                f"{checkpoint}: its denoiser takes text features of {width} numbers, its text encoders make "
                f"{found.tokens.shape[-1]}: a text encoder is missing in model_index.json, or is another model's"
            )
        return found

    return checked


def sd_text(parts: Parts) -> TextEncoder:
    """CLIP's last layer, normalized (Rombach et al. 2022)."""
    pair = parts.pair("")
    return lambda texts: Embedded(pair(texts)[0])


def sdxl_text(parts: Parts) -> TextEncoder:
    """The second to last layers of both CLIPs, concatenated, and the pooled text of the second (Podell et al. 2023).

    The empty text is encoded as zeros if the pipeline was trained that way (`force_zeros_for_empty_prompt`).
    """
    clips = [parts.pair(number) for number in ("", "_2")]
    zero_empty = parts.checkpoint.index.get("force_zeros_for_empty_prompt", True)

    def encode(texts: list[str]) -> Embedded:
        (first, _), (second, pooled) = (clip.clip(texts) for clip in clips)
        nonempty = torch.tensor([bool(text) or not zero_empty for text in texts], device=parts.device)
        tokens = torch.cat([first, second], -1)
        return Embedded(over(nonempty, tokens) * tokens, over(nonempty, pooled) * pooled)

    return encode


def sd3_text(parts: Parts) -> TextEncoder:
    """Both CLIPs as in SDXL, zero-padded to the width of T5 and followed by its tokens (Esser et al. 2024).

    Without T5 in the folder its tokens are zeros, as in a part of SD3's training.
    """
    clips = [parts.pair(number) for number in ("", "_2")]
    t5 = parts.pair("_3", length=LENGTH) if parts.checkpoint.has("text_encoder_3") else None
    width = parts.width or SD3_WIDTH

    def encode(texts: list[str]) -> Embedded:
        (first, pooled), (second, pooled_2) = (clip.clip(texts) for clip in clips)
        short = torch.cat([first, second], -1)
        long = short.new_zeros(len(texts), LENGTH, width) if t5 is None else t5(texts)[0].to(parts.dtype)
        tokens = torch.cat([F.pad(short, (0, width - short.shape[-1])), long], 1)
        return Embedded(tokens, torch.cat([pooled, pooled_2], -1))

    return encode


def if_text(parts: Parts) -> TextEncoder:
    """T5 of the lower-case text, padding masked (DeepFloyd IF, after Saharia et al. 2022)."""
    pair = parts.pair("", length=IF_LENGTH)

    def encode(texts: list[str]) -> Embedded:
        answer, _ = pair.masked([text.lower().strip() for text in texts])
        return Embedded(answer[0].to(parts.dtype))

    return encode


def aura_text(parts: Parts) -> TextEncoder:
    """T5 trained on the Pile, with zeros in place of padding (AuraFlow)."""
    pair = parts.pair("", length=LENGTH)

    def encode(texts: list[str]) -> Embedded:
        answer, mask = pair.masked(texts)
        return Embedded(mask[..., None] * answer[0].to(parts.dtype))

    return encode


def lumina_text(parts: Parts) -> TextEncoder:
    """The second to last layer of a language model, and the mask of the text's tokens (Lumina 2, Qin et al. 2025)."""
    pair = parts.pair("", side="right", length=LENGTH)

    def encode(texts: list[str]) -> Embedded:
        answer, mask = pair.masked(texts, output_hidden_states=True)
        return Embedded(mask[..., None] * answer.hidden_states[-2].to(parts.dtype), mask=mask)

    return encode


OTHERS: dict[str, Callable[[Parts], TextEncoder]] = {
    "T5EncoderModel": if_text,
    "UMT5EncoderModel": aura_text,
    "Gemma2Model": lumina_text,
}
"""The encoding of a pipeline with a single encoder other than CLIP, by the class of the encoder."""
