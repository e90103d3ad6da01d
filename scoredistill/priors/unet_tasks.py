"""The embedded network for two more tasks: four views of an object at once, and other views of a picture.

Both begin as a trained network of the plain task or of each other's: what is new starts as zero.

B rows   V views of an object   L tokens   C channels   D features
"""

from __future__ import annotations

import torch
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


class LookingBottom(Bottom):
    """The lowest resolution's mixing, and attention to the same place of the network where it saw a picture."""

    def __init__(self, width: int, text_width: int, heads: int):
        super().__init__(width, text_width, heads)
        self.across = Attention(width, width, heads)

    def look(
        self, x: Tensor, text: Tensor, mask: Tensor, shown: Tensor | None = None, told: Tensor | None = None
    ) -> tuple[Tensor, Float[Tensor, "B L C"]]:
        """Features of x, and its own tokens for others to see; `shown` [B L C] are a picture's, where `told` [B]."""
        x = super().forward(x, text, mask)
        own = x.flatten(2).transpose(1, 2)
        seen, known = own, None
        if shown is not None and told is not None:
            seen = torch.cat([own, shown.to(own.dtype)], 1)
            both = torch.stack([torch.ones_like(told), told], 1)
            known = both.repeat_interleave(own.shape[1], 1)
        tokens = self.across(own, self.across.norm(seen), known)
        return tokens.transpose(1, 2).reshape(x.shape).contiguous(memory_format=torch.channels_last), own


class PoseUNet(UNet):
    """v(x_t, t, caption, pose, picture): a view that may look up those of a picture, which the network sees clean.

    A pair of ViewsUNet's views, of which one is known (Shi et al. 2023; Liu et al. 2023 for the task). What the picture
    is at the lowest resolution depends on nothing else, and is computed once.
    """

    def __init__(self, shape: Shape):
        super().__init__(shape)
        bottom = [LookingBottom(shape.widths[-1], shape.text_width, shape.heads) for _ in range(2)]
        self.bottom = nn.ModuleList(bottom)
        self.camera = perceptron(16, shape.embedding)

    def look(
        self, picture: Float[Tensor, "B 3 H W"], text: Tensor, mask: Tensor, view: Float[Tensor, "B E"]
    ) -> Float[Tensor, "B T C"]:
        """The picture's tokens at both places of mixing, one after the other."""
        embedding = self.embed(picture.new_zeros(len(picture)), text[:, 0], view, picture.dtype)
        before, after = self._places()
        h, first = before.look(self.descend(picture, embedding)[0], text, mask)
        _, second = after.look(self.between(h, embedding), text, mask)
        return torch.cat([first, second], 1)

    def forward(
        self,
        x_t: Float[Tensor, "B C H W"],
        t: Float[Tensor, "B"],
        text: Float[Tensor, "B L D"],
        mask: Tensor,
        view: Float[Tensor, "B E"] | None = None,
        seen: Float[Tensor, "B T F"] | None = None,
        told: Tensor | None = None,
    ) -> Float[Tensor, "B 3 H W"]:
        """v; `seen` is what `look` saw of the picture, which is known where `told` [B], and nowhere without it."""
        embedding = self.embed(t, text[:, 0], view, x_t.dtype)
        h, kept = self.descend(x_t, embedding)
        first, second = (None, None) if seen is None else seen.chunk(2, 1)
        before, after = self._places()
        h, _ = before.look(h, text, mask, first, told)
        h, _ = after.look(self.between(h, embedding), text, mask, second, told)
        return self.ascend(h, kept, embedding)

    def _places(self) -> list[LookingBottom]:
        return [place for place in self.bottom if isinstance(place, LookingBottom)]


def begun(net: ViewsUNet | PoseUNet, trained: UNet) -> None:
    """Let `net` begin as a trained network, of whichever task, wherever the two are alike."""
    own, known = net.state_dict(), trained.state_dict()
    net.load_state_dict({name: known[name] if alike(name, own, known) else own[name] for name in own})


def alike(name: str, own: dict[str, Tensor], known: dict[str, Tensor]) -> bool:
    """Whether a tensor of that name means the same in both."""
    return name in known and own[name].shape == known[name].shape
