"""Compositing of 2D Gaussians in warp: the fast twin of `kernels/rasterize.py`.

Pixels are numbered tile by tile; `splat` are rows of the B x N Gaussians of all views, `count` is N. `light` is the
transmittance behind all Gaussians, 1 - opacity. `cutoff` is log(MIN_ALPHA / opacity).

The inner loops are native code, one source for both devices: on a CPU one thread composites a whole tile with vector
instructions, five times as fast as pixel by pixel; on a GPU one thread composites a pixel.
"""

# pyright: reportInvalidTypeForm=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportAttributeAccessIssue=false
# (kernels are written in warp's language, which has the syntax of Python but other types)

from __future__ import annotations

from typing import Any, no_type_check

import torch
import warp as wp
from torch import Tensor
from torch.autograd.function import once_differentiable

from scoredistill.kernels.backend import launch
from scoredistill.kernels.types import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE, Footprints, Tiles
from scoredistill.kernels.types import SPLAT_CHANNELS as CHANNELS

wp.set_module_options({"enable_backward": False})

SIZE = 4
"""Pixels along a side of a tile: a tile fills the widest registers of a CPU, and small Gaussians touch few tiles."""

LANES = f"""
#ifdef __CUDA_ARCH__
    typedef wp::float32 lanes;  // a thread is a pixel
    const auto sum = [](lanes v) {{ return v; }};
#else
    typedef wp::float32 lanes __attribute__((ext_vector_type({SIZE**2})));  // a thread is a tile, each lane a pixel
    const auto sum = [](lanes v) {{
        const auto half = v.lo + v.hi;
        const auto quarter = half.lo + half.hi;
        return quarter.x + quarter.y + quarter.z + quarter.w;
    }};
#endif
    const int W = sizeof(lanes) / sizeof(wp::float32);
    const auto at = [](lanes& v, int k) -> wp::float32& {{ return ((wp::float32*)&v)[k]; }};
    const int first = index * W, tile = first / {SIZE**2}, column = tile % across, row = tile / across % down;
    const lanes none = 0.f;
    lanes x, y, left = none + 1.f, open = none + 1.f;  // open: 1 while a pixel is unfinished
    for (int k = 0; k < W; ++k) {{
        const int inside = first % {SIZE**2} + k;
        at(x, k) = column * {SIZE} + inside % {SIZE} + 0.5f;
        at(y, k) = row * {SIZE} + inside / {SIZE} + 0.5f;
    }}
"""
WEIGH = f"""
    for (int j = start.data[tile]; j < start.data[tile + 1]; ++j) {{
        const int i = splat.data[j];
        const wp::vec3 q = conic.data[i];
        const wp::float32 o = opacity.data[i % count];
        const lanes dx = mean.data[i][0] - x, dy = mean.data[i][1] - y;
        const lanes power = -0.5f * (q[0] * dx * dx + q[2] * dy * dy) - q[1] * dx * dy;
        const lanes z = power * 0.0625f;  // exp(16 z) by its series: there is no vector version in the library
        lanes p = 1.f + z * (1.f + z * (1/2.f + z * (1/6.f + z * (1/24.f + z * (1/120.f + z * (1/720.f))))));
        p *= p;
        p *= p;
        p *= p;
        p *= p * o;
        p = p < {MAX_ALPHA}f ? p : none + {MAX_ALPHA}f;
        p = power < cutoff.data[i % count] ? none : p;
        open = left * (1.f - p) < {MIN_TRANSMITTANCE}f ? none : open;
        if (sum(open) == 0.f)
            break;
        const lanes weight = open * p * left;
"""
"""Opens the loop over the Gaussians of a tile: the weight of each in each pixel, from the transmittance before it."""

