"""Pipelines of every supported family, tiny and random, saved in the published layout by the libraries themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderKL,
    DDPMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    IFPipeline,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    LlamaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

WIDTH = 8  # of every text encoder
BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
WORDS = ("a", "hamburger", "front", "side", "back", "view", "ugly", "blurry")


def clip_tokenizer(folder: Path, pad: str) -> CLIPTokenizer:
    """A CLIP tokenizer of letters and a few words in vocab.json and merges.txt, padded by `pad` to 77 tokens."""
    letters = [chr(code) for code in range(33, 127)]
    merges = [(word[:cut], ending(word, cut)) for word in WORDS for cut in range(1, len(word))]
    vocabulary = [*letters, *(letter + "</w>" for letter in letters), *(first + second for first, second in merges)]
    vocabulary = [*dict.fromkeys(vocabulary), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, dict.fromkeys(merges))]))
    return CLIPTokenizer.from_pretrained(folder, pad_token=pad, model_max_length=77)


def ending(word: str, cut: int) -> str:
    """The letter that a merge adds to the first `cut` letters of a word, marked where the word ends."""
    return word[cut] + ("</w>" if cut == len(word) - 1 else "")


def t5_tokenizer() -> T5Tokenizer:
    """A T5 tokenizer of letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz,"]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def clip(tokenizer: CLIPTokenizer, kind: Any = CLIPTextModel) -> Any:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return kind(config)


def t5(tokenizer: T5Tokenizer, width: int = WIDTH) -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=4, d_ff=8, num_layers=1, num_heads=2))


def vae(channels: int = 4, **settings: Any) -> AutoencoderKL:
    """Two pixels of a side for a latent."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 4),
        norm_num_groups=2,
        latent_channels=channels,
        **settings,
    )


def unet(**settings: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "block_out_channels": (4, 8),
            "layers_per_block": 1,
            "norm_num_groups": 2,
            "attention_head_dim": 2,
            "cross_attention_dim": WIDTH,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        }
        | settings
    )


def sd15(folder: Path) -> DiffusionPipeline:
    """Stable Diffusion 1.5: one CLIP, eps, a PNDM scheduler's settings."""
    tokenizer = clip_tokenizer(folder / "words", "<|endoftext|>")
    scheduler = PNDMScheduler(**BETAS, skip_prk_steps=True)
    return stable(tokenizer, scheduler, unet())


def sd21(folder: Path) -> DiffusionPipeline:
    """Stable Diffusion 2.1 at 768: v-prediction, padded by "!"."""
    tokenizer = clip_tokenizer(folder / "words", "!")
    return stable(
        tokenizer,
        DDPMScheduler(**BETAS, clip_sample=False, prediction_type="v_prediction"),
        unet(use_linear_projection=True),
    )


def stable(tokenizer: CLIPTokenizer, scheduler: Any, net: UNet2DConditionModel) -> DiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(tokenizer),
        tokenizer=tokenizer,
        unet=net,
        scheduler=scheduler,
        safety_checker=None,  # type: ignore[arg-type] (as in SD 2.1's folder)
        feature_extractor=None,  # type: ignore[arg-type]
        requires_safety_checker=False,
    )


def sdxl(folder: Path) -> DiffusionPipeline:
    """Stable Diffusion XL: two CLIPs, pooled text and sizes beside the time."""
    tokenizers = [clip_tokenizer(folder / "words" / pad, pad) for pad in ("<|endoftext|>", "!")]
    net = unet(
        cross_attention_dim=2 * WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=WIDTH + 6 * 4,
    )
    return StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025),
        text_encoder=clip(tokenizers[0]),
        text_encoder_2=clip(tokenizers[1], CLIPTextModelWithProjection),
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=net,
        scheduler=DDPMScheduler(**BETAS, clip_sample=False),
    )


