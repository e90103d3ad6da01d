"""Train the part meter: render toys with and without their parts, train, write the weights and their card.

    python tools/train_parts.py --minutes 15 --views 14336

Resumable: after an interruption, the same command continues from the last checkpoint. The toys differ from those of the
priors and of the judge (another seed). One process; on a CPU or a GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))
from scoredistill.evaluate import part_meter
from scoredistill.evaluate.part_meter import PartMeter, PartNetwork
from scoredistill.toybox import visibility
from tools import part_views
from tools.augment import degraded
from tools.fitting import fit
from tools.part_report import report
from tools.part_views import VIEWS_PER_TOY, PartViews, held_out, load
from tools.training import command_words, saved_progress, training_flags

FACES = 2.0  # how much more often than another view a front view of a kind with eyes is drawn
INTACT = 0.5  # share of the pictures from which nothing is removed
NOISE = 0.06  # largest standard deviation of the noise of a picture


class Batches:
    """Degraded pictures of toys, some of whose parts are removed, and the pixels of those that are left."""

    def __init__(self, views: PartViews, size: int, seed: int) -> None:
        self.views, self.size, self.rng = views, size, np.random.default_rng(seed)
        self.noise = torch.Generator().manual_seed(seed)
        faces = views.front & torch.tensor([each.kind in visibility.EYES for each in views.descriptions])
        weight = (1.0 + FACES * faces.double())[: len(views) - held_out(len(views))]
        self.weight = (weight / weight.sum()).numpy()

    def __call__(self) -> tuple[Float[Tensor, "B 3 64 64"], Bool[Tensor, "B P 64 64"]]:
        rows = self.rng.choice(len(self.weight), self.size, replace=False, p=self.weight)
        given, removed = self.views[rows], self._removed()
        parts = given[:, 1:] - given[:, :1]
        whole = given[:, 0] + (removed * parts).sum(1)
        # of each part that is left, the channel that it changes most, on gray; degraded like the picture
        low, high = parts.amin(2), parts.amax(2)
        changes = torch.where(high > -low, high, low) * ~removed[:, :, 0]
        gray = torch.full_like(whole[:, :1], 0.5)
        clean, blemished = torch.cat([whole, gray, gray + changes], 1).chunk(2)
        stack = torch.cat([clean, degraded(blemished, self.noise)])
        whole, gray, changed = stack.split([3, 1, parts.shape[1]], 1)
        deviation = NOISE * torch.rand(self.size, 1, 1, 1, generator=self.noise)
        noise = deviation * torch.randn(whole.shape, generator=self.noise)
        return (whole + noise).clamp(0, 1), (changed - gray).abs() > visibility.CONTRAST

    def _removed(self) -> Bool[Tensor, "B P 1 1 1"]:
        """Parts to remove: none of INTACT of the pictures, each with probability 1/2 of the others."""
        draw = torch.from_numpy(self.rng.random((self.size, len(visibility.PARTS) + 1)))
        return ((draw[:, 1:] < 0.5) & (draw[:, :1] > INTACT))[:, :, None, None, None]


def losses(flags: argparse.Namespace, seed: int) -> Callable[[PartNetwork], Tensor]:
    """The cross-entropy of the pixels of all parts on the next batch."""
    batches = Batches(load(flags.data), flags.batch, seed)

    def loss_of(net: PartNetwork) -> Tensor:
        rgb, target = (each.to(flags.device) for each in batches())
        with torch.autocast(rgb.device.type, torch.bfloat16):
            logits = net(rgb)
        entropy = functional.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
        return entropy.sum((2, 3)).mean() / 10  # of a part in a picture; a tenth, so that gradients are of order one

    return loss_of


def card(flags: argparse.Namespace, net: PartNetwork, tables: str) -> str:
    """The model card: data, architecture, command, held-out numbers, limits."""
    done = saved_progress(flags.out)
    return CARD.format(
        parameters=sum(value.numel() for value in net.parameters()) / 1e6,
        shape=net.shape,
        views=flags.views,
        toys=flags.views // VIEWS_PER_TOY,
        held_out=held_out(flags.views),
        steps=done.step,
        batch=flags.batch,
        spent=done.seconds / 60,
        flags=command_words(flags),
        threshold=part_meter.THRESHOLD,
        contrast=visibility.CONTRAST,
        pixels=visibility.PIXELS,
        tables=tables,
    )


CARD = """# The part meter of Toybox

A network ({parameters:.2f} M parameters) that says for a picture of 64 x 64 pixels whether a face (both eyes), eyes, a
nose or beak, a hat and buttons are visible. No prior and no method is trained with it or uses it.

- **Truth**: a part is visible in a render if at least {pixels} pixels change by more than {contrast} in a channel when
  it is left out; each eye is a part (`scoredistill/toybox/visibility.py`). No caption is read.
- **Architecture**: a U-Net (`scoredistill/evaluate/part_meter.py`, `{shape}`) marks the pixels of each part. The
  probability of a part is that of its third most probable pixel; above {threshold} it counts as seen.
- **Data**: {views} views of {toys} random toys, two thirds of them with eyes, with and without each part; other toys
  than those of the priors and of the judge. The last {held_out} views are held out.
- **Training**: cross-entropy of each pixel; half of the pictures lack some of their parts, so that an outline does not
  stand for a face. Half of the pictures are only noisy, half are degraded like those of the judge's training, and the
  truth is that of the degraded picture. {steps} steps of {batch} pictures in {spent:.0f} minutes, averaged weights.
- **Command**: `python tools/train_parts.py {flags}`
- **License**: Apache-2.0, like the code; trained on procedural images only.

{tables}
**Limits.** It knows the toys, the background and the camera distances of Toybox only. It was trained on eyes that are
where they belong or missing, never on eyes in a wrong place. It misses some eyes and sees some that are not there:
compare shares with those of true renders from the same cameras.
"""


def main() -> None:
    parser = training_flags(
        __doc__ or "", "parts", part_meter.EMBEDDED, minutes=15, views=14_336, batch=32, rate=3e-3, every=50
    )
    parser.set_defaults(workers=1)
    flags = parser.parse_args()
    # the seeds of the judge start at 2000, those of the priors at 1000 and 3000
    part_views.make(flags.data, flags.views, seed=6000 + flags.seed, workers=flags.renderers)
    if flags.only_data:
        return
    flags.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(flags.seed)
    average = fit(0, flags, PartNetwork(), losses)
    assert average is not None
    part_meter.save(average.shadow, flags.weights)
    tables = report(PartMeter.load(flags.weights, flags.device), load(flags.data))
    flags.weights.with_suffix(".md").write_text(card(flags, average.shadow, tables))
    print(f"{tables}wrote {flags.weights} and its card")


if __name__ == "__main__":
    main()
