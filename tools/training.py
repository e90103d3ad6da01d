"""What the training tools share: averaged weights, resumable checkpoints without pickle, one line of progress."""

from __future__ import annotations

import argparse
import copy
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


class Average(Generic[Net]):
    """Exponential moving average of a network's parameters; the decay warms up so that the start is forgotten."""

    def __init__(self, net: Net, decay: float):
        self.shadow: Net = copy.deepcopy(net).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage] (fused, and not in torch's stubs)
            list(self.shadow.parameters()), list(net.parameters()), 1 - decay
        )
        for mine, theirs in zip(self.shadow.buffers(), net.buffers(), strict=True):
            mine.copy_(theirs)


@dataclass(frozen=True)
class Start:
    """Where training goes on: steps done and seconds spent."""

    step: int = 0
    seconds: float = 0.0


def save_checkpoint(
    folder: Path, net: nn.Module, average: Average, optimizer: torch.optim.Optimizer, step: int, seconds: float
) -> None:
    """Write weights, averages and Adam's moments to one safetensors file, atomically; progress rides in its header."""
    tensors = {f"net.{key}": value for key, value in net.state_dict().items()}
    tensors |= {f"average.{key}": value for key, value in average.shadow.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{key}": value for key, value in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / "checkpoint.part"
    metadata = {"progress": json.dumps({"step": step, "seconds": seconds})}
    save_file({key: value.contiguous() for key, value in tensors.items()}, fresh, metadata)
    os.replace(fresh, folder / "checkpoint.safetensors")


def load_checkpoint(folder: Path, net: nn.Module, average: Average, optimizer: torch.optim.Optimizer) -> Start:
    """Restore what `save_checkpoint` wrote; a folder without one means a fresh start."""
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return Start()
    tensors = load_file(path)
    net.load_state_dict(_part(tensors, "net."))
    average.shadow.load_state_dict(_part(tensors, "average."))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in _part(tensors, "adam.").items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return saved_progress(folder)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def saved_progress(folder: Path) -> Start:
    """How far the checkpoint of a folder had come, from its header alone."""
    with (folder / "checkpoint.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return Start(**json.loads(header["__metadata__"]["progress"]))


def training_flags(
    about: str, name: str, weights: Path, *, minutes: float, views: int, batch: int, rate: float, every: int
) -> argparse.ArgumentParser:
    """The flags that every training has, with its own defaults; data and checkpoints of `name` lie under data/."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=minutes, help="training time, all resumed parts together")
    parser.add_argument("--views", type=int, default=views, help="captioned views to make before training")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate, help="peak learning rate")
    parser.add_argument("--every", type=int, default=every, help="steps between log lines and checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--data", type=Path, default=Path(f"data/toybox-{name}"))
    parser.add_argument("--out", type=Path, default=Path(f"data/train-{name}"), help="checkpoints")
    parser.add_argument("--weights", type=Path, default=weights)
    return parser


def progress_rate(step: int, seconds: float, loss: float, rate: float) -> str:
    """One plain line: step, minutes spent, mean loss, images a second."""
    return f"step {step:6d}  {seconds / 60:6.1f} min  loss {loss:.4f}  {rate:5.1f} images/s"
