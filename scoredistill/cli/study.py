"""The command that repeats a figure or table of the papers."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from scoredistill.cli.progress import Ticker
from scoredistill.cli.scene_study import conduct_scenes, forecast
from scoredistill.config import named
from scoredistill.export.findings import VERDICTS
from scoredistill.studies import SCENE_STUDIES, STUDIES
from scoredistill.studies.conduct import Order, conduct, listing

IN_3D = ("preset", "processes", "reuse", "dry_run")
"""The settings of studies in 3D only."""


@dataclass(frozen=True)
class Study(Order):
    """Repeat a figure or table of the papers and report whether its claim holds; without a name, list the studies."""

    name: Positional[str] = ""  # name of the study

    def __call__(self) -> None:
        if not self.name:
            print(listing())
            return
        named("study", self.name, {**STUDIES, **SCENE_STUDIES})
        given = [name for name in IN_3D if getattr(self, name) != getattr(Study, name)]
        if self.name in STUDIES and given:
            raise ValueError(f"{given[0]} is for studies in 3D, and {self.name} is in 2D: leave it out")
        if self.dry_run:
            print(forecast(SCENE_STUDIES[self.name], self))
            return
        with Ticker() as progress:
            if self.name in SCENE_STUDIES:
                finding, page = conduct_scenes(SCENE_STUDIES[self.name], self, progress)
            else:
                finding, page = conduct(self, progress)
        print(f"{VERDICTS[finding.holds][1]} {finding.because}\n{page}")


Study.__doc__ = f"{Study.__doc__}\n\n" + listing().replace("\n", "\n\n")
