"""Toybox networks of two further tasks: four views of an object jointly, and novel views of a picture.

Their training starts from a trained network of any task; new layers are initialized to zero.

B rows   V views of an object   L tokens   C channels   D features
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.priors.toybox.unet import Attention, Bottom, Shape, UNet

VIEWS = 4


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """A perceptron of two layers, the last initialized to zero."""
    net = nn.Sequential(nn.Linear(inputs, outputs), nn.SiLU(), nn.Linear(outputs, outputs))
    for zero in net[2].parameters():
        nn.init.zeros_(zero)
    return net


class JointBottom(Bottom):
    """`Bottom` followed by attention across the pixels of all views of an object (Shi et al. 2023)."""

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
    """v(x_t, t, caption, pose) of groups of four views; `view` is the embedding of MVDream's camera pose."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.bottom = nn.ModuleList([JointBottom(shape.widths[-1], shape.text_width, shape.heads) for _ in range(2)])
        self.camera = perceptron(16, shape.embedding)


class PictureBottom(Bottom):
    """`Bottom` followed by attention to the features of a picture at the same place of the network."""

    def __init__(self, width: int, text_width: int, heads: int):
        super().__init__(width, text_width, heads)
        self.across = Attention(width, width, heads)

    def mix_with_picture(
        self, x: Tensor, text: Tensor, mask: Tensor, picture: Tensor | None = None, use_picture: Tensor | None = None
    ) -> tuple[Tensor, Float[Tensor, "B L C"]]:
        """Features and tokens of x; rows with `use_picture` [B] also attend to the tokens `picture` [B L C]."""
        x = super().forward(x, text, mask)
        own = x.flatten(2).transpose(1, 2)
        context, visible = own, None
        if picture is not None and use_picture is not None:
            context = torch.cat([own, picture.to(own.dtype)], 1)
            both = torch.stack([torch.ones_like(use_picture), use_picture], 1)
            visible = both.repeat_interleave(own.shape[1], 1)
        tokens = self.across(own, self.across.norm(context), visible)
        return tokens.transpose(1, 2).reshape(x.shape).contiguous(memory_format=torch.channels_last), own


class PoseUNet(UNet):
    """v(x_t, t, caption, pose, picture): a view that attends to the features of a picture without noise.

    As two views of ViewsUNet of which one is known (Shi et al. 2023; Liu et al. 2023 for the task). The features of
    the picture at the lowest resolution do not depend on the view, so they are computed once.
    """

    def __init__(self, shape: Shape):
        super().__init__(shape)
        bottom = [PictureBottom(shape.widths[-1], shape.text_width, shape.heads) for _ in range(2)]
        self.bottom = nn.ModuleList(bottom)
        self.camera = perceptron(16, shape.embedding)

    def encode_picture(
        self, picture: Float[Tensor, "B 3 H W"], text: Tensor, mask: Tensor, view: Float[Tensor, "B E"]
    ) -> Float[Tensor, "B T C"]:
        """The picture's tokens at both blocks of the lowest resolution, concatenated."""
        embedding = self.embed(picture.new_zeros(len(picture)), text[:, 0], view, picture.dtype)
        before, after = self._places()
        h, first = before.mix_with_picture(self.descend(picture, embedding)[0], text, mask)
        _, second = after.mix_with_picture(self.between(h, embedding), text, mask)
        return torch.cat([first, second], 1)

    def forward(
        self,
        x_t: Float[Tensor, "B C H W"],
        t: Float[Tensor, "B"],
        text: Float[Tensor, "R L D"],
        mask: Tensor,
        view: Float[Tensor, "R E"] | None = None,
        picture: Float[Tensor, "R T F"] | None = None,
        use_picture: Tensor | None = None,
    ) -> Float[Tensor, "R 3 H W"]:
        """v; `picture` is the result of `encode_picture`, used by rows with `use_picture` [R]."""
        embedding = self.embed(t, text[:, 0], view, x_t.dtype)
        h, skips = self.descend(x_t, embedding)
        first, second = (None, None) if picture is None else picture.chunk(2, 1)
        before, after = self._places()
        h, _ = before.mix_with_picture(h, text, mask, first, use_picture)
        h, _ = after.mix_with_picture(self.between(h, embedding), text, mask, second, use_picture)
        return self.ascend(h, skips, embedding)

    def _places(self) -> list[PictureBottom]:
        return [place for place in self.bottom if isinstance(place, PictureBottom)]


def start_from(net: UNet, trained: UNet) -> None:
    """Copy the weights of a trained network of any task for all tensors that both networks have."""
    own, known = net.state_dict(), trained.state_dict()
    net.load_state_dict({name: known[name] if agree(name, own, known) else own[name] for name in own})


def agree(name: str, own: dict[str, Tensor], known: dict[str, Tensor]) -> bool:
    """Whether both networks have a tensor of this name and shape."""
    return name in known and own[name].shape == known[name].shape
