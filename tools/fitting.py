"""The training loop of all Toybox denoisers: AdamW, weight averaging, resumable."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

sys.path.insert(0, str(Path(__file__).parents[1]))
from scoredistill.priors import toybox as prior
from tools.training import (
    Average,
    Net,
    command_words,
    load_checkpoint,
    progress_rate,
    save_checkpoint,
    saved_progress,
    share_done,
)
from tools.workers import agreed, average_gradients, parallel

Losses = Callable[[argparse.Namespace, int], Callable[[Net], Tensor]]
"""(flags, seed) -> a function that returns the loss of a network on the next batch of a worker."""


def fit(rank: int, flags: argparse.Namespace, net: Net, losses: Losses[Net]) -> Average[Net] | None:
    """Train `net` in worker `rank` of `flags.workers`; the first worker returns the averaged network, others None.

    `flags` are those of `training_flags`, and `workers`. The images of a batch are divided among the workers.
    """
    device = torch.device(flags.device)
    with parallel(rank, flags.workers, flags.out / "meeting"):
        net.to(device, memory_format=layout(device))  # pyright: ignore[reportCallIssue] (not in torch's stubs)
        average = Average(net, decay=0.999)
        optimizer = torch.optim.AdamW(net.parameters(), lr=flags.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
        start = load_checkpoint(flags.out, net, average, optimizer)
        seed = 1_000_003 * (flags.seed + start.step) + rank
        torch.manual_seed(seed)
        loss_of = losses(flags, seed)
        step, spent, recent, began = start.step, start.seconds, [], time.monotonic()
        while (done := share_done(flags, step, spent)) < 1:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(done, step, flags.rate)
            loss = loss_of(net)
            loss.backward()
            average_gradients(net, flags.workers)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update(net, step)
            recent.append(loss.detach())
            step, spent = step + 1, start.seconds + agreed(time.monotonic() - began, flags.workers)
            if rank == 0 and (step % flags.every == 0 or share_done(flags, step, spent) >= 1):
                rate = (step - start.step) * flags.batch / (spent - start.seconds)
                print(progress_rate(step, spent, float(torch.stack(recent).mean()), rate), flush=True)
                recent.clear()
                save_checkpoint(flags.out, net, average, optimizer, step, spent)
    return average if rank == 0 else None


def layout(device: torch.device) -> torch.memory_format:
    """The fastest layout: on a CPU, group normalization of few channels is slow backwards in channels-last."""
    return torch.contiguous_format if device.type == "cpu" else torch.channels_last


def learning_rate(fraction: float, step: int, peak: float) -> float:
    """Linear warm-up over 200 steps, constant until 40 % of the training, then a cosine to 1 % of the peak."""
    decay = 0.505 + 0.495 * math.cos(math.pi * min(max(fraction - 0.4, 0) / 0.6, 1))
    return peak * min(1, (step + 1) / 200) * decay


def finish(flags: argparse.Namespace, net: Any, card: str, **more: float | str) -> None:
    """Write the weights and their card, filled in with the facts of the training and `more`."""
    done = saved_progress(flags.out)
    prior.save(flags.weights, net)
    facts = {
        "millions": sum(parameter.numel() for parameter in net.parameters()) / 1e6,
        "shape": net.shape,
        "views": flags.views,
        "steps": done.step,
        "batch": flags.batch,
        "images": done.step * flags.batch,
        "minutes": done.seconds / 60,
        "flags": command_words(flags, "workers") + getattr(flags, "more", ""),
    }
    flags.weights.with_suffix(".md").write_text(card.format(**facts, **more))
    print(f"wrote {flags.weights} and its card")


def launch(flags: argparse.Namespace, train: Callable[[int, argparse.Namespace], None]) -> None:
    """Run `train(rank, flags)` in each of `flags.workers` processes."""
    flags.out.mkdir(parents=True, exist_ok=True)
    (flags.out / "meeting").unlink(missing_ok=True)  # left by an interrupted training
    if flags.workers == 1:
        train(0, flags)
    else:
        spawn(train, (flags,), flags.workers)


def denoising_loss(
    network: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor, weights: Tensor | float = 1.0
) -> Tensor:
    """E w |v(x_t, t, y) - (alpha eps - sigma x)|^2 (Salimans and Ho 2022), with v = network(x_t, t) in bf16.

    `weights` of the pixels may depend on t and y; if they depended on x, the minimizer would not be E[v | x_t, t, y].
    """
    levels = prior.SCHEDULE
    t, eps = levels.snap(t), torch.randn_like(x)
    x_t = levels.diffuse(x, eps, t)
    target = levels.alpha(t, x) * eps - levels.sigma(t, x) * x
    with torch.autocast(x.device.type, torch.bfloat16):
        v = network(x_t, t.to(x.device))
    return (weights * (v.float() - target).square()).mean()
