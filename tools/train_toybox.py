"""Train the embedded prior from nothing: make captioned views, train the denoiser, write the weights and their card.

    python tools/train_toybox.py --minutes 80 --views 100000

Resumable: stopped at any moment, the same command goes on from the last checkpoint. Runs on a CPU (bf16 where it has
it) or a GPU; needs torch, numpy and the package's two small dependencies jaxtyping and safetensors.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from scoredistill.priors import toybox as prior
from scoredistill.priors.unet import Shape, UNet
from scoredistill.toybox import captions, dataset
from tools.training import Average, load_checkpoint, progress_rate, save_checkpoint, saved_progress, training_flags
from tools.workers import agreed, average_gradients, parallel

NULL_SHARE = 0.1  # captions dropped, so that the network also learns the text-free score
VIEW_SHARE = 0.85  # captions that name the view
TIME_MEAN, TIME_STD = 0.3, 1.0  # of logit t
COMPOSED_SHARE = 0.4  # pairs and counts, one caption in five of the language but most of what goes wrong
VIEWS_PER_TOY = 8  # a toy traced from eight sides at once costs a view two thirds of what it costs from four


CARD = """# toybox-prior

A text-to-image diffusion model of the Toybox world: 64x64 pixels, v-prediction, cosine schedule. Everything in
`scoredistill` that needs a prior without a download distils this one.

| | |
|---|---|
| parameters | {millions:.1f} M, stored in float16 |
| architecture | `scoredistill/priors/unet.py`, {shape} |
| data | {views} views of {toys} random toys, one view and one caption at a time; nothing about 3-D |
| captions | worded anew at every use; {null:.0%} dropped (text-free score), {view:.0%} of the others name the view |
| emphasis | {composed:.0%} of a batch are pairs and counts, which are hardest to learn |
| training | {steps} steps of {batch} images ({images} in all), {minutes:.0f} minutes, averaged weights |
| made by | `{command}` |
| guidance | samples are truest at scale 4 |
| quality | [benchmarks/results/prior.json](../../benchmarks/results/prior.json), by `benchmarks/prior.py` |