COMPOSITE = f"""
        for (int c = 0; c < {CHANNELS}; ++c)
            total[c] += features.data[i][c] * weight;
        left -= weight;
    }}
    for (int k = 0; k < W; ++k) {{
        for (int c = 0; c < {CHANNELS}; ++c)
            image.data[first + k][c] = at(total[c], k);
        light.data[first + k] = at(left, k);
    }}
"""
LOAD_GRADIENTS = f"""
    lanes grad_color[{CHANNELS}], behind;
    for (int k = 0; k < W; ++k) {{
        at(behind, k) = grad_light.data[first + k] * light.data[first + k];
        for (int c = 0; c < {CHANNELS}; ++c) {{
            at(grad_color[c], k) = grad_image.data[first + k][c];
            at(behind, k) += grad_image.data[first + k][c] * image.data[first + k][c];
        }}
    }}
"""
GRADIENT = f"""
        lanes color = none;
        wp::vec_t<{6 + CHANNELS}, wp::float32> found;
        for (int c = 0; c < {CHANNELS}; ++c) {{
            color += features.data[i][c] * grad_color[c];
            found[6 + c] = sum(weight * grad_color[c]);
        }}
        behind -= weight * color;
        const lanes by_power = p < {MAX_ALPHA}f ? open * p * (left * color - behind / (1.f - p)) : none;
        left -= weight;
        const lanes by_dx = by_power * dx, by_dy = by_power * dy;
        const wp::float32 along_x = sum(by_dx), along_y = sum(by_dy);
        found[0] = -q[0] * along_x - q[1] * along_y;
        found[1] = -q[1] * along_x - q[2] * along_y;
        found[2] = -0.5f * sum(by_dx * dx);
        found[3] = -sum(by_dx * dy);
        found[4] = -0.5f * sum(by_dy * dy);
        found[5] = sum(by_power) / o;
        wp::atomic_add(gradient.data + copy * gradient.shape[1] + i, found);
    }}
"""
"""Gradients with respect to mean (2), conic (3), opacity and features of one Gaussian.

With c_i = grad_image . features_i, the sum of w_j c_j over j > i is grad_image . image minus the sum over j <= i, and
d/dp_i = left_i c_i - (that sum + grad_light light) / (1 - p_i).
"""

Features = wp.types.vector(length=CHANNELS, dtype=wp.float32)
Gradient = wp.types.vector(length=6 + CHANNELS, dtype=wp.float32)


@wp.func_native(f"{LANES} lanes total[{CHANNELS}] = {{}}; {WEIGH} {COMPOSITE}")
@no_type_check
def composite_tile(
    index: int,
    across: int,
    down: int,
    count: int,
    start: wp.array[int],
    splat: wp.array[int],
    mean: wp.array[wp.vec2],
    conic: wp.array[wp.vec3],
    opacity: wp.array[float],
    cutoff: wp.array[float],
    features: wp.array[Features],
    image: wp.array[Features],
    light: wp.array[float],
): ...


@wp.func_native(LANES + LOAD_GRADIENTS + WEIGH + GRADIENT)
@no_type_check
def gradient_tile(
    index: int,
    across: int,
    down: int,
    count: int,
    start: wp.array[int],
    splat: wp.array[int],
    mean: wp.array[wp.vec2],
    conic: wp.array[wp.vec3],
    opacity: wp.array[float],
    cutoff: wp.array[float],
    features: wp.array[Features],
    image: wp.array[Features],
    light: wp.array[float],
    grad_image: wp.array[Features],
    grad_light: wp.array[float],
    copy: int,
    gradient: wp.array2d[Gradient],
): ...


@wp.kernel
@no_type_check
def composite(
    first: int,
    across: int,
    down: int,
    count: int,
    start: wp.array[int],
    splat: wp.array[int],
    mean: wp.array[wp.vec2],
    conic: wp.array[wp.vec3],
    opacity: wp.array[float],
    cutoff: wp.array[float],
    features: wp.array[Features],
    image: wp.array[Features],
    light: wp.array[float],
):
    """Composited features, and the transmittance behind all Gaussians."""
    index = first + wp.tid()
    composite_tile(index, across, down, count, start, splat, mean, conic, opacity, cutoff, features, image, light)


