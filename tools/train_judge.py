"""Train the judge from scratch: render captioned views, train both towers, write the weights and their card.

    python tools/train_judge.py --minutes 25 --views 57344

Resumable: after an interruption, the same command continues from the last checkpoint. The toys differ from those of the
priors (another seed). Runs on a CPU (in bf16 if supported) or a GPU; requires torch, numpy, jaxtyping and safetensors.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, str(Path(__file__).parents[1]))
from scoredistill.evaluate import judge as judges
from scoredistill.evaluate import metrics, report
from scoredistill.evaluate.judge_network import JudgeNetwork, Shape
from scoredistill.toybox import captions, dataset
from tools.augment import augment
from tools.training import (
    Average,
    command_words,
    load_checkpoint,
    progress_rate,
    save_checkpoint,
    share_done,
    training_flags,
)

HELD_OUT = 2000  # views at the end of the folder, a quarter at most, whose toys are excluded from training
VIEWS_PER_TOY = 8  # rendering eight views of a toy at once costs two thirds as much per view as rendering four
VIEW_SHARE = 0.5  # captions that name the view
RETRIEVAL = 500  # held-out views whose captions compete


@dataclass(frozen=True)
class Batch:
    """Images, the tokens of their captions, and the indices of the toy and the view to recognize."""

    rgb: Float[Tensor, "B 3 64 64"]
    tokens: Int[Tensor, "B L"]
    toy: Int[Tensor, "B"]  # index in judges.PROMPTS
    view: Int[Tensor, "B"]  # index in judges.VIEWS

    def to(self, device: str) -> Batch:
        return Batch(*(part.to(device) for part in (self.rgb, self.tokens, self.toy, self.view)))


class Batches:
    """Batches of augmented images and newly worded captions, a function of the seed and the step."""

    def __init__(self, views: dataset.Views, size: int, seed: int):
        self.views, self.size, self.seed = views, size, seed
        toys = [report.expected(captions.phrase(description)) for description in views.descriptions]
        self.toy = torch.tensor([judges.PROMPTS.index(judges.plain(*toy)) for toy in toys])
        self.words = [view_words(views, row) for row in range(len(views))]
        self.view = torch.tensor([judges.VIEWS.index(words) for words in self.words])

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        rows = rng.choice(len(self.views) - held_out(self.views), self.size, replace=False)
        tokens = torch.tensor([captions.tokenize(self._caption(int(row), rng)) for row in rows])
        longest = int((tokens != captions.PAD).sum(1).max())
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return Batch(augment(pictures(self.views, rows), noise), tokens[:, :longest], self.toy[rows], self.view[rows])

    def _caption(self, row: int, rng: np.random.Generator) -> str:
        view = self.words[row] if rng.random() < VIEW_SHARE else ""
        return captions.caption(self.views.descriptions[row], rng, view)


def held_out(views: dataset.Views) -> int:
    """The number of views that judge the judge."""
    return min(HELD_OUT, len(views) // 4)


def pictures(views: dataset.Views, rows: np.ndarray) -> Tensor:
    """Views as rgb in [0, 1], [B 3 64 64]."""
    return views.rgb[torch.from_numpy(rows)].float() / 255


def view_words(views: dataset.Views, row: int) -> str:
    """The view words of one row."""
    return captions.view_words(float(views.azimuth[row]), float(views.elevation[row]))


def judge_loss(net: JudgeNetwork, batch: Batch) -> Tensor:
    """InfoNCE on full captions, and cross-entropies of the outputs of `Judge.recognize`: the first toy, and the view.

    With InfoNCE alone, kinds and colors are learned slowly, since the captions of a batch differ in many easier words.
    """
    toys, views = prompts(batch.rgb.device)
    # plain attention: in bf16 on a CPU, the fused one of torch costs more than the rest of the text tower
    with torch.autocast(batch.rgb.device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        image, text = net.image(batch.rgb), net.text(batch.tokens)
        toys, views = net.text(toys), net.text(views)
    logits = net.logit_scale * image
    return (
        net.loss(image, text)
        + functional.cross_entropy(logits @ toys.T, batch.toy)
        + functional.cross_entropy(logits @ views.T, batch.view)
    )


@cache
def prompts(device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens of the plain captions of all toys [300 L], and of the view words [4 L]."""

    def tokens(texts: Sequence[str]) -> Tensor:
        padded = torch.tensor([captions.tokenize(text) for text in texts], device=device)
        return padded[:, : int((padded != captions.PAD).sum(1).max())]

    return tokens(judges.PROMPTS), tokens(judges.VIEWS)


def learning_rate(fraction: float, step: int, peak: float) -> float:
    """Linear warm-up over 100 steps, then a cosine to zero."""
    return peak * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * min(fraction, 1)))


