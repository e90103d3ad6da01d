"""Gaussian splats as a scene (Kerbl et al. 2023), with adaptive density.

N splats, which change in number   B views
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.camera import Cameras
from scoredistill.config import Config, Count, LearningRate, Positive, Range
from scoredistill.contracts import Field, Frame, Gaussians
from scoredistill.kernels.rasterize import reach
from scoredistill.render.harmonics import MAX_DEGREE
from scoredistill.render.splat import SplatImages, render_splats
from scoredistill.scenes import regularizers as losses
from scoredistill.scenes.splats.config import DensifyConfig, Opacity, RateDecay, SplatRegularizers
from scoredistill.scenes.splats.densify import ScreenGradients, densify, prune, reset_opacity
from scoredistill.scenes.splats.field import SplatField
from scoredistill.scenes.splats.mesh_file import read_triangles
from scoredistill.scenes.splats.start import ball, on_mesh


@dataclass(frozen=True)
class SplatsConfig(Config):
    """Hyperparameters of Gaussian splats; the learning rates are Kerbl et al.'s, for a scene of extent 1."""

    start: str = "ball"  # initial splats: ball, a mesh file (.glb, .obj, .ply, .stl, .off), or the folder of a run
    bounds: Annotated[float, Range(0.1, 100)] = 1.0  # meshes are extracted from the cube [-bounds, bounds]^3
    count: Annotated[int, Range(4, 10_000_000)] = 2000  # initial number of splats
    radius: Positive = 0.5  # radius of the initial ball, world units
    opacity: Opacity = 0.1  # initial opacity
    degree: Annotated[int, Range(0, MAX_DEGREE)] = 0  # degree of the spherical harmonics
    degree_every: Count = 1000  # optimization steps after which one more degree is active
    lr_position: LearningRate = 1.6e-4  # learning rate of the positions
    lr_color: LearningRate = 2.5e-3  # learning rate of the colors of degree 0; 1/20 of it for higher degrees
    lr_opacity: LearningRate = 5e-2  # learning rate of the opacity logits
    lr_spread: LearningRate = 5e-3  # learning rate of the logarithms of the standard deviations
    lr_rotation: LearningRate = 1e-3  # learning rate of the rotations
    decay: RateDecay = field(default_factory=RateDecay)  # decay of the learning rates
    densify: DensifyConfig = field(default_factory=DensifyConfig)  # cloning, splitting and pruning
    regularizers: SplatRegularizers = field(default_factory=SplatRegularizers)  # loss weights

    def build(self, *, rng: torch.Generator, steps: int, resolution: int) -> Splats:
        """The scene before the first step; ValueError for a start without a mesh."""
        mesh, shape = self.start_mesh, (self.opacity, self.degree, rng)
        if mesh is None:
            return Splats(self, ball(self.count, self.radius, *shape), steps)
        return Splats(self, on_mesh(read_triangles(mesh, self.bounds), self.count, *shape), steps)

    @property
    def start_mesh(self) -> Path | None:
        """The file of the mesh that the initial splats lie on; None where they start as a ball."""
        if self.start == "ball":
            return None
        path = Path(self.start)
        return path / "mesh.glb" if path.is_dir() else path