@wp.kernel
@no_type_check
def composite_gradient(
    first: int,
    across: int,
    down: int,
    count: int,
    start: wp.array[int],
    splat: wp.array[int],
    mean: wp.array[wp.vec2],
    conic: wp.array[wp.vec3],
    opacity: wp.array[float],
    cutoff: wp.array[float],
    features: wp.array[Features],
    image: wp.array[Features],
    light: wp.array[float],
    grad_image: wp.array[Features],
    grad_light: wp.array[float],
    grain: int,
    gradient: wp.array2d[Gradient],
):
    """Composite front to back again; each slice of `grain` indices adds to its own copy of the gradient."""
    index = first + wp.tid()
    gradient_tile(
        index, across, down, count, start, splat, mean, conic, opacity, cutoff, features, image, light,
        grad_image, grad_light, first / grain, gradient,
    )  # fmt: skip


class Rasterize(torch.autograd.Function):
    """`composite` and `composite_gradient` as one differentiable function."""

    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, conic: Tensor, opacity: Tensor, features: Tensor, lists: Tiles, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        pixels = (len(lists.start) - 1) * SIZE**2
        image, light = mean.new_empty(pixels, CHANNELS), mean.new_empty(pixels)
        cutoff = torch.log(MIN_ALPHA / opacity)
        rows = (mean.flatten(0, 1), conic.flatten(0, 1), opacity, cutoff, features.flatten(0, 1))
        tensors = (lists.start, lists.splat, *rows, image, light)
        ctx.shape = (len(mean), lists.down, lists.across, height, width)
        arguments = [lists.across, lists.down, len(opacity), *tensors]
        launch(composite, _threads(pixels, mean.device), arguments, mean.device, min_slice=64)
        ctx.save_for_backward(*tensors)
        return _to_image(image, ctx.shape), 1 - _to_image(light[:, None], ctx.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        mean, opacity = ctx.saved_tensors[2], ctx.saved_tensors[4]
        views, down, across, *_ = ctx.shape
        grad_image, grad_light = _to_pixels(grads[0], ctx.shape), -_to_pixels(grads[1], ctx.shape)
        number = _threads(len(grad_image), mean.device)
        grain = -(-number // torch.get_num_threads()) if mean.device.type == "cpu" else number
        gradient = mean.new_zeros(-(-number // grain), views * len(opacity), 6 + CHANNELS)
        arguments = [across, down, len(opacity), *ctx.saved_tensors, grad_image, grad_light[:, 0], grain, gradient]
        launch(composite_gradient, number, arguments, mean.device, grain=grain)
        rows = gradient.sum(0).view(views, len(opacity), 6 + CHANNELS)
        to_mean, to_conic, to_opacity, to_features = rows.split([2, 3, 1, CHANNELS], -1)
        return to_mean, to_conic, to_opacity.sum(0)[:, 0], to_features, None, None, None


def rasterize(
    footprints: Footprints, opacity: Tensor, features: Tensor, lists: Tiles, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """`kernels.rasterize.rasterize` in float32, on a CPU or on CUDA; `lists` has tiles of `SIZE` pixels a side."""
    tensors = (footprints.mean, footprints.conic, opacity, features)
    return Rasterize.apply(*(tensor.contiguous() for tensor in tensors), lists, height, width)


def _threads(pixels: int, device: torch.device) -> int:
    return pixels if device.type == "cuda" else pixels // SIZE**2


def _to_image(pixels: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Rows of pixels, tile after tile, to [B C H W]."""
    views, down, across, height, width = shape
    grid = pixels.view(views, down, across, SIZE, SIZE, -1).permute(0, 5, 1, 3, 2, 4)
    return grid.reshape(views, -1, down * SIZE, across * SIZE)[..., :height, :width]


def _to_pixels(image: Tensor, shape: tuple[int, ...]) -> Tensor:
    """[B C H W] to rows of pixels, tile after tile."""
    views, down, across, height, width = shape
    padded = torch.nn.functional.pad(image, (0, across * SIZE - width, 0, down * SIZE - height))
    grid = padded.view(views, -1, down, SIZE, across, SIZE).permute(0, 2, 4, 3, 5, 1)
    return grid.reshape(views * down * across * SIZE**2, -1).contiguous()
