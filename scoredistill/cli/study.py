"""The command that repeats a figure of the papers."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from scoredistill.cli.progress import Ticker
from scoredistill.export.findings import VERDICTS
from scoredistill.studies.conduct import Order, conduct, listing


@dataclass(frozen=True)
class Study(Order):
    """Repeat a figure of the papers in 2D, on a page that says whether its claim holds; without a name, list them."""

    name: Positional[str] = ""  # of the study

    def __call__(self) -> None:
        if not self.name:
            print(listing())
            return
        with Ticker() as progress:
            finding, page = conduct(self, progress)
        print(f"{VERDICTS[finding.holds][1]} {finding.because}\n{page}")


Study.__doc__ = f"{Study.__doc__}\n\n" + listing().replace("\n", "\n\n")