class Splats(nn.Module):
    """N splats: means, log standard deviations, rotations, logits of opacity, spherical harmonics."""

    age: Tensor
    pull: Tensor
    views: Tensor

    def __init__(self, config: SplatsConfig, start: Gaussians, steps: int) -> None:
        super().__init__()
        self.config, self.steps = config, steps  # steps of the run: learning rates decay over them
        self.means = nn.Parameter(start.means.clone())
        self.log_stds = nn.Parameter(start.stds.log())
        self.rotations = nn.Parameter(start.rotations.clone())
        self.opacity_logits = nn.Parameter(torch.logit(start.opacities))
        self.harmonics = nn.Parameter(start.harmonics[:, :1].clone())
        self.directional = nn.Parameter(start.harmonics[:, 1:].clone())
        self.register_buffer("age", torch.zeros((), dtype=torch.long))  # steps done
        for name in ("pull", "views"):  # see `densify.ScreenGradients`
            self.register_buffer(name, torch.zeros(len(start.means)))
        self._renders: list[SplatImages] = []  # for the step in progress

    def gaussians(self) -> Gaussians:
        """The splats as they are rendered, with the degrees of harmonics that are active so far."""
        degree = min(int(self.age) // self.config.degree_every, self.config.degree)
        harmonics = self.harmonics
        if degree:
            harmonics = torch.cat([harmonics, self.directional[:, : (degree + 1) ** 2 - 1]], 1)
        opacities = torch.sigmoid(self.opacity_logits)
        return Gaussians(self.means, self.log_stds.exp(), self.rotations, opacities, harmonics)

    def render(self, cameras: Cameras, background: Float[Tensor, "3"], rng: torch.Generator | None = None) -> Frame:
        """Composited colors over the background; see `Scene.render`. Nothing is random."""
        images = render_splats(self.gaussians(), cameras)
        if images.footprints.mean.requires_grad:
            images.footprints.mean.retain_grad()
            self._renders.append(images)
        rgb = images.rgb + (1 - images.opacity) * background[:, None, None]
        return Frame(rgb, images.opacity, images.depth, images.normal, {"z_variance": images.z_variance})

    def volume(self) -> Field:
        """The splats as a density, for mesh export."""
        return SplatField(self.gaussians(), self.config.bounds)

    def param_groups(self) -> list[dict[str, Any]]:
        """One group for each parameter, at its learning rate."""
        s = self.config
        rates = {
            "means": s.lr_position,
            "harmonics": s.lr_color,
            "directional": s.lr_color / 20,
            "opacity_logits": s.lr_opacity,
            "log_stds": s.lr_spread,
            "rotations": s.lr_rotation,
        }
        return [{"name": name, "params": [getattr(self, name)], "lr": lr} for name, lr in rates.items()]

    def regularizer(self, frame: Frame, cameras: Cameras, progress: float) -> Float[Tensor, ""]:
        """The weighted sum of the losses of `SplatRegularizers`; terms of weight zero are not computed."""
        s = self.config.regularizers
        terms = (
            (s.sparsity, lambda: losses.sparsity(frame.opacity)),
            (s.opaque, lambda: losses.opaqueness(frame.opacity)),
            (s.z_variance, lambda: losses.z_variance(frame.ray_losses["z_variance"], frame.opacity)),
            (s.convexity, lambda: losses.convexity(frame.normal, frame.opacity, cameras.c2w)),
            (s.variation, lambda: losses.variation(frame.rgb) + losses.variation(losses.closeness(frame))),
            (s.spread, lambda: losses.spread(self.log_stds)),
            (s.needles, lambda: losses.needles(self.log_stds)),
        )
        return losses.total(terms, progress, frame.opacity)

    @torch.no_grad()
    def refine(self, step: int, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """After step number `step` (from 0): accumulate screen gradients, densify, decay the learning rates."""
        s, done = self.config.densify, step + 1
        self.age.fill_(done)
        if done <= s.until:
            for images in self._renders:
                self._accumulate(images)
            if done > s.begin and done % s.every == 0:
                self._densify(optimizer, rng)
            if s.reset_every and done % s.reset_every == 0:
                reset_opacity(self.opacity_logits, optimizer, s.reset_to)
        self._renders.clear()
        for group, begin in zip(optimizer.param_groups, self.param_groups(), strict=True):
            left = getattr(self.config.decay, group["name"])
            group["lr"] = begin["lr"] * left ** (done / self.steps)

    def _accumulate(self, images: SplatImages) -> None:
        """Add the norm of each splat's gradient on the screen, in half sides of it."""
        footprints, gradient = images.footprints, images.footprints.mean.grad
        if gradient is None:  # a render without a gradient
            return
        height, width = images.rgb.shape[-2:]
        sides = footprints.mean.new_tensor([width, height])
        half = reach(footprints, torch.sigmoid(self.opacity_logits))
        outside = (footprints.mean + half < 0) | (footprints.mean - half > sides) | (half < 0)
        visible = ~outside.any(-1)
        self.pull += ((gradient * 0.5 * sides).norm(dim=-1) * visible).sum(0)
        self.views += visible.sum(0)

    def _densify(self, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """Clone, split and prune, and reset the accumulated gradients."""
        s, parameters = self.config.densify, dict(self.named_parameters())
        densify(parameters, optimizer, ScreenGradients(self.pull, self.views), s, rng)
        visible = torch.sigmoid(parameters["opacity_logits"]) >= s.faint
        if s.reset_every and int(self.age) > s.reset_every:
            visible &= parameters["log_stds"].exp().amax(-1) <= s.prune_above
        prune(parameters, optimizer, visible)
        for name, parameter in parameters.items():
            setattr(self, name, parameter)
        for name in ("pull", "views"):
            setattr(self, name, torch.zeros(len(self.means), device=self.means.device))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As `nn.Module`, for any number of splats; the parameters stay the objects that an optimizer knows."""
        rows = len(state_dict["means"])
        for name, tensor in [*self.named_parameters(), *self.named_buffers()]:
            if name != "age":
                tensor.data = tensor.new_empty(rows, *tensor.shape[1:])
        return super().load_state_dict(state_dict, strict, assign)
