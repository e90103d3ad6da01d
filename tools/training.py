"""Shared code of the training tools: averaged weights, resumable checkpoints without pickle, log lines, flags."""

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
    """Exponential moving average of the parameters of a network, with a warm-up of the decay."""

    def __init__(self, net: Net, decay: float):
        self.shadow: Net = copy.deepcopy(net).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage] (fused, and not in torch's stubs)
            list(self.shadow.parameters()), list(net.parameters()), 1 - decay
        )
        for averaged, current in zip(self.shadow.buffers(), net.buffers(), strict=True):
            averaged.copy_(current)


@dataclass(frozen=True)
class Start:
    """State of a training: completed steps and elapsed seconds."""

    step: int = 0
    seconds: float = 0.0


def save_checkpoint(
    folder: Path, net: nn.Module, average: Average, optimizer: torch.optim.Optimizer, step: int, seconds: float
) -> None:
    """Write weights, averages, Adam's moments and the progress (in the header) to one safetensors file, atomically."""
    tensors = {f"net.{key}": value for key, value in net.state_dict().items()}
    tensors |= {f"average.{key}": value for key, value in average.shadow.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{key}": value for key, value in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "checkpoint.part"
    metadata = {"progress": json.dumps({"step": step, "seconds": seconds})}
    save_file({key: value.contiguous() for key, value in tensors.items()}, temporary, metadata)
    os.replace(temporary, folder / "checkpoint.safetensors")


def load_checkpoint(folder: Path, net: nn.Module, average: Average, optimizer: torch.optim.Optimizer) -> Start:
    """Restore the state written by `save_checkpoint`; without a checkpoint, start at step 0."""
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
    """Progress of the checkpoint in a folder, read from its header."""
    with (folder / "checkpoint.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return Start(**json.loads(header["__metadata__"]["progress"]))


def training_flags(
    about: str, name: str, weights: Path, *, minutes: float, views: int, batch: int, rate: float, every: int
) -> argparse.ArgumentParser:
    """The flags of every training, with the given defaults; data and checkpoints of `name` are in data/."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=minutes, help="training time in minutes, including resumed parts"
    )
    parser.add_argument("--steps", type=int, help="number of steps, resumed parts included, instead of --minutes")
    parser.add_argument("--views", type=int, default=views, help="captioned views to render before training")
    parser.add_argument("--batch", type=int, default=batch, help="images per step")
    parser.add_argument("--rate", type=float, default=rate, help="peak learning rate")
    parser.add_argument("--every", type=int, default=every, help="steps between log lines and checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data, the initialization and the batches")
    parser.add_argument("--renderers", type=int, default=2, help="processes that render the views")
    parser.add_argument("--only-data", action="store_true", help="render the views, and train nothing")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--data", type=Path, default=Path(f"data/toybox-{name}"), help="folder of the rendered views")
    parser.add_argument("--out", type=Path, default=Path(f"data/train-{name}"), help="folder of the checkpoints")
    parser.add_argument(
        "--weights", type=Path, default=weights, help="output file of the weights; the card is beside it"
    )
    return parser


def command_words(flags: argparse.Namespace, *more: str) -> str:
    """The flags that repeat a training, as in its command: those of every training, and `more` by their names."""
    names = ("steps" if flags.steps else "minutes", "views", "batch", "rate", *more, "seed")
    values = {name: getattr(flags, name) for name in names}
    shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in values.items()}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in shown.items())


def share_done(flags: argparse.Namespace, step: int, seconds: float) -> float:
    """How much of a training is done, by its number of steps if it has one, else by its time; 1 at the end."""
    return step / flags.steps if flags.steps else seconds / (60 * flags.minutes)


def progress_rate(step: int, seconds: float, loss: float, rate: float) -> str:
    """A log line: step, elapsed minutes, mean loss, images per second."""
    return f"step {step:6d}  {seconds / 60:6.1f} min  loss {loss:.4f}  {rate:5.1f} images/s"
