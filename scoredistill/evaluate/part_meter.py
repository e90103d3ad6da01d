"""The part meter: a network that says which parts of a face a picture of a toy shows.

B images   P parts of `SEEN`   images are rgb in [0, 1]
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
from scoredistill.evaluate.judge_network import SIZE, ImageTower

EMBEDDED = embedded.FOLDER / "toybox-parts.safetensors"
SEEN = ("face", "eyes", "nose", "hat", "buttons")
"""face: both eyes; eyes: at least one; nose: or a beak; hat and buttons of a snowman."""
THRESHOLD = 0.5  # least probability of a part that counts as seen
_WIDTHS = (32, 64, 128, 128)  # of the image stages at 32, 16, 8 and 4 pixels per side
_JOINT = 128  # width of the features
_SCALE = 8.0  # of the features, whose length is one
_BATCH = 256  # images per batch; limits memory, does not change the result


class PartNetwork(nn.Module):
    """The image tower of the judge, with a narrower last stage, and one logit for each part."""

    def __init__(self, widths: Sequence[int] = _WIDTHS, joint: int = _JOINT) -> None:
        super().__init__()
        self.shape = {"widths": list(widths), "joint": joint}
        self.tower, self.head = ImageTower(widths, joint), nn.Linear(joint, len(SEEN))

    def forward(self, rgb: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B P"]:
        return self.head(_SCALE * self.tower(rgb))

    def begin(self, tower: ImageTower) -> None:
        """Start from the tensors of another tower that have the same name and shape."""
        own = self.tower.state_dict()
        same = {name: value for name, value in tower.state_dict().items() if own[name].shape == value.shape}
        self.tower.load_state_dict(own | same)


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
        if json.loads(metadata.get("parts", "[]")) != list(SEEN):
            raise ValueError(f"the file {path} is no meter of {', '.join(SEEN)}: {remedy}")
        network = PartNetwork(**json.loads(metadata["shape"]))
        network.load_state_dict(weights)
        return cls(network.to(device))

    @torch.no_grad()
    def probabilities(self, rgb: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B P"]:
        """The probability that each of `SEEN` is visible, at 64 x 64 pixels (others are resized, antialiased)."""
        rgb = rgb.to(self.network.head.weight)
        if rgb.shape[-2:] != (SIZE, SIZE):
            rgb = functional.interpolate(rgb, (SIZE, SIZE), mode="bilinear", antialias=True)
        return torch.cat([self.network(part).sigmoid() for part in rgb.split(_BATCH)])

    def sees(self, rgb: Float[Tensor, "B 3 H W"], part: str = "face") -> Bool[Tensor, "B"]:
        """Whether a part of `SEEN` is visible in each picture."""
        return self.probabilities(rgb)[:, SEEN.index(part)] > THRESHOLD


def save(network: PartNetwork, path: str | Path) -> None:
    """Write the network in half precision, with the shape and the parts that `PartMeter.load` needs."""
    embedded.write(network, Path(path), {"shape": json.dumps(network.shape), "parts": json.dumps(SEEN)})