def sd3(folder: Path) -> DiffusionPipeline:
    """Stable Diffusion 3: two CLIPs and T5, a transformer, a shifted flow, shifted latents."""
    tokenizers = [clip_tokenizer(folder / "words" / pad, pad) for pad in ("<|endoftext|>", "!")]
    letters, width = t5_tokenizer(), 2 * WIDTH + 4
    net = SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=4,
        num_attention_heads=2,
        joint_attention_dim=width,
        caption_projection_dim=8,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=8,
    )
    return StableDiffusion3Pipeline(
        transformer=net,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(tokenizers[0], CLIPTextModelWithProjection),
        tokenizer=tokenizers[0],
        text_encoder_2=clip(tokenizers[1], CLIPTextModelWithProjection),
        tokenizer_2=tokenizers[1],
        text_encoder_3=t5(letters, width),
        tokenizer_3=letters,
    )


def letters(kind: Any, **special: Any) -> Any:
    """A language model's tokenizer of letters; its bytes spell the rest."""
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces = [*names, "▁", *"abcdefghijklmnopqrstuvwxyz,"]
    return kind(vocab={piece: index for index, piece in enumerate(pieces)}, unk_token="<unk>", **special)


def auraflow(_: Path) -> DiffusionPipeline:
    """AuraFlow: T5 of another kind, a transformer of joint and single blocks, a shifted flow."""
    words = letters(LlamaTokenizer, eos_token="<eos>", pad_token="<pad>", add_eos_token=True)
    net = AuraFlowTransformer2DModel(
        sample_size=8,
        patch_size=2,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        caption_projection_dim=16,
        pos_embed_max_size=64,
    )
    config = UMT5Config(vocab_size=len(words), d_model=WIDTH, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    return AuraFlowPipeline(
        tokenizer=words,
        text_encoder=UMT5EncoderModel(config),
        vae=vae(scaling_factor=0.13025),
        transformer=net,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
    )


def lumina2(_: Path) -> DiffusionPipeline:
    """Lumina-Image 2.0: a language model, one stream of text and image, a flow that runs the other way."""
    words = letters(GemmaTokenizer, add_bos_token=True)
    config = Gemma2Config(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=4,
    )
    net = Lumina2Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        hidden_size=24,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=8,
        axes_dim_rope=(4, 4, 4),
        axes_lens=(300, 16, 16),
        cap_feat_dim=WIDTH,
    )
    return Lumina2Pipeline(
        transformer=net,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=vae(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=Gemma2Model(config),
        tokenizer=words,
    )


def deepfloyd(folder: Path) -> DiffusionPipeline:
    """DeepFloyd IF's first stage: pixels, T5, a second half of the output for the variance."""
    letters = t5_tokenizer()
    net = unet(
        in_channels=3,
        out_channels=6,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        encoder_hid_dim=WIDTH,
        down_block_types=("SimpleCrossAttnDownBlock2D", "ResnetDownsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"),
        resnet_time_scale_shift="scale_shift",
    )
    return IFPipeline(
        tokenizer=letters,
        text_encoder=t5(letters),
        unet=net,
        scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type="learned_range"),
        safety_checker=None,  # type: ignore[arg-type]
        feature_extractor=None,  # type: ignore[arg-type]
        watermarker=None,  # type: ignore[arg-type]
        requires_safety_checker=False,
    )


FAMILIES: dict[str, Callable[[Path], DiffusionPipeline]] = {
    "sd15": sd15,
    "sd21": sd21,
    "sdxl": sdxl,
    "sd3": sd3,
    "auraflow": auraflow,
    "lumina2": lumina2,
    "if": deepfloyd,
}


def save(family: str, folder: Path) -> DiffusionPipeline:
    """Build a family's pipeline with random weights, save it under `folder`, and return it."""
    torch.manual_seed(0)
    pipeline = FAMILIES[family](folder)
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            randomize(part.eval())
    pipeline.save_pretrained(folder, safe_serialization=True)
    return pipeline


def randomize(net: torch.nn.Module) -> None:
    """Add noise to all weights, since layers that are initialized to zero would hide those before them."""
    for weight in net.parameters():
        weight.data += 0.1 * torch.randn_like(weight)


def in_cache(folder: Path, cache: Path, name: str, revision: str) -> Path:
    """Lay a saved pipeline out as the hub's cache does, with `main` at that revision; returns the snapshot."""
    repository = cache / ("models--" + name.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    snapshot = repository / "snapshots" / revision
    snapshot.parent.mkdir()
    snapshot.symlink_to(folder, target_is_directory=True)
    return snapshot
