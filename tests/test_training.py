"""Training tools: weight averages in closed form, bit-identical resumption, agreement of the workers."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scoredistill.toybox.captions import Description
from tools import part_views
from tools.training import Average, command_words, load_checkpoint, save_checkpoint, training_flags
from tools.workers import average_gradients, parallel


def trained(net: nn.Module, average: Average, optimizer: torch.optim.Optimizer, first: int, steps: int) -> None:
    for step in range(first, first + steps):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        net(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update(net, step)


def start() -> tuple[nn.Module, Average, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    return net, Average(net, 0.9), torch.optim.AdamW(net.parameters(), lr=0.1)


def test_a_resumed_training_is_bit_identical(tmp_path: Path) -> None:
    whole = start()
    trained(*whole, 0, 8)
    part = start()
    trained(*part, 0, 5)
    save_checkpoint(tmp_path, *part, step=5, seconds=12.5)
    resumed = start()
    progress = load_checkpoint(tmp_path, *resumed)
    assert (progress.step, progress.seconds) == (5, 12.5)
    trained(*resumed, 5, 3)
    for found, expected in zip(resumed[:2], whole[:2], strict=True):
        found, expected = (getattr(owner, "shadow", owner) for owner in (found, expected))
        assert all(torch.equal(found.state_dict()[key], value) for key, value in expected.state_dict().items())


def test_an_empty_folder_starts_at_step_zero(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, *start()).step == 0


def test_the_average_equals_its_closed_form() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    average = Average(net, decay=0.5)
    for step, value in enumerate([1.0, 2.0]):
        nn.init.constant_(net.weight, value)
        average.update(net, step)
    first = 0.9 * 1.0  # decay min(.5, 1/10)
    assert abs(float(average.shadow.weight) - (first + (1 - 2 / 11) * (2.0 - first))) < 1e-6


def _worker(rank: int, folder: str) -> None:
    net = nn.Linear(2, 1, bias=False)
    nn.init.ones_(net.weight)
    with parallel(rank, 2, Path(folder, "meeting")):
        net(torch.full((1, 2), float(rank))).sum().backward()
        average_gradients(net, 2)
    assert net.weight.grad is not None
    Path(folder, str(rank)).write_text(str(net.weight.grad.tolist()))


@pytest.mark.parametrize("length", ["--steps 12", "--minutes 2.5"])
def test_the_command_in_a_card_repeats_the_training(length: str) -> None:
    parser = training_flags("", "x", Path("x"), minutes=80, views=64, batch=32, rate=8e-4, every=100)
    words = f"{length} --views 1234567 --batch 512 --rate 0.0015 --every 100 --seed 7654321"
    flags = parser.parse_args(words.split())
    assert parser.parse_args(command_words(flags, "every").split()) == flags


def test_workers_share_the_mean_gradient(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_worker, (str(tmp_path),), 2)
    assert [Path(tmp_path, name).read_text() for name in "01"] == ["[[0.5, 0.5]]"] * 2


def test_part_views_are_found_behind_a_shard_of_an_earlier_and_smaller_data_set(tmp_path: Path) -> None:
    """A shard that is there stays, with however many views it was made."""
    for index, count in enumerate((2, 3)):
        values = np.arange(10 * index, 10 * index + count, dtype=np.uint8)
        pictures = np.broadcast_to(values[:, None, None, None, None], (count, 6, 3, 64, 64))
        row = {"description": asdict(Description("car", "red")), "azimuth": 0.0, "elevation": 0.0}
        np.save(tmp_path / f"shard-{index:05d}.npy", pictures)
        (tmp_path / f"shard-{index:05d}.json").write_text(json.dumps([row] * count))
    views = part_views.load(tmp_path)
    assert len(views) == 5
    assert (255 * views[np.array([0, 1, 2, 4])][:, 0, 0, 0, 0]).round().tolist() == [0, 1, 10, 12]
