"""The embedded network for two more tasks: four views of an object at once, and other views of a picture.

Both begin as the trained text-to-image network: what is new starts as zero, or in the text encoder's place.

B rows   V views of an object   L tokens   C channels   D features
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.priors.unet import Attention, Bottom, Shape, UNet

VIEWS = 4


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Two layers, the last of which is zero."""
    net = nn.Sequential(nn.Linear(inputs, outputs), nn.SiLU(), nn.Linear(outputs, outputs))
    for zero in net[2].parameters():
        nn.init.zeros_(zero)
    return net


class JointBottom(Bottom):
    """The lowest resolution's mixing, and attention across the pixels of all views of an object (Shi et al. 2023)."""

    def __init__(self, width: int, text_width: int, heads: int):
        super().__init__(width, text_width, heads)
        self.across = Attention(width, width, heads)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        x = super().forward(x, text, mask)
        tokens = x.flatten(2).transpose(1, 2)  # [B L C]
        joint = self.across(tokens.unflatten(0, (-1, VIEWS)).flatten(1, 2))  # [B/V VL C]
        tokens = joint.unflatten(1, (VIEWS, -1)).flatten(0, 1)
        return tokens.transpose(1, 2).reshape(x.shape).contiguous(memory_format=torch.channels_last)


class ViewsUNet(UNet):
    """v(x_t, t, caption, pose) of groups of four views; poses are MVDream's, and come in as `view`."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.bottom = nn.ModuleList([JointBottom(shape.widths[-1], shape.text_width, shape.heads) for _ in range(2)])
        self.camera = perceptron(16, shape.embedding)


class PictureEncoder(nn.Module):
    """What the denoiser may look up of a picture, in place of words: one token for each patch, and their mean first."""

    def __init__(self, shape: Shape):
        super().__init__()
        widths = (12, *shape.widths)
        layers: list[nn.Module] = []
        for level, (a, b) in enumerate(itertools.pairwise(widths)):
            layers += [nn.Conv2d(a, b, 3, stride=2 if level else 1, padding=1), nn.GroupNorm(8, b), nn.SiLU()]
            layers += [nn.Conv2d(b, b, 3, padding=1), nn.GroupNorm(8, b), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(shape.widths[-1], shape.text_width)
        self.norm = nn.LayerNorm(shape.text_width)

    def forward(self, picture: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B L D"], Tensor]:
        """Tokens, and a mask that hides none of them."""
        patches = self.out(self.layers(F.pixel_unshuffle(picture, 2)).flatten(2).transpose(1, 2))
        tokens = self.norm(torch.cat([patches.mean(1, keepdim=True), patches], 1))
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)


class PoseUNet(UNet):
    """v(x_t, t, picture, relative pose): the picture beside x_t and as tokens; the pose comes in as `view`.

    Liu et al. 2023 (Zero-1-to-3), whose CLIP is an encoder that is trained with the rest here.
    """

    text: PictureEncoder  # pyright: ignore[reportIncompatibleVariableOverride] (the picture speaks instead)

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.text = PictureEncoder(shape)
        self.enter = nn.Conv2d(24, shape.widths[0], 3, padding=1)
        self.camera = perceptron(4, shape.embedding)


def begun(net: ViewsUNet | PoseUNet, trained: UNet) -> None:
    """Let `net` begin as a trained network, of text-to-image or of its own task, wherever the two are alike."""
    own, known = net.state_dict(), trained.state_dict()
    if isinstance(net, PoseUNet) and not isinstance(trained, PoseUNet):
        # pixels fold into channels color by color, so the picture's channels come last
        known["enter.weight"] = F.pad(known["enter.weight"], (0, 0, 0, 0, 0, 12))
    net.load_state_dict({name: known[name] if alike(name, own, known) else own[name] for name in own})


def alike(name: str, own: dict[str, Tensor], known: dict[str, Tensor]) -> bool:
    """Whether a tensor of that name means the same in both."""
    return name in known and own[name].shape == known[name].shape
