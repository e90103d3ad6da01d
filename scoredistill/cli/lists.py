"""The commands that list what there is, and what this machine can do."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from scoredistill.cli.doctor import examine
from scoredistill.cli.method_help import method_page, methods_table
from scoredistill.cli.metric_help import metrics_table
from scoredistill.config import Config, named
from scoredistill.methods.catalogue import METHODS
from scoredistill.priors.load import priors_help
from scoredistill.recipes.presets import PRESETS


@dataclass(frozen=True)
class Methods(Config):
    """List the score-distillation methods with equations, scales and costs; describe one, or cite it."""

    name: Positional[str] = ""  # method to describe
    preset: str = "fast"  # preset whose scales and costs are listed: fast, study, paper or low-vram
    cite: str = ""  # print the BibTeX entry of this method

    def check(self) -> None:
        """ValueError for an unknown preset, and for a method that is to be both described and cited."""
        named("preset", self.preset, PRESETS)
        if self.name and self.cite:
            raise ValueError(f"give either a method to describe, {self.name!r}, or one to cite, {self.cite!r}")

    def __call__(self) -> None:
        if self.cite:
            print(named("method", self.cite, METHODS).citation)
        else:
            print(method_page(self.name, self.preset) if self.name else methods_table(self.preset))


@dataclass(frozen=True)
class Priors:
    """List the priors that can be distilled."""

    def __call__(self) -> None:
        print(priors_help())


@dataclass(frozen=True)
class Metrics:
    """List the metrics with equations, sources, ranges, and the priors for which they are meaningful."""

    def __call__(self) -> None:
        print(metrics_table())


@dataclass(frozen=True)
class Doctor:
    """Report what is installed on this machine, and what runs where."""

    def __call__(self) -> None:
        for name, well, found in examine():
            print(f"{'ok     ' if well else 'MISSING'} {name}: {found}")
