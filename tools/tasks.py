"""Shared code of the multi-view and the pose training: data, flags, and initialization from a trained prior."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from scoredistill.priors import toybox
from scoredistill.priors.toybox import ToyboxPosePrior, ToyboxViewsPrior
from scoredistill.priors.toybox.unet_tasks import VIEWS, start_from
from scoredistill.toybox import dataset
from tools.fitting import Losses, finish, fit, launch
from tools.training import training_flags

TaskPrior = ToyboxViewsPrior | ToyboxPosePrior
RINGS = 2  # per toy, at different elevations


def task_flags(about: str, prior: type[TaskPrior], begin: Path) -> argparse.ArgumentParser:
    """The flags of the training of a task, by default from the weights `begin`."""
    name = prior.weights.stem.removeprefix("toybox-")
    parser = training_flags(about, "mv", prior.weights, minutes=60, views=65_536, batch=32, rate=4e-4, every=100)
    parser.set_defaults(out=Path(f"data/train-{name}"), default_begin=begin)
    parser.add_argument("--workers", type=int, default=1, help="processes among which the rings of a batch are divided")
    parser.add_argument(
        "--begin", type=Path, default=begin, help="weights of the trained prior, of any task, to start from"
    )
    return parser


def train_task(flags: argparse.Namespace, train: Callable[[int, argparse.Namespace], None], more: str = "") -> None:
    """Make the data (the same for both tasks), and run `train(rank, flags)` in every worker.

    `more` are flags of the task alone, for the card.
    """
    flags.more = more + ("" if flags.begin == flags.default_begin else f" --begin {flags.begin}")
    made = {"views_per_toy": RINGS * VIEWS, "ring": VIEWS, "workers": flags.renderers}
    dataset.make(flags.data, flags.views, seed=3000 + flags.seed, **made)
    if not flags.only_data:
        launch(flags, train)


def fit_from_prior(
    rank: int, flags: argparse.Namespace, prior: type[TaskPrior], losses: Losses, card: str, **more: float
) -> None:
    """Train the network of a task from a trained prior in worker `rank`; the first worker writes weights and card."""
    torch.manual_seed(flags.seed)
    trained = toybox.load(flags.begin, dtype=torch.float32).net
    net: Any = prior.network(trained.shape)
    start_from(net, trained)
    average = fit(rank, flags, net, losses)
    if average:
        finish(flags, average.shadow, card, initial=flags.begin.stem, **more)
