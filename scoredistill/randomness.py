"""Randomness from named streams: every random number of a run comes from one seed and the name of its purpose."""

from __future__ import annotations

import torch
from torch import Tensor

STREAMS = {
    "cameras": 0,
    "render": 1,
    "method": 2,
    "asset": 500_000,
    "learner": 1_000_001,
    "scene": 1_000_002,
}
"""Offset of each stream: cameras, the renderer's samples, the method's noise and times, the fixed per-asset noise,
the initialization of a learner and that of the scene."""


def stream_seed(seed: int, name: str) -> int:
    """1,000,003 seed + the stream's offset: streams of different seeds never meet."""
    return 1_000_003 * seed + STREAMS[name]


def stream(seed: int, name: str) -> torch.Generator:
    """The generator of one stream of a seed, on the CPU, so that every device sees the same numbers."""
    return torch.Generator().manual_seed(stream_seed(seed, name))


def gaussian(like: Tensor, rng: torch.Generator) -> Tensor:
    """N(0, I) of the shape of `like`, drawn on the CPU so that every device sees the same numbers."""
    return torch.randn(like.shape, generator=rng, dtype=like.dtype).to(like.device)


class RandomStreams:
    """The three streams that the optimization loop draws from; their state is part of a checkpoint."""

    NAMES = ("cameras", "render", "method")

    def __init__(self, seed: int) -> None:
        self.generators = {name: stream(seed, name) for name in self.NAMES}

    def __getitem__(self, name: str) -> torch.Generator:
        return self.generators[name]

    def state_dict(self) -> dict[str, Tensor]:
        return {name: generator.get_state() for name, generator in self.generators.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, generator in self.generators.items():
            generator.set_state(state[name])