Limits: it knows the 30 kinds of toys of `toybox/captions.py`, one plain background, one light, and nothing else. Sizes,
counts and parts' colors are less certain than kinds and main colors. It is made for experiments with score
distillation, not for pictures.
"""


class Batches:
    """Random training batches: images in [-1, 1], tokens of freshly worded captions, and diffusion times."""

    def __init__(self, folder: Path, size: int, seed: int):
        self.views = dataset.load(folder)
        self.size = size
        self.rng = np.random.default_rng(seed)
        looks = zip(self.views.azimuth.tolist(), self.views.elevation.tolist(), strict=True)
        self.view_words = [captions.view_words(azimuth, elevation) for azimuth, elevation in looks]
        composed = np.array([toy.on is not None or toy.count > 1 for toy in self.views.descriptions])
        chance = np.where(
            composed, COMPOSED_SHARE / max(composed.sum(), 1), (1 - COMPOSED_SHARE) / max((~composed).sum(), 1)
        )
        self.chance = chance / chance.sum()

    def __call__(self) -> tuple[Tensor, ...]:
        rng, size = self.rng, self.size
        rows = rng.choice(len(self.chance), size, p=self.chance)
        x = self.views.rgb[torch.from_numpy(rows)].float() / 127.5 - 1
        tokens = torch.tensor([self._tokens(int(row)) for row in rows])
        return x, tokens, self._times()

    def _times(self) -> Tensor:
        """Four in five from a logit-normal (Esser et al. 2024), where shapes are decided; one in five uniform.

        Stratified, one in each of `size` equal slices of the distribution, so that a batch sees every noise level.
        """
        u = torch.from_numpy((self.rng.permutation(self.size) + self.rng.random(self.size)) / self.size)
        bent = torch.sigmoid(TIME_MEAN + TIME_STD * torch.special.ndtri(u))
        return torch.where(torch.from_numpy(self.rng.random(self.size)) < 0.8, bent, u)

    def _tokens(self, row: int) -> list[int]:
        if self.rng.random() < NULL_SHARE:
            return captions.tokenize("")
        view = self.view_words[row] if self.rng.random() < VIEW_SHARE else ""
        return captions.tokenize(captions.caption(self.views.descriptions[row], self.rng, view))


def denoising_loss(net: UNet, x: Tensor, tokens: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """E |v(x_t, t, y) - (alpha eps - sigma x)|^2 (Salimans and Ho 2022), in bf16 where that is fast."""
    levels = prior.SCHEDULE
    t = levels.snap(t)
    x_t = levels.diffuse(x, eps, t)
    target = levels.alpha(t, x) * eps - levels.sigma(t, x) * x
    with torch.autocast(x.device.type, torch.bfloat16):
        text, mask = net.text(tokens)
        v = net(x_t, t.to(x.device), text, mask)
    return (v.float() - target).square().mean()


def learning_rate(share: float, step: int, peak: float) -> float:
    """Linear warm-up over 200 steps, constant until 40 % of the time, then a cosine down to 1 % of the peak."""
    decay = 0.505 + 0.495 * math.cos(math.pi * min(max(share - 0.4, 0) / 0.6, 1))
    return peak * min(1, (step + 1) / 200) * decay


def train(rank: int, flags: argparse.Namespace) -> None:
    """Train in worker `rank` of `flags.workers`; the first one reports, saves, and at the end writes the weights."""
    device = torch.device(flags.device)
    with parallel(rank, flags.workers, flags.out / "meeting"):
        average = optimize(rank, flags, device)
    if rank == 0:
        prior.save(flags.weights, average.shadow)
        flags.weights.with_suffix(".md").write_text(card(flags, average.shadow))
        print(f"wrote {flags.weights} and its card")


def card(flags: argparse.Namespace, net: UNet) -> str:
    """The model card: task, data, architecture, training, how good it is, limits."""
    millions = sum(parameter.numel() for parameter in net.parameters()) / 1e6
    done = saved_progress(flags.out)
    made = f"--minutes {flags.minutes:g} --views {flags.views} --batch {flags.batch} --rate {flags.rate:g}"
    return CARD.format(
        millions=millions,
        shape=net.shape,
        views=flags.views,
        toys=flags.views // VIEWS_PER_TOY,
        null=NULL_SHARE,
        view=VIEW_SHARE,
        composed=COMPOSED_SHARE,
        steps=done.step,
        batch=flags.batch,
        images=done.step * flags.batch,
        minutes=done.seconds / 60,
        command=f"python tools/train_toybox.py {made} --workers {flags.workers} --seed {flags.seed}",
    )


def optimize(rank: int, flags: argparse.Namespace, device: torch.device) -> Average:
    """AdamW on the denoising loss until the minutes are spent; the averaged network."""
    torch.manual_seed(flags.seed)
    shape = Shape(len(captions.VOCABULARY), captions.CONTEXT)
    net = UNet(shape).to(device, memory_format=torch.channels_last)
    average = Average(net, decay=0.999)
    optimizer = torch.optim.AdamW(net.parameters(), lr=flags.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    start = load_checkpoint(flags.out, net, average, optimizer)
    seed = 1_000_003 * (flags.seed + start.step) + rank
    torch.manual_seed(seed)
    batches = Batches(flags.data, flags.batch // flags.workers, seed)
    step, spent, losses, began = start.step, start.seconds, [], time.monotonic()
    budget = 60 * flags.minutes
    while spent < budget:
        x, tokens, t = (part.to(device) for part in batches())
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(spent / budget, step, flags.rate)
        loss = denoising_loss(net, x, tokens, t, torch.randn_like(x))
        loss.backward()
        average_gradients(net, flags.workers)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(net, step)
        losses.append(loss.detach())
        step, spent = step + 1, start.seconds + agreed(time.monotonic() - began, flags.workers)
        if rank == 0 and (step % flags.every == 0 or spent >= budget):
            mean = float(torch.stack(losses).mean())
            rate = (step - start.step) * flags.batch / (spent - start.seconds)
            print(progress_rate(step, spent, mean, rate), flush=True)
            losses.clear()
            save_checkpoint(flags.out, net, average, optimizer, step, spent)
    return average


def main() -> None:
    parser = training_flags(
        __doc__ or "", "prior", prior.WEIGHTS, minutes=80, views=65_536, batch=32, rate=8e-4, every=100
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that share a batch; on a CPU one for each core"
    )
    flags = parser.parse_args()
    dataset.make(flags.data, flags.views, seed=1000 + flags.seed, views_per_toy=VIEWS_PER_TOY)
    flags.out.mkdir(parents=True, exist_ok=True)
    (flags.out / "meeting").unlink(missing_ok=True)  # of a training that broke off
    if flags.workers == 1:
        train(0, flags)
    else:
        torch.multiprocessing.spawn(train, (flags,), flags.workers)


if __name__ == "__main__":
    main()
