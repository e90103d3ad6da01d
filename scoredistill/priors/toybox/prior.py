"""The embedded prior: a pixel-space text-to-image diffusion model of Toybox, 64x64, v-prediction, cosine schedule.

x is the image in [-1, 1].
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from scoredistill import schedule
from scoredistill.camera import Cameras
from scoredistill.contracts import Conditions, Needs, Prompt
from scoredistill.files import check_digest, record_digest, replacing
from scoredistill.priors.low_rank_learner import LoraLearner, Start
from scoredistill.priors.network import NetworkPrior, fast_dtype
from scoredistill.priors.parametrization import Prediction
from scoredistill.priors.toybox.inference import VECTOR, lowered, shared_outputs
from scoredistill.priors.toybox.unet import Shape, UNet
from scoredistill.priors.weight_files import check_finite, opened, read_weights
from scoredistill.toybox import captions

SIZE = 64
CACHED_TEXTS = 1024  # encoded captions in the cache: 20 MB
SCHEDULE = schedule.cosine()
WEIGHTS = Path(__file__).parents[2] / "weights" / "toybox-prior.safetensors"


@dataclass(frozen=True)
class TextFeatures:
    """An encoded caption for each of B views: token features and the mask of real tokens."""

    features: Float[Tensor, "B L D"]
    mask: Tensor


class Unfilled(TorchFunctionMode):
    """Within it no random weights are drawn: on the meta device that imports torch's compiler, which takes a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        return named["tensor"] if func is nn.init.normal_ else func(*args, **named)


