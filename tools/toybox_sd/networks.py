"""The networks of toybox-sd: the classes of Stable Diffusion 2.1, as small as Toybox allows."""

from __future__ import annotations

from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SIZE = 128  # pixels
CHANNELS = 16  # of the latents, as Stable Diffusion 3 has; with 4 the autoencoder learns slowly
LATENT = 16  # pixels of the latents: one for 8x8
SCHEDULER: dict[str, Any] = {  # of Stable Diffusion 2.1-base
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}


def autoencoder() -> AutoencoderKL:
    """128x128 pixels to 16 channels of 16x16, 1.0 M parameters."""
    settings: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (16, 32, 64, 64),
        "layers_per_block": 1,
        "latent_channels": CHANNELS,
        "norm_num_groups": 16,
        "sample_size": SIZE,
    }
    return AutoencoderKL(**settings)


def text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A CLIP text encoder for the words of `tokenizer`, 0.7 M parameters."""
    ids: dict[str, Any] = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        **ids,
    )
    return CLIPTextModel(config)


def denoiser() -> UNet2DConditionModel:
    """A U-Net on latents with attention, over image and text, at 8x8 and 4x4, 10.9 M parameters."""
    return UNet2DConditionModel(
        sample_size=LATENT,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=8,
    )


class TextToNoise(nn.Module):
    """Text encoder and denoiser, which are trained together: eps = network(x_t, t, tokens)."""

    def __init__(self, text: CLIPTextModel, unet: UNet2DConditionModel):
        super().__init__()
        self.text, self.unet = text, unet

    def forward(self, x_t: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """The predicted noise of latents x_t [B 16 16 16] at steps t [B] under tokens [B L]."""
        return self.unet(x_t, t, self.text(tokens).last_hidden_state, return_dict=False)[0]
