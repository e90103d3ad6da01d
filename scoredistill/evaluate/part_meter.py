"""The part meter: a network that marks the parts of a face in a picture of a toy, and what is visible by it.

B images   P parts of `visibility.PARTS`   S of `SEEN`   images are rgb in [0, 1]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from scoredistill.evaluate import embedded
from scoredistill.evaluate.judge_network import SIZE, Residual
from scoredistill.toybox.visibility import PARTS, PIXELS

EMBEDDED = embedded.FOLDER / "toybox-parts.safetensors"
SEEN = ("face", "eyes", "nose", "hat", "buttons")
"""face: both eyes; eyes: at least one; nose: or a beak; hat and buttons of a snowman."""
THRESHOLD = 0.25  # least probability of a part that counts as seen: the least sum of errors of both kinds
_RARE = -5.0  # initial logit: a part covers less than a hundredth of a picture
_WIDTHS = (32, 48, 96)  # channels at 32, 16 and 8 pixels per side
_BATCH = 256  # images per batch; limits memory, does not change the result


class PartNetwork(nn.Module):
    """A small U-Net (Ronneberger et al. 2015): for each pixel and part, the logit that the part shows there."""

    def __init__(self, widths: Sequence[int] = _WIDTHS) -> None:
        super().__init__()
        self.shape = {"widths": list(widths)}
        fine, middle, coarse = widths
        self.fine = nn.Sequential(nn.Conv2d(3, fine, 4, stride=2, padding=1), nn.SiLU())
        self.middle = nn.Sequential(nn.Conv2d(fine, middle, 3, stride=2, padding=1), Residual(middle))
        self.coarse = nn.Sequential(
            nn.Conv2d(middle, coarse, 3, stride=2, padding=1), Residual(coarse), Residual(coarse), _Up(coarse, middle)
        )
        self.rise = nn.Sequential(Residual(middle), _Up(middle, fine))
        last = nn.Conv2d(fine, 4 * len(PARTS), 1)
        nn.init.constant_(last.bias, _RARE)  # pyright: ignore[reportArgumentType] (it has one)
        self.last = nn.Sequential(Residual(fine), nn.SiLU(), last, nn.PixelShuffle(2))

    def forward(self, rgb: Float[Tensor, "B 3 64 64"]) -> Float[Tensor, "B P 64 64"]:
        fine = self.fine((2 * rgb - 1).contiguous(memory_format=torch.channels_last))
        middle = self.middle(fine)
        return self.last(fine + self.rise(middle + self.coarse(middle)))


class _Up(nn.Sequential):
    """Twice the resolution, in another number of channels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(nn.Conv2d(channels, width, 1), nn.UpsamplingNearest2d(scale_factor=2))


class PartMeter:
    """A trained `PartNetwork`."""

    def __init__(self, network: PartNetwork) -> None:
        self.network = network.eval().requires_grad_(False)

    @classmethod
    def load(cls, path: str | Path | None = None, device: str | torch.device = "cpu") -> PartMeter:
        """Load a meter, by default the embedded one; ValueError if it is missing, damaged, or of other parts."""
        path = Path(path or EMBEDDED)
        remedy = "reinstall the package, or train one with tools/train_parts.py"
        metadata, weights = embedded.read(path, "part meter", remedy)
        if json.loads(metadata.get("parts", "[]")) != list(PARTS):
            raise ValueError(f"the file {path} is no meter of {', '.join(PARTS)}: {remedy}")
        network = PartNetwork(**json.loads(metadata["shape"]))
        network.load_state_dict(weights)
        return cls(network.to(device))

    @torch.no_grad()
    def marked(self, rgb: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B P"]:
        """The probability that each part has `PIXELS` pixels, at 64 x 64 pixels (others are resized, antialiased).

        It is that of the third most probable pixel, since the pixels of a part are there or missing together.
        """
        rgb = rgb.to(next(self.network.parameters()))
        if rgb.shape[-2:] != (SIZE, SIZE):
            rgb = functional.interpolate(rgb, (SIZE, SIZE), mode="bilinear", antialias=True)
        maps = torch.cat([self.network(part) for part in rgb.split(_BATCH)])
        return maps.sigmoid().flatten(2).topk(PIXELS).values[..., -1]

    def probabilities(self, rgb: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B S"]:
        """The probability that each of `SEEN` is visible."""
        left, right, *others = self.marked(rgb).unbind(1)
        return torch.stack([torch.minimum(left, right), torch.maximum(left, right), *others], 1)

    def sees(self, rgb: Float[Tensor, "B 3 H W"], part: str = "face") -> Bool[Tensor, "B"]:
        """Whether a part of `SEEN` is visible in each picture."""
        return self.probabilities(rgb)[:, SEEN.index(part)] > THRESHOLD


def save(network: PartNetwork, path: str | Path) -> None:
    """Write the network in half precision, with the shape and the parts that `PartMeter.load` needs."""
    embedded.write(network, Path(path), {"shape": json.dumps(network.shape), "parts": json.dumps(PARTS)})