class ToyboxPrior(NetworkPrior):
    """The embedded text-to-image prior (see docs/toybox.md); runs in bf16 if that is faster on the device."""

    schedule = SCHEDULE
    prediction: Prediction = "v"
    network: type[UNet] = UNet
    weights = WEIGHTS
    tool = "tools/train_toybox.py"
    needs = Needs()

    def __init__(self, net: UNet, device: torch.device | str = "cpu", dtype: torch.dtype | None = None):
        self.device = torch.device(device)
        self.dtype = dtype or fast_dtype(self.device)
        self.net = net.to(self.device).eval().requires_grad_(False)
        self.net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (not in torch's stubs)
        self.embedding = net.shape.embedding
        self._encoded = lru_cache(CACHED_TEXTS)(self._encode_one)  # a run uses the same texts at every step

    @classmethod
    def load(cls, path: Path | None = None, device: torch.device | str = "cpu", dtype: torch.dtype | None = None):
        """Read weights written by `save`; ValueError if they are missing, damaged, or of another task or vocabulary."""
        path = path or cls.weights
        if not path.exists():
            raise ValueError(f"no Toybox weights at {path}; train them with: python {cls.tool}")
        check_digest(path)
        with opened(path) as file:
            metadata = file.metadata() or {}
            if not {"shape", "vocabulary"} <= metadata.keys():
                raise ValueError(f"{path} has no Toybox weights: its header names no shape and vocabulary")
            if metadata["vocabulary"] != " ".join(captions.VOCABULARY):
                raise ValueError(f"{path} was trained on another vocabulary; retrain it with {cls.tool}")
        tensors = {key: tensor.float() for key, tensor in read_weights(path).items()}
        check_finite(path, tensors.items())
        try:
            with torch.device("meta"), Unfilled():  # takes no memory, whatever the shape
                net = cls.network(Shape.from_dict(json.loads(metadata["shape"])))
            if wrong := sorted(net.state_dict().keys() ^ tensors.keys()):
                raise ValueError(f"{len(wrong)} tensors differ, {wrong[0]} among them")
            net.load_state_dict(tensors, assign=True)
        except (TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"{path} holds no {cls.network.__name__}: {reason}") from None
        return cls(net, device, dtype)

    def encode(self, rgb: Float[Tensor, "B 3 H W"], rng: torch.Generator | None = None) -> Float[Tensor, "B 3 64 64"]:
        """[0, 1] pixels of any size to x in [-1, 1] at 64x64 (bilinear, antialiased); deterministic."""
        if rgb.shape[-2:] != (SIZE, SIZE):
            rgb = F.interpolate(rgb, (SIZE, SIZE), mode="bilinear", antialias=True)
        return 2 * rgb - 1

    def decode(self, x: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
        """x to pixels; values outside [0, 1] are not clamped, so that encode(decode(x)) = x."""
        return (x + 1) / 2

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The captions with their view words for each camera, and the null caption (or the negative prompt)."""
        plain = texts = prompt.texts(count)
        if cameras is not None:
            directions = zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), strict=True)
            words = [captions.view_words(*direction) for direction in directions]
            texts = [captions.with_view(text, view) for text, view in zip(plain, words, strict=True)]
        empty = self.encode_text([""] * count)
        null = self.encode_text([prompt.negative] * count) if prompt.negative else empty
        return Conditions(self.encode_text(texts), null, empty, self.encode_text(plain), keys=tuple(texts))

    def encode_text(self, texts: list[str]) -> TextFeatures:
        """Features of captions; ValueError names an unknown word and the nearest known ones."""
        features, masks = zip(*(self._encoded(text) for text in texts), strict=True)
        return TextFeatures(torch.cat(features), torch.cat(masks))

    @torch.no_grad()
    def _encode_one(self, text: str) -> tuple[Tensor, Tensor]:
        return self.net.text(torch.tensor([captions.tokenize(text)], device=self.device))

    @cached_property
    def evaluated(self) -> UNet:
        """The network in the precision in which it runs, made at the first prediction without gradients."""
        return self.net if self.dtype == torch.float32 else lowered(self.net, self.dtype)

    def outputs(self, x_t: Tensor, t: Tensor, conditions: Sequence[Any]) -> Sequence[Tensor]:
        """v for each condition; without gradients what conditions share is computed once, and images on threads."""
        if torch.is_grad_enabled():
            return super().outputs(x_t, t, conditions)
        words = 1 if self.dtype == torch.float32 else VECTOR
        return shared_outputs(partial(self.output, self.evaluated), x_t, t, conditions, self.views, words)

    def output(
        self,
        net: nn.Module,
        x_t: Float[Tensor, "B C h w"],
        t: Float[Tensor, "B"],
        condition: TextFeatures,
        view: Float[Tensor, "R E"] | None = None,
    ) -> Float[Tensor, "R 3 h w"]:
        """v of `net`, which has the structure of `self.net`; a learner also conditions it on `view`.

        The condition has the rows of the images, or those of several conditions one after another.
        """
        times = self.schedule.snap(t).to(self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            v = net(
                x_t.to(condition.features.dtype),
                times,
                condition.features,
                condition.mask,
                view,
                **self.extra_inputs(condition),
            )
        return v.to(x_t.dtype)

    def extra_inputs(self, condition: TextFeatures) -> dict[str, Tensor]:
        """Additional inputs of the network of a task, by argument name."""
        return {}

    def adapted(self, layer: str) -> bool:
        """Whether a learner adapts the layer: all layers except those of the text encoder."""
        return not layer.startswith("text.")

    def learner(self, *, rank: int = 4, lr: float = 1e-3, seed: int = 0, start: Start = "prior") -> LoraLearner:
        """A second score that starts as this one and is trained on renders (VSD, ESD); `seed` of its adapters."""
        return LoraLearner(self, rank=rank, lr=lr, seed=seed, start=start)


def save(path: Path, net: UNet) -> None:
    """Write a network as float16 safetensors, with its shape and vocabulary in the header.

    Where a list of SHA-256 sums lies beside it, as beside the embedded weights, its sum is entered there.
    """
    metadata = {"shape": json.dumps(net.shape.as_dict()), "vocabulary": " ".join(captions.VOCABULARY)}
    metadata["network"] = type(net).__name__
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        save_file({key: value.half().contiguous() for key, value in net.state_dict().items()}, part, metadata)
    record_digest(path)


def network_of(path: Path) -> str | None:
    """The class name of the network in a file written by `save`, None in other files; older ones are of "UNet"."""
    with opened(path) as file:
        metadata = file.metadata() or {}
    return metadata.get("network", UNet.__name__) if "vocabulary" in metadata else None
