"""The command that draws samples of a prior."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from scoredistill.config import Config, GuidanceScale, Iterations, Range, Seed
from scoredistill.contracts import Prompt
from scoredistill.export.images import grid, write_png
from scoredistill.priors.load import full_prior_name
from scoredistill.recipes.preset import resolved_device
from scoredistill.recipes.recipe import PriorConfig
from scoredistill.runs.formats import check_output
from scoredistill.runs.names import default_path, unused_path
from scoredistill.runs.samples import samples


@dataclass(frozen=True)
class Sample(Config):
    """Sample the prior itself with DDIM, into one PNG."""

    prompt: Positional[str]  # prompt of the samples
    prior: str = "toybox"  # as in `generate`; see `scoredistill priors`
    count: Annotated[int, Range(1, 1024)] = 16  # number of samples
    scale: GuidanceScale = 4.0  # guidance scale, null + scale (text - null); 4 suits Toybox, 7.5 Stable Diffusion
    steps: Iterations = 30  # DDIM steps, each one evaluation of the prior
    seed: Seed = 0  # seed of the noise
    negative: str = ""  # negative prompt (replaces the empty prompt in classifier-free guidance)
    device: str = "auto"  # cpu, cuda, cuda:N, or auto
    lora: tuple[str, ...] = ()  # LoRA files FILE[:weight], fused into the network
    out: Path | None = None  # output PNG; by default runs/PROMPT-ddim-SEED.png, numbered if it exists

    def __call__(self) -> None:
        if not self.prompt.strip():
            raise ValueError('no prompt: say what to sample, as in: scoredistill sample "a purple snowman"')
        path = self.out or unused_path(default_path(self.prompt, "ddim", self.seed).with_suffix(".png"))
        check_output(path, "png", folder_made=True)
        name = "toybox" if self.prior == "auto" else full_prior_name(self.prior)
        config = PriorConfig(name, resolved_device(self.device), lora=self.lora)
        prompt = Prompt(self.prompt, self.negative)
        rgb = samples(config, prompt, self.count, scale=self.scale, steps=self.steps, seed=self.seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(grid(rgb), path)
        print(path)
