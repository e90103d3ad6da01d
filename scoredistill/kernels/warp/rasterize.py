"""Compositing of 2-D Gaussians in warp: the fast twin of `kernels/rasterize.py`.

A pixel's number runs through the pixels of a tile, then through the tiles; `splat` are rows of the B x N Gaussians of
all views, `count` is N. `light` is what is left behind everything, 1 - opacity.

The inner loops are native code: on a CPU one thread composites a whole tile with vector instructions, five times as
fast as pixel by pixel; on a GPU a thread is a pixel, of the same source.
"""

# pyright: reportInvalidTypeForm=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportAttributeAccessIssue=false
# (kernels are written in warp's language, which only looks like Python)

from __future__ import annotations

from typing import Any, no_type_check

import torch
import warp as wp
from torch import Tensor
from torch.autograd.function import once_differentiable

from scoredistill.kernels import rasterize as constants
from scoredistill.kernels.backend import launch
from scoredistill.kernels.project import Footprints
from scoredistill.kernels.rasterize import CHANNELS, tiles

wp.set_module_options({"enable_backward": False})

SIZE = 4
"""Pixels of a tile's side: one tile fills the widest registers of a CPU, and small Gaussians touch few in vain."""

LANES = f"""
#ifdef __CUDA_ARCH__
    typedef wp::float32 lanes;  // a thread is a pixel
    const auto sum = [](lanes v) {{ return v; }};
#else
    typedef wp::float32 lanes __attribute__((ext_vector_type({SIZE**2})));  // a thread is a tile, a lane a pixel
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
    lanes x, y, left = none + 1.f, open = none + 1.f;  // open: whether a pixel is not finished
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
        const lanes z = power * 0.0625f;  // exp(16 z) by its series: the library has none for many lanes
        lanes p = 1.f + z * (1.f + z * (1/2.f + z * (1/6.f + z * (1/24.f + z * (1/120.f + z * (1/720.f))))));
        p *= p;
        p *= p;
        p *= p;
        p *= p * o;
        p = p < {constants.SOLID}f ? p : none + {constants.SOLID}f;
        p = power < faint.data[i % count] ? none : p;
        open = left * (1.f - p) < {constants.DARK}f ? none : open;
        if (sum(open) == 0.f)
            break;
        const lanes weight = open * p * left;
"""
"""Opens the loop over a tile's Gaussians: the weight of each in each pixel, by the light that is left before it."""

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
PULL = f"""
    lanes pull[{CHANNELS}], behind;
    for (int k = 0; k < W; ++k) {{
        at(behind, k) = pull_light.data[first + k] * light.data[first + k];
        for (int c = 0; c < {CHANNELS}; ++c) {{
            at(pull[c], k) = pull_image.data[first + k][c];
            at(behind, k) += pull_image.data[first + k][c] * image.data[first + k][c];
        }}
    }}
"""
GRADIENT = f"""
        lanes color = none;
        wp::vec_t<{6 + CHANNELS}, wp::float32> found;
        for (int c = 0; c < {CHANNELS}; ++c) {{
            color += features.data[i][c] * pull[c];
            found[6 + c] = sum(weight * pull[c]);
        }}
        behind -= weight * color;
        const lanes by_power = p < {constants.SOLID}f ? open * p * (left * color - behind / (1.f - p)) : none;
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
"""With c_i = pull . features_i, the sum of w_j c_j behind i is pull . image less that up to i, and d/dp_i =
left_i c_i - (that sum + pull_light light) / (1 - p_i). The derivatives of mean (2), conic (3), opacity and features."""

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
    faint: wp.array[float],
    features: wp.array[Features],
    image: wp.array[Features],
    light: wp.array[float],
): ...


@wp.func_native(LANES + PULL + WEIGH + GRADIENT)
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
    faint: wp.array[float],
    features: wp.array[Features],
    image: wp.array[Features],
    light: wp.array[float],
    pull_image: wp.array[Features],
    pull_light: wp.array[float],
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
    faint: wp.array[float],
    features: wp.array[Features],
    image: wp.array[Features],
    light: wp.array[float],
):
    """Composited features, and the light that is left behind everything."""
    index = first + wp.tid()
    composite_tile(index, across, down, count, start, splat, mean, conic, opacity, faint, features, image, light)


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
    faint: wp.array[float],
    features: wp.array[Features],
    image: wp.array[Features],
    light: wp.array[float],
    pull_image: wp.array[Features],
    pull_light: wp.array[float],
    grain: int,
    gradient: wp.array2d[Gradient],
):
    """Front to back once more; each slice of `grain` indices adds to a copy of its own."""
    index = first + wp.tid()
    gradient_tile(
        index, across, down, count, start, splat, mean, conic, opacity, faint, features, image, light,
        pull_image, pull_light, first / grain, gradient,
    )  # fmt: skip


class Rasterize(torch.autograd.Function):
    """The two kernels as one differentiable function."""

    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, conic: Tensor, depth: Tensor, opacity: Tensor, features: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        lists = tiles(Footprints(mean, conic, depth), opacity, height, width, SIZE)
        pixels = (len(lists.start) - 1) * SIZE**2
        image, light = mean.new_empty(pixels, CHANNELS), mean.new_empty(pixels)
        faint = torch.log(constants.FAINT / opacity)
        rows = (mean.flatten(0, 1), conic.flatten(0, 1), opacity, faint, features.flatten(0, 1))
        tensors = (lists.start, lists.splat, *rows, image, light)
        ctx.shape = (len(mean), lists.down, lists.across, height, width)
        arguments = [lists.across, lists.down, len(opacity), *tensors]
        launch(composite, _threads(pixels, mean.device), arguments, mean.device, least=64)
        ctx.save_for_backward(*tensors)
        return _picture(image, ctx.shape), 1 - _picture(light[:, None], ctx.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *pull: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        mean, opacity = ctx.saved_tensors[2], ctx.saved_tensors[4]
        views, down, across, *_ = ctx.shape
        pull_image, pull_light = _pixels(pull[0], ctx.shape), -_pixels(pull[1], ctx.shape)
        number = _threads(len(pull_image), mean.device)
        grain = -(-number // torch.get_num_threads()) if mean.device.type == "cpu" else number
        gradient = mean.new_zeros(-(-number // grain), views * len(opacity), 6 + CHANNELS)
        arguments = [across, down, len(opacity), *ctx.saved_tensors, pull_image, pull_light[:, 0], grain, gradient]
        launch(composite_gradient, number, arguments, mean.device, grain=grain)
        rows = gradient.sum(0).view(views, len(opacity), 6 + CHANNELS)
        by_mean, by_conic, by_opacity, by_features = rows.split([2, 3, 1, CHANNELS], -1)
        return by_mean, by_conic, None, by_opacity.sum(0)[:, 0], by_features, None, None


def rasterize(
    footprints: Footprints, opacity: Tensor, features: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """`kernels.rasterize.rasterize` in float32, on a CPU or on CUDA."""
    tensors = (footprints.mean, footprints.conic, footprints.depth, opacity, features)
    return Rasterize.apply(*(tensor.contiguous() for tensor in tensors), height, width)


def _threads(pixels: int, device: torch.device) -> int:
    return pixels if device.type == "cuda" else pixels // SIZE**2


def _picture(pixels: Tensor, shape: tuple[int, ...]) -> Tensor:
    """[B C H W] from rows of pixels, tile after tile."""
    views, down, across, height, width = shape
    grid = pixels.view(views, down, across, SIZE, SIZE, -1).permute(0, 5, 1, 3, 2, 4)
    return grid.reshape(views, -1, down * SIZE, across * SIZE)[..., :height, :width]


def _pixels(picture: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The other way."""
    views, down, across, height, width = shape
    room = torch.nn.functional.pad(picture, (0, across * SIZE - width, 0, down * SIZE - height))
    grid = room.view(views, -1, down, SIZE, across, SIZE).permute(0, 2, 4, 3, 5, 1)
    return grid.reshape(views * down * across * SIZE**2, -1).contiguous()
