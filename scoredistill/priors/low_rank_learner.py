"""A second score on a frozen network: low-rank adapters and camera conditioning (the learner of VSD and ESD).

x      renders in the prior's space                                    [B C h w]
pose   camera-to-world matrix, flattened; zeros without a camera       [B 16]
view   embedding of the pose, added to the network's time embedding    [B E]
W      weight of a frozen layer; up down x is added to its output, with `rank` channels in between
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from scoredistill.contracts import Condition, Query
from scoredistill.priors.network import Time, X
from scoredistill.priors.parametrization import Prediction, eps_from, output_from
from scoredistill.randomness import gaussian
from scoredistill.schedule import NoiseSchedule

CAMERA_DROPOUT = 0.1  # share of rows trained without their camera (Wang et al. 2023, official code)


Start = Literal["prior", "published"]
"""How a learner starts: as the prior itself, whatever the camera, or as the official code does (see `down_std`)."""


@runtime_checkable
class Adaptable(Protocol):
    """A prior that can have a learner: it gives its network and evaluates a network of the same structure."""

    schedule: NoiseSchedule
    prediction: Prediction
    embedding: int  # width of the time embedding, to which a view is added
    views: int  # images denoised jointly

    @property
    def net(self) -> nn.Module: ...

    def adapted(self, layer: str) -> bool:
        """Whether the layer of this name in `net` gets an adapter."""
        ...

    def output(self, net: nn.Module, x_t: X, t: Time, condition: Condition, view: Float[Tensor, "B E"]) -> X:
        """The prediction of `net`, which has the structure of `self.net`, in the parametrization `prediction`."""
        ...


class Adapter(nn.Module):
    """A forward hook on a frozen layer: W x + up (down x), with up = 0 at the start (Hu et al. 2022, eq. 3).

    For a convolution `down` has the kernel size and stride of the layer, and `up` is 1x1.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int, rng: torch.Generator, start: Start):
        super().__init__()
        width, *fan_in = layer.weight.shape
        down = torch.randn(rank, *fan_in, generator=rng) * down_std(start, rank, math.prod(fan_in))
        self.down = nn.Parameter(down.to(layer.weight))
        self.up = nn.Parameter(layer.weight.new_zeros(width, rank, *[1] * (layer.weight.ndim - 2)))

    def forward(self, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        (x,) = inputs
        if isinstance(layer, nn.Conv2d):
            narrow = F.conv2d(x, self.down, None, layer.stride, layer.padding, layer.dilation)
            return output + F.conv2d(narrow, self.up)
        return output + F.linear(F.linear(x, self.down), self.up)


def down_std(start: Start, rank: int, fan_in: int) -> float:
    """Standard deviation of an adapter's first factor: 1 / sqrt(fan_in), or the published 1 / rank.

    The published one is that of diffusers' LoRALinearLayer; at the official learning rate of 1e-4 an adapter of
    standard deviation 1 / sqrt(fan_in) learns 4 to 6 times more slowly.
    """
    return 1 / rank if start == "published" else 1 / math.sqrt(fan_in)


Grow = Callable[[nn.Module, Sequence[str], int, torch.Generator, Start], nn.ModuleDict]
"""(network, names of layers, rank, rng, start) -> adapters by layer; the network is changed to use them."""


def hooked(
    net: nn.Module, layers: Sequence[str], rank: int, rng: torch.Generator, start: Start = "prior"
) -> nn.ModuleDict:
    """Adapters as forward hooks on linear layers and convolutions."""
    adapters = nn.ModuleDict()
    for name in layers:
        layer: Any = net.get_submodule(name)
        adapters[name.replace(".", "-")] = adapter = Adapter(layer, rank, rng, start)
        layer.register_forward_hook(adapter)
    return adapters


class LoraLearner:
    """eps_phi(x_t, t, y, camera): starts as the prior, trained to the score of renders (Wang et al. 2023).

    phi: adapters of rank `rank` on the layers for which `prior.adapted` holds, and a perceptron from the pose to the
    time embedding; y is the text without view words. The frozen network is shared, not copied, and never changed.
    `calls` and `rows` count evaluations of the network, including those of the training loss. `grow` makes the
    adapters. phi is in float32 at least. With start "published" the view is random at first, as in the official code,
    so that phi differs from the prior by it.
    """

    def __init__(
        self, prior: Adaptable, *, rank: int, lr: float, seed: int, start: Start = "prior", grow: Grow = hooked
    ):
        if rank < 1 or lr <= 0:
            raise ValueError(f"a learner needs a rank of at least 1 and a positive lr, got rank {rank} and lr {lr:g}")
        rng = torch.Generator().manual_seed(seed)
        self.prior, self.lr = prior, lr
        self.net = _sharing(prior.net)
        like = next(prior.net.parameters())
        dtype = torch.promote_types(like.dtype, torch.float32)
        self.camera = _perceptron(16, prior.embedding, rng, start).to(like.device, dtype)
        layers = [
            name
            for name, layer in self.net.named_modules()
            if isinstance(layer, nn.Linear | nn.Conv2d) and prior.adapted(name)
        ]
        self.learned = nn.ModuleDict({"adapters": grow(self.net, layers, rank, rng, start), "camera": self.camera})
        self.calls = self.rows = 0

    @torch.no_grad()
    def eps(self, query: Query, x_t: X, t: Time, *, camera: bool) -> X:
        """The noise prediction for the query's plain text, with its cameras if `camera` and if it has any."""
        output = self._output(query, x_t, t, torch.full((len(x_t),), camera))
        return eps_from(self.prior.prediction, output, x_t, t, self.prior.schedule)

    def loss(self, query: Query, x: X) -> Float[Tensor, ""]:
        """mean ||F_phi(x_t', t', y, camera) - F'||^2 over the elements, t' ~ U(0, 1), eps' ~ N(0, I).

        F is the parametrization of the prior: for the v-predicting Toybox F' = alpha eps' - sigma x, as for the v-model
        of the paper. x is detached. One row in ten has no camera: it trains the camera-free score of ESD. Views that
        are denoised jointly share their t', as in `eps`, and have a camera all or none.
        """
        x, schedule, views = x.detach(), self.prior.schedule, self.prior.views
        groups = len(x) // views
        t = schedule.snap(torch.rand(groups, generator=query.rng, dtype=torch.float64).repeat_interleave(views))
        eps = gaussian(x, query.rng)
        with_camera = (torch.rand(groups, generator=query.rng) >= CAMERA_DROPOUT).repeat_interleave(views)
        x_t = schedule.diffuse(x, eps, t)
        target = output_from(self.prior.prediction, eps, x_t, t, schedule)
        return F.mse_loss(self._output(query, x_t, t, with_camera), target)

    def param_groups(self) -> list[dict[str, Any]]:
        """phi, with the learning rate `lr`."""
        return [{"name": "learner", "params": list(self.learned.parameters()), "lr": self.lr}]

    def state_dict(self) -> dict[str, Any]:
        """phi, without the frozen network of the prior."""
        return self.learned.state_dict()

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """The inverse of `state_dict`."""
        self.learned.load_state_dict(state)

    def _output(self, query: Query, x_t: X, t: Time, with_camera: Bool[Tensor, "B"]) -> X:
        self.calls, self.rows = self.calls + 1, self.rows + len(x_t)
        cameras = query.cameras
        pose = torch.zeros(len(x_t), 16)
        if cameras is not None:
            pose = cameras.c2w.flatten(1) * with_camera[:, None].to(cameras.c2w.device)
        view = self.camera(pose.to(next(self.camera.parameters())))
        return self.prior.output(self.net, x_t, t, query.conditions.plain, view)


def _sharing(net: nn.Module) -> nn.Module:
    """A copy of a network's structure that shares all tensors with the original; hooks on the copy do not affect it."""
    return copy.deepcopy(net, {id(tensor): tensor for tensor in [*net.parameters(), *net.buffers()]})


def _perceptron(inputs: int, outputs: int, rng: torch.Generator, start: Start) -> nn.Sequential:
    """A perceptron of two layers, its output zero at the start, or published: U(+-1 / sqrt(fan_in)) throughout."""
    first, last = nn.Linear(inputs, outputs), nn.Linear(outputs, outputs)
    if start == "published":
        for layer in (first, last):
            bound = 1 / math.sqrt(layer.in_features)
            for parameter in (layer.weight, layer.bias):
                nn.init.uniform_(parameter, -bound, bound, generator=rng)
    else:
        nn.init.normal_(first.weight, std=1 / math.sqrt(inputs), generator=rng)
        for zero in (first.bias, last.weight, last.bias):
            nn.init.zeros_(zero)
    return nn.Sequential(first, nn.SiLU(), last)
