"""Text encoding of published models, each equal to that of the model's own pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
LENGTH = 256  # T5 tokens of SD3 beside CLIP's 77, and all tokens of AuraFlow and Lumina 2


def encoder(
    checkpoint: Source,
    device: torch.device,
    dtype: torch.dtype,
    loras: Sequence[Lora] = (),
    *,
    width: int | None = None,
) -> TextEncoder:
    """The text encoding of a published pipeline, with `loras` fused into CLIP.

    ValueError unless the features are as wide as the denoiser takes them, which an encoder that is missing shows.
    """
    encode = _encoder(checkpoint, device, dtype, loras)

    def checked(texts: list[str]) -> Embedded:
        found = encode(texts)
        if width is not None and found.tokens.shape[-1] != width:
            raise ValueError(
                f"{checkpoint}: its denoiser takes text features of {width} numbers, its text encoders make "
                f"{found.tokens.shape[-1]}: a text encoder is missing in model_index.json, or is another model's"
            )
        return found

    return checked


def _encoder(checkpoint: Source, device: torch.device, dtype: torch.dtype, loras: Sequence[Lora]) -> TextEncoder:
    """Chosen by the classes of the encoders.

    CLIP alone (SD 1.5 and 2.1), two CLIPs (SDXL), two CLIPs and T5 (SD3), or an entry of `OTHERS`.
    """
    if checkpoint.has("text_encoder_2"):
        if "text_encoder_3" in checkpoint.index:
            return sd3_text(checkpoint, device, dtype)
        return sdxl_text(checkpoint, device, dtype, loras)
    make = OTHERS.get(checkpoint.kind("text_encoder"))
    return make(checkpoint, device, dtype) if make else sd_text(checkpoint, device, dtype, loras)


def sd_text(checkpoint: Source, device: torch.device, dtype: torch.dtype, loras: Sequence[Lora] = ()) -> TextEncoder:
    """CLIP's last layer, normalized (Rombach et al. 2022)."""
    tokenize, network = _pair(checkpoint, "", device, dtype, loras=loras)
    return lambda texts: Embedded(network(tokenize(texts).input_ids.to(device))[0])


def sdxl_text(checkpoint: Source, device: torch.device, dtype: torch.dtype, loras: Sequence[Lora] = ()) -> TextEncoder:
    """The second to last layers of both CLIPs, concatenated, and the pooled text of the second (Podell et al. 2023).

    The empty text is encoded as zeros if the pipeline was trained that way (`force_zeros_for_empty_prompt`).
    """
    clips = [_pair(checkpoint, number, device, dtype, loras=loras) for number in ("", "_2")]
    zero_empty = checkpoint.index.get("force_zeros_for_empty_prompt", True)

    def encode(texts: list[str]) -> Embedded:
        (first, _), (second, pooled) = (_clip(*clip, texts, device) for clip in clips)
        nonempty = torch.tensor([bool(text) or not zero_empty for text in texts], device=device)
        tokens = torch.cat([first, second], -1)
        return Embedded(over(nonempty, tokens) * tokens, over(nonempty, pooled) * pooled)

    return encode


def sd3_text(checkpoint: Source, device: torch.device, dtype: torch.dtype) -> TextEncoder:
    """Both CLIPs as in SDXL, zero-padded to the width of T5 and followed by its tokens (Esser et al. 2024).

    Without T5 in the folder its tokens are zeros, as in a part of SD3's training.
    """
    clips = [_pair(checkpoint, number, device, dtype) for number in ("", "_2")]
    t5 = _pair(checkpoint, "_3", device, dtype, length=LENGTH) if checkpoint.has("text_encoder_3") else None
    width = checkpoint.settings("transformer")["joint_attention_dim"]

    def encode(texts: list[str]) -> Embedded:
        (first, pooled), (second, pooled_2) = (_clip(*clip, texts, device) for clip in clips)
        short = torch.cat([first, second], -1)
        if t5 is None:
            long = short.new_zeros(len(texts), LENGTH, width)
        else:
            tokenize, network = t5
            long = network(tokenize(texts).input_ids.to(device))[0].to(dtype)
        tokens = torch.cat([F.pad(short, (0, width - short.shape[-1])), long], 1)
        return Embedded(tokens, torch.cat([pooled, pooled_2], -1))

    return encode


def if_text(checkpoint: Source, device: torch.device, dtype: torch.dtype) -> TextEncoder:
    """T5 of the lower-case text, padding masked (DeepFloyd IF, after Saharia et al. 2022)."""
    pair = _pair(checkpoint, "", device, dtype, length=IF_LENGTH)

    def encode(texts: list[str]) -> Embedded:
        answer, _ = _masked(*pair, [text.lower().strip() for text in texts], device)
        return Embedded(answer[0].to(dtype))

    return encode


def aura_text(checkpoint: Source, device: torch.device, dtype: torch.dtype) -> TextEncoder:
    """T5 trained on the Pile, with zeros in place of padding (AuraFlow)."""
    pair = _pair(checkpoint, "", device, dtype, length=LENGTH)

    def encode(texts: list[str]) -> Embedded:
        answer, mask = _masked(*pair, texts, device)
        return Embedded(mask[..., None] * answer[0].to(dtype))

    return encode


def lumina_text(checkpoint: Source, device: torch.device, dtype: torch.dtype) -> TextEncoder:
    """The second to last layer of a language model, and the mask of the text's tokens (Lumina 2, Qin et al. 2025)."""
    pair = _pair(checkpoint, "", device, dtype, side="right", length=LENGTH)

    def encode(texts: list[str]) -> Embedded:
        answer, mask = _masked(*pair, texts, device, output_hidden_states=True)
        return Embedded(mask[..., None] * answer.hidden_states[-2].to(dtype), mask=mask)

    return encode


OTHERS: dict[str, Callable[[Source, torch.device, torch.dtype], TextEncoder]] = {
    "T5EncoderModel": if_text,
    "UMT5EncoderModel": aura_text,
    "Gemma2Model": lumina_text,
}
"""The encoding of a pipeline with a single encoder other than CLIP, by the class of the encoder."""


def _pair(
    checkpoint: Source,
    number: str,
    device: torch.device,
    dtype: torch.dtype,
    side: str = "",
    length: int | None = None,
    loras: Sequence[Lora] = (),
) -> tuple[Tokens, Any]:
    """The tokens of texts, padded on `side`, and the encoder with `loras` fused into it."""
    tokenizer = checkpoint.tokenizer(f"tokenizer{number}")
    tokenizer.padding_side = side or tokenizer.padding_side
    network = checkpoint.network(f"text_encoder{number}", dtype).to(device)
    fuse_loras(network, f"text_encoder{number}", loras)
    return Tokens(tokenizer, network, f"{checkpoint}: tokenizer{number}", length), network


def _clip(tokenize: Tokens, network: Any, texts: list[str], device: torch.device) -> tuple[Tensor, Tensor]:
    """The second to last layer, and the encoder's embedding of the whole text."""
    answer = network(tokenize(texts).input_ids.to(device), output_hidden_states=True)
    return answer.hidden_states[-2], answer[0]


def _masked(tokenize: Tokens, network: Any, texts: list[str], device: torch.device, **more: Any) -> tuple[Any, Tensor]:
    """The output of an encoder that masks the padding, and the mask of the texts' tokens [B L]."""
    tokens = tokenize(texts).to(device)
    return network(tokens.input_ids, attention_mask=tokens.attention_mask, **more), tokens.attention_mask.bool()
