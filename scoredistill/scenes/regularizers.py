"""Losses of a scene that do not depend on the method: they describe a surface, not an appearance.

B views of H x W pixels, channels first; normals in world coordinates (y up), times opacity; losses are means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.config import Config, Fraction, NonNegative, ordered
from scoredistill.contracts import Frame

PerRay = Float[Tensor, "B 1 H W"]

EDGE = 8
"""Resolution of the normal map in the convexity loss (Lukoianov et al. 2024, appendix)."""


@dataclass(frozen=True)
class Ramp(Config):
    """A weight over the run: `start` until progress `begin`, then linear, `end` from progress `until` on."""

    start: NonNegative = 0.0  # weight at the start of the run
    end: NonNegative = 0.0  # weight at the end of the run
    begin: Fraction = 0.0  # share of the run at which the weight begins to change
    until: Fraction = 1.0  # share of the run at which the weight reaches its end

    def check(self) -> None:
        ordered("begin", "until", self)

    def __call__(self, progress: float) -> float:
        if progress < self.begin:
            return self.start
        if progress >= self.until:
            return self.end
        return self.start + (self.end - self.start) * (progress - self.begin) / (self.until - self.begin)


Weights = TypeVar("Weights", bound=Config)


def scaled_by(weights: Weights, factor: float) -> Weights:
    """A configuration of ramps, all of them multiplied by a factor."""
    ramps = {name: value for name, value in vars(weights).items() if isinstance(value, Ramp)}
    scaled = {name: replace(ramp, start=factor * ramp.start, end=factor * ramp.end) for name, ramp in ramps.items()}
    return replace(weights, **scaled)  # type: ignore[type-var] (any dataclass)


def constant(weight: float) -> Ramp:
    """The same weight throughout the run."""
    return Ramp(weight, weight)


def orientation(orient: PerRay, opacity: PerRay) -> Float[Tensor, ""]:
    """sum_rays sum_i sg[w_i] max(n_i . d, 0)^2 / number of rays that hit (Poole et al. 2023; threestudio).

    No visible surface faces away from the camera; `orient` is the inner sum.
    """
    return orient.sum() / (opacity > 0).sum().clamp(min=1)


def sparsity(opacity: PerRay) -> Float[Tensor, ""]:
    """mean sqrt(opacity^2 + 0.01): as little matter as possible, no fog (Poole et al. 2023; threestudio)."""
    return torch.sqrt(opacity**2 + 0.01).mean()


def opaqueness(opacity: PerRay) -> Float[Tensor, ""]:
    """mean of -o log o - (1 - o) log(1 - o), o clamped to [1e-3, 1 - 1e-3]: all or nothing (threestudio)."""
    o = opacity.clamp(1e-3, 1 - 1e-3)
    return -(o * o.log() + (1 - o) * (1 - o).log()).mean()


def z_variance(variance: PerRay, opacity: PerRay) -> Float[Tensor, ""]:
    """Mean variance of the distance z over rays with opacity > 0.5: thin surfaces (Zhu et al. 2024, HiFA).

    Differs from the official code: the mean over no ray is 0, not NaN.
    """
    solid = opacity > 0.5
    return torch.where(solid, variance, 0).sum() / solid.sum().clamp(min=1)


ConvexityForm = Literal["clamped", "linear", "official"]


def convexity(
    normal: Float[Tensor, "B 3 H W"],
    opacity: PerRay,
    c2w: Float[Tensor, "B 4 4"],
    form: ConvexityForm = "clamped",
) -> Float[Tensor, ""]:
    """Neighboring normals must open, not close: no hollow faces (Lukoianov et al. 2024, appendix).

    In the camera's frame, averaged to 8 x 8, left/right and upper/lower neighbors (0 in the background):
        s_h = (n_L x n_R) . up,   s_v = (n_U x n_D) . right          both positive where the surface is convex
        clamped:  mean relu(-s_h) + mean relu(-s_v)                  the paper's
        linear:  -mean s_h - mean s_v
    `official` is the published code: linear, but with (n + 1) / 2 * opacity in place of n, n the unit mean normal of
    each ray, and the world's up axis in both products, so that its value depends on the azimuth. For comparison only.
    """
    if form == "official":
        unit = torch.nn.functional.normalize(normal, dim=1)
        encoded = _shrink((unit + 1) / 2 * opacity, "bilinear")
        horizontal, vertical = _neighbors(encoded)
        return -(horizontal[:, 1].mean() - vertical[:, 1].mean())
    small = _shrink(normal)
    unit = torch.nn.functional.normalize(small, dim=1, eps=1e-6) * (_shrink(opacity) > 0.5)
    right, down = c2w[:, :3, 0], c2w[:, :3, 1]
    horizontal, vertical = _neighbors(unit)
    opening = (-torch.einsum("bchw,bc->bhw", horizontal, down), torch.einsum("bchw,bc->bhw", vertical, right))
    if form == "linear":
        return -(opening[0].mean() + opening[1].mean())
    return torch.relu(-opening[0]).mean() + torch.relu(-opening[1]).mean()


def _shrink(image: Float[Tensor, "B C H W"], mode: str = "area") -> Float[Tensor, "B C h w"]:
    """To EDGE x EDGE: the mean of each block, or the published bilinear, which reads 4 pixels of it."""
    return torch.nn.functional.interpolate(image, (EDGE, EDGE), mode=mode)


def _neighbors(n: Float[Tensor, "B 3 h w"]) -> tuple[Float[Tensor, "B 3 h v"], Float[Tensor, "B 3 u w"]]:
    """Cross products left x right and upper x lower."""
    horizontal = torch.linalg.cross(n[..., :-1], n[..., 1:], dim=1)
    return horizontal, torch.linalg.cross(n[..., :-1, :], n[..., 1:, :], dim=1)


def variation(image: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
    """2 (mean (I_right - I_left)^2 + mean (I_lower - I_upper)^2): total variation (LucidDreamer's official code)."""
    across, down = image[..., 1:] - image[..., :-1], image[..., 1:, :] - image[..., :-1, :]
    return 2 * (across.square().mean() + down.square().mean())


def closeness(frame: Frame) -> PerRay:
    """opacity * (least depth / depth), in [0, 1]: an image of depth in which the background is far."""
    solid = frame.opacity > 0.5
    farthest = torch.finfo(frame.depth.dtype).max ** 0.5  # finite, for a finite gradient where nothing is solid
    nearest = frame.depth.detach().where(solid, farthest).amin()
    return torch.where(solid, frame.opacity * nearest / frame.depth.clamp(min=1e-6), 0)


ROUND = 4.0
"""Ratio of a splat's two longer axes above which it counts as a needle."""


def needles(log_stds: Float[Tensor, "N 3"]) -> Float[Tensor, ""]:
    """mean relu(longest / middle - ROUND): no splat is a needle; 0 without splats.

    Differs from Xie et al. 2024 (PhysGaussian), who compare with the shortest axis: discs make good surfaces.
    """
    _, middle, longest = log_stds.sort(-1).values.unbind(-1)
    return torch.relu(torch.exp(longest - middle) - ROUND).sum() / max(len(log_stds), 1)


def spread(log_stds: Float[Tensor, "N 3"]) -> Float[Tensor, ""]:
    """Mean standard deviation of the splats, world units: small splats; 0 without splats."""
    return log_stds.exp().sum() / max(log_stds.numel(), 1)


Terms = Sequence[tuple[Ramp, Callable[[], Tensor]]]


def total(terms: Terms, progress: float, like: Tensor) -> Float[Tensor, ""]:
    """The weighted sum of losses at `progress`; those of weight zero are not computed."""
    weighted = ((ramp(progress), loss) for ramp, loss in terms)
    return sum((weight * loss() for weight, loss in weighted if weight), like.new_zeros(()))