def train(flags: argparse.Namespace, views: dataset.Views) -> tuple[JudgeNetwork, int]:
    """Train with AdamW; return the averaged network and the number of steps."""
    torch.manual_seed(flags.seed)
    net = JudgeNetwork(Shape(len(captions.VOCABULARY), captions.CONTEXT))
    net.to(flags.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (not in torch's stubs)
    average = Average(net, decay=0.998)  # over the last 500 steps: a run has a few thousand
    optimizer = torch.optim.AdamW(net.parameters(), lr=flags.rate, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    start = load_checkpoint(flags.out, net, average, optimizer)
    batches = Batches(views, flags.batch, flags.seed)
    step, spent, losses, began = start.step, start.seconds, [], time.monotonic()
    while (done := share_done(flags, step, spent)) < 1:
        batch = batches(step).to(flags.device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(done, step, flags.rate)
        loss = judge_loss(net, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(net, step)
        losses.append(loss.detach())
        step, spent = step + 1, start.seconds + time.monotonic() - began
        if step % flags.every == 0 or share_done(flags, step, spent) >= 1:
            mean = float(torch.stack(losses).mean())
            rate = (step - start.step) * flags.batch / (spent - start.seconds)
            print(progress_rate(step, spent, mean, rate), flush=True)
            losses.clear()
            save_checkpoint(flags.out, net, average, optimizer, step, spent)
    return average.shadow, step


def assess(judge: judges.Judge, views: dataset.Views) -> dict[str, float]:
    """Fractions of held-out views that the judge recognizes correctly, and R-precision among their full captions."""
    rows = np.arange(len(views) - held_out(views), len(views))
    rgb = pictures(views, rows).to(judge.network.log_scale.device)
    toys = [views.descriptions[row] for row in rows.tolist()]
    words = [view_words(views, row) for row in rows.tolist()]
    texts = [captions.with_view(captions.phrase(toy), view) for toy, view in zip(toys, words, strict=True)]
    expected, found = [report.expected(text) for text in texts], judge.recognize(rgb)
    kind = np.array([a[0] == b for a, b in zip(expected, found.kinds, strict=True)])
    color = np.array([a[1] == b for a, b in zip(expected, found.colors, strict=True)])
    single = np.array([not toy.composed for toy in toys])
    distinct = sorted(set(texts[:RETRIEVAL]))
    own = torch.tensor([distinct.index(text) for text in texts[:RETRIEVAL]], device=rgb.device)
    return {
        "kind, single toys": float(kind[single].mean()),
        "color, single toys": float(color[single].mean()),
        "kind, counts and pairs": float(kind[~single].mean()),
        "color, counts and pairs": float(color[~single].mean()),
        "view words": float(np.mean([a == b for a, b in zip(words, found.views, strict=True)])),
        f"own caption among {len(distinct)}": metrics.retrieval_precision(
            judge.similarity(rgb[:RETRIEVAL], distinct), own
        ),
    }


def card(flags: argparse.Namespace, net: JudgeNetwork, steps: int, shares: dict[str, float]) -> str:
    """The model card: data, architecture, command, held-out numbers, limits."""
    return CARD.format(
        parameters=sum(value.numel() for value in net.parameters()) / 1e6,
        shape=net.shape,
        views=flags.views,
        held_out=min(HELD_OUT, flags.views // 4),
        steps=steps,
        batch=flags.batch,
        flags=command_words(flags),
        table="\n".join(f"| {name} | {100 * share:.1f} % |" for name, share in shares.items()),
    )


CARD = """# The Toybox judge

A contrastive encoder of images and captions (a small CLIP, {parameters:.2f} M parameters) that evaluates the results
of the methods. No prior and no method is trained with it or uses it.

- **Architecture**: a residual convolutional network with group normalization, and a transformer over words, averaged
  over the caption, into one space (`scoredistill/evaluate/judge_network.py`): `{shape}`.
- **Data**: {views} rendered views of Toybox toys with newly worded captions, half of them with view words; other toys
  than those of the priors (another seed). The last {held_out} views are held out.
- **Training**: symmetric InfoNCE on captions, and cross-entropies of the first toy (among 300) and of the view;
  AdamW, cosine learning rate, averaged weights; images augmented by shift, zoom, low resolution, blur, contrast,
  brightness and noise. {steps} steps of {batch} views.
- **Command**: `python tools/train_judge.py {flags}`
- **License**: Apache-2.0, like the code; trained on procedural images only.

| correct on held-out views | |
|---|---|
{table}

Kind and color are those of the toy named first, zero-shot among 30 kinds and 10 colors, from one view in
any direction.

**Limits.** It is trained on the vocabulary, camera distances and plain background of Toybox only. Its input has
64 x 64 pixels, so it misses finer defects. It is trained on intact toys only: a high score for a broken shape means
"most similar to", not "correct". Rotationally symmetric toys (a soccer ball, a pumpkin) have no identifiable view words
except "overhead view".
"""


def main() -> None:
    parser = training_flags(
        __doc__ or "", "judge", judges.EMBEDDED, minutes=25, views=57_344, batch=256, rate=1e-3, every=50
    )
    flags = parser.parse_args()
    # the seeds of the text-to-image prior start at 1000
    made = {"views_per_toy": VIEWS_PER_TOY, "workers": flags.renderers}
    dataset.make(flags.data, flags.views, seed=2000 + flags.seed, **made)
    if flags.only_data:
        return
    views = dataset.load(flags.data)
    net, steps = train(flags, views)
    judges.save(net, flags.weights)
    shares = assess(judges.Judge.load(flags.weights, flags.device), views)
    flags.weights.with_suffix(".md").write_text(card(flags, net, steps, shares))
    for name, share in shares.items():
        print(f"{name:24s} {100 * share:5.1f} %")
    print(f"wrote {flags.weights}")


if __name__ == "__main__":
    main()
