"""A second score on a frozen network: low-rank adapters and camera conditioning (the learner of VSD and ESD).

x      renders in the prior's space                                    [B C h w]
pose   camera-to-world matrix, flattened; zeros without a camera       [B 16]
view   what the pose adds to the network's embedding                   [B E]
W      weight of a frozen layer; down and up, of `rank` channels between them, make what is added to it
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from scoredistill.contracts import Condition, Query
from scoredistill.priors.network import Time, X
from scoredistill.priors.parametrization import Prediction, eps_from, output_from
from scoredistill.schedule import NoiseSchedule

CAMERA_DROPOUT = 0.1  # share of rows trained without their camera (Wang et al. 2023, official code)


@runtime_checkable
class Adaptable(Protocol):
    """What a learner needs of a prior: its network, and how that network is evaluated."""

    schedule: NoiseSchedule
    prediction: Prediction
    embedding: int  # width of the embedding that a view is added to

    @property
    def net(self) -> nn.Module: ...

    def adapted(self, layer: str) -> bool:
        """Whether the layer of this name in `net` gets an adapter."""
        ...

    def output(self, net: nn.Module, x_t: X, t: Time, condition: Condition, view: Float[Tensor, "B E"]) -> X:
        """What `net`, of the structure of the prior's own, predicts in the parametrization `prediction`."""
        ...


class Adapter(nn.Module):
    """A forward hook on a frozen layer: W x + up (down x), with up = 0 at the start (Hu et al. 2022, eq. 3).

    For a convolution `down` has the layer's own kernel and stride, and `up` is 1x1.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int, rng: torch.Generator):
        super().__init__()
        width, *fan_in = layer.weight.shape
        down = torch.randn(rank, *fan_in, generator=rng) / math.sqrt(math.prod(fan_in))
        self.down = nn.Parameter(down.to(layer.weight))
        self.up = nn.Parameter(layer.weight.new_zeros(width, rank, *[1] * (layer.weight.ndim - 2)))

    def forward(self, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        (x,) = inputs
        if isinstance(layer, nn.Conv2d):
            narrow = F.conv2d(x, self.down, None, layer.stride, layer.padding, layer.dilation)
            return output + F.conv2d(narrow, self.up)
        return output + F.linear(F.linear(x, self.down), self.up)


Grow = Callable[[nn.Module, Sequence[str], int, torch.Generator], nn.ModuleDict]
"""(network, names of its layers, rank, rng) -> the adapters by layer, which the network has from then on."""


def hooked(net: nn.Module, layers: Sequence[str], rank: int, rng: torch.Generator) -> nn.ModuleDict:
    """Adapters as forward hooks on linear layers and convolutions."""
    adapters = nn.ModuleDict()
    for name in layers:
        layer: Any = net.get_submodule(name)
        adapters[name.replace(".", "-")] = adapter = Adapter(layer, rank, rng)
        layer.register_forward_hook(adapter)
    return adapters


class LoraLearner:
    """eps_phi(x_t, t, y, camera): the prior itself at the start, then what the renders are (Wang et al. 2023).

    phi are adapters of rank `rank` on the layers that the prior names, and a perceptron from the pose to the
    embedding; y is the text without view words. The frozen network is shared, not copied, and never changed.
    `calls` and `rows` count evaluations of the network, those of the training included, as the prior counts its own.
    `grow` makes the adapters. Camera and adapters are learned in float32 at least.
    """

    def __init__(self, prior: Adaptable, *, rank: int, lr: float, seed: int, grow: Grow = hooked):
        if rank < 1 or lr <= 0:
            raise ValueError(f"a learner needs a rank of at least 1 and a positive lr, got rank {rank} and lr {lr:g}")
        rng = torch.Generator().manual_seed(seed)
        self.prior, self.lr = prior, lr
        self.net = _sharing(prior.net)
        like = next(prior.net.parameters())
        dtype = torch.promote_types(like.dtype, torch.float32)
        self.camera = _perceptron(16, prior.embedding, rng).to(like.device, dtype)
        layers = [
            name
            for name, layer in self.net.named_modules()
            if isinstance(layer, nn.Linear | nn.Conv2d) and prior.adapted(name)
        ]
        self.learned = nn.ModuleDict({"adapters": grow(self.net, layers, rank, rng), "camera": self.camera})
        self.calls = self.rows = 0

    @torch.no_grad()
    def eps(self, query: Query, x_t: X, t: Time, *, camera: bool) -> X:
        """The noise prediction for the query's plain text; without `camera`, or where there are none, for no view."""
        output = self._output(query, x_t, t, torch.full((len(x_t),), camera))
        return eps_from(self.prior.prediction, output, x_t, t, self.prior.schedule)

    def loss(self, query: Query, x: X) -> Float[Tensor, ""]:
        """mean ||F_phi(x_t', t', y, camera) - F'||^2 over the elements, t' ~ U(0, 1), eps' ~ N(0, I).

        F is the prior's own parametrization, so for the v-predicting Toybox F' = alpha eps' - sigma x, as for the
        paper's v-model; x is detached. One row in ten is trained without its camera: ESD's camera-free score.
        """
        x, schedule = x.detach(), self.prior.schedule
        t = schedule.snap(torch.rand(len(x), generator=query.rng, dtype=torch.float64))
        eps = torch.randn(x.shape, generator=query.rng, dtype=x.dtype).to(x.device)
        with_camera = torch.rand(len(x), generator=query.rng) >= CAMERA_DROPOUT
        x_t = schedule.diffuse(x, eps, t)
        target = output_from(self.prior.prediction, eps, x_t, t, schedule)
        return F.mse_loss(self._output(query, x_t, t, with_camera), target)

    def param_groups(self) -> list[dict[str, Any]]:
        """All of phi, at the learning rate `lr`."""
        return [{"name": "learner", "params": list(self.learned.parameters()), "lr": self.lr}]

    def state_dict(self) -> dict[str, Any]:
        """phi alone: the frozen network is the prior's."""
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
    """A copy of a network's structure around the very tensors of the original, so that hooks on it leave that alone."""
    return copy.deepcopy(net, {id(tensor): tensor for tensor in [*net.parameters(), *net.buffers()]})


def _perceptron(inputs: int, outputs: int, rng: torch.Generator) -> nn.Sequential:
    """Two layers, the last of which is zero, so that conditioning on a camera starts from none."""
    first, last = nn.Linear(inputs, outputs), nn.Linear(outputs, outputs)
    nn.init.normal_(first.weight, std=1 / math.sqrt(inputs), generator=rng)
    for zero in (first.bias, last.weight, last.bias):
        nn.init.zeros_(zero)
    return nn.Sequential(first, nn.SiLU(), last)
