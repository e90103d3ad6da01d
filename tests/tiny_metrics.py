"""Tiny random weights of published metrics' networks, in the published files' names and layouts."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from scoredistill.evaluate.inception import Network
from scoredistill.evaluate.lpips import _alexnet

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "car", "ham", "##burger", ",", "!"]
WIDTH, PATCH, PATCHES, DEPTH = 128, 8, 4, 2  # of the vision network
TEXT, LAYERS = 16, 2  # of the text network
BERT = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": TEXT,
    "initializer_range": 0.02,
    "intermediate_size": 32,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 40,
    "num_attention_heads": 2,
    "num_hidden_layers": LAYERS,
    "pad_token_id": 0,
    "vocab_size": len(WORDS) + 2,
    "encoder_width": 768,
    "add_cross_attention": True,
}


def drawn(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Random tensors of such shapes; those of one axis are near one where they are the scales of a normalization."""
    rng = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        spread = 1 / max(torch.Size(shape[1:]).numel(), 1) ** 0.5 if len(shape) > 1 else 0.1
        found[name] = torch.randn(shape, generator=rng) * spread
        if name.endswith(("norm1.weight", "norm2.weight", "norm.weight", "LayerNorm.weight")):
            found[name] += 1
    return found


def _linear(name: str, inside: int, outside: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outside, inside), f"{name}.bias": (outside,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def image_reward_weights() -> dict[str, Tensor]:
    """The state of the authors' network, by their names."""
    see, read = "blip.visual_encoder.", "blip.text_encoder."
    shapes: dict[str, tuple[int, ...]] = {
        f"{see}cls_token": (1, 1, WIDTH),
        f"{see}pos_embed": (1, PATCHES + 1, WIDTH),
        f"{see}patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        f"{see}patch_embed.proj.bias": (WIDTH,),
        **_norm(f"{see}norm", WIDTH),
        f"{read}embeddings.word_embeddings.weight": (len(WORDS) + 2, TEXT),
        f"{read}embeddings.position_embeddings.weight": (40, TEXT),
        **_norm(f"{read}embeddings.LayerNorm", TEXT),
        **_linear("blip.vision_proj", WIDTH, 8),
        **_linear("blip.text_proj", TEXT, 8),
    }
    for block in range(DEPTH):
        name = f"{see}blocks.{block}"
        shapes |= _norm(f"{name}.norm1", WIDTH) | _norm(f"{name}.norm2", WIDTH)
        shapes |= _linear(f"{name}.attn.qkv", WIDTH, 3 * WIDTH) | _linear(f"{name}.attn.proj", WIDTH, WIDTH)
        shapes |= _linear(f"{name}.mlp.fc1", WIDTH, 4 * WIDTH) | _linear(f"{name}.mlp.fc2", 4 * WIDTH, WIDTH)
    for layer in range(LAYERS):
        name = f"{read}encoder.layer.{layer}"
        for attention, width in (("attention", TEXT), ("crossattention", WIDTH)):
            shapes |= _linear(f"{name}.{attention}.self.query", TEXT, TEXT)
            shapes |= _linear(f"{name}.{attention}.self.key", width, TEXT)
            shapes |= _linear(f"{name}.{attention}.self.value", width, TEXT)
            shapes |= _linear(f"{name}.{attention}.output.dense", TEXT, TEXT)
            shapes |= _norm(f"{name}.{attention}.output.LayerNorm", TEXT)
        shapes |= _linear(f"{name}.intermediate.dense", TEXT, 32) | _linear(f"{name}.output.dense", 32, TEXT)
        shapes |= _norm(f"{name}.output.LayerNorm", TEXT)
    sizes = (TEXT, 12, 8, 6, 4, 1)
    for index, inside, outside in zip((0, 2, 4, 6, 7), sizes[:-1], sizes[1:], strict=True):
        shapes |= _linear(f"mlp.layers.{index}", inside, outside)
    found = drawn(shapes, 1)
    return found | {f"{read}embeddings.position_ids": torch.arange(40)[None]}


def alexnet_weights() -> dict[str, Tensor]:
    """AlexNet's state by torchvision's names, its classifier in a few numbers."""
    shapes = {name: tuple(each.shape) for name, each in nn.ModuleDict({"features": _alexnet()}).state_dict().items()}
    rng = torch.Generator().manual_seed(3)
    found = {
        name: torch.randn(shape, generator=rng)
        / max(torch.Size(shape[1:]).numel(), 1) ** 0.5
        * (1.4 if len(shape) > 1 else 0.1)
        for name, shape in shapes.items()
    }
    return found | {"classifier.1.weight": torch.zeros(2, 2)}


def inception_weights() -> dict[str, Tensor]:
    """Inception's state, its classifier in a few numbers."""
    rng = torch.Generator().manual_seed(5)
    found = {}
    for name, each in Network().state_dict().items():
        kind = name.rpartition(".")[2]
        if kind == "num_batches_tracked":
            continue
        if kind == "running_var":
            found[name] = torch.rand(each.shape, generator=rng) + 0.5
        elif name.endswith("conv.weight"):
            found[name] = torch.randn(each.shape, generator=rng) * (2 / each[0].numel()) ** 0.5
        else:
            found[name] = torch.randn(each.shape, generator=rng) * 0.1 + name.endswith("bn.weight")
    return found | {"fc.weight": torch.zeros(2, 2)}


def save_image_reward(folder: Path) -> tuple[Path, Path, Path]:
    """ImageReward.pt, med_config.json and vocab.txt in a folder."""
    files = folder / "ImageReward.pt", folder / "med_config.json", folder / "vocab.txt"
    torch.save(image_reward_weights(), files[0])
    files[1].write_text(json.dumps(BERT))
    files[2].write_text("\n".join(WORDS) + "\n")
    return files
