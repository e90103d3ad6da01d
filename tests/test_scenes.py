"""The hash field, the NeRF with its occupancy grid, the image, and the checks of their configurations."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scoredistill.camera import Cameras, orbit, ring
from scoredistill.config import Config, from_plain, to_plain
from scoredistill.contracts import Frame, HasGaussians, HasOptimizer, HasPixels, HasVolume, Scene
from scoredistill.kernels.hashgrid import GridLayout
from scoredistill.render.harmonics import basis
from scoredistill.render.shading import daylight
from scoredistill.scenes.image import Image, ImageConfig
from scoredistill.scenes.nerf import EnvironmentConfig, GridConfig, LambertConfig, NeRF, NerfConfig
from scoredistill.scenes.nerf.environment import Environment
from scoredistill.scenes.nerf.field import HashField
from scoredistill.scenes.nerf.occupancy import OccupancyGrid
from scoredistill.scenes.regularizers import Ramp
from scoredistill.scenes.splats import DensifyConfig, RateDecay, SplatsConfig

WHITE = torch.ones(3)
SMALL = NerfConfig(grid=GridConfig(levels=3, coarsest=8, finest=32, table=2**12), samples=48, hidden=16)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def views(seed: int, count: int = 1, size: int = 24) -> Cameras:
    azimuth = (torch.rand(count, generator=generator(seed)) * 2 - 1) * math.pi
    elevation = torch.rand(count, generator=generator(seed + 1)) * 0.8
    return orbit(azimuth, elevation, torch.full((count,), 2.8), torch.full((count,), 0.7), size)


class Ball(nn.Module):
    """A homogeneous white ball of known density."""

    def __init__(self, density: float, radius: float = 0.6) -> None:
        super().__init__()
        self.value, self.radius, self.active = density, radius, 0

    def density(self, points: Tensor) -> Tensor:
        return self.value * (points.norm(dim=-1) < self.radius).to(points)

    def evaluate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return self.density(points), torch.ones_like(points)

    def normal(self, points: Tensor) -> Tensor:
        return nn.functional.normalize(points, dim=-1)


def with_ball(config: NerfConfig, density: float) -> NeRF:
    nerf = NeRF(config, generator())
    nerf.field = Ball(density)
    nerf.grid.depth.fill_(1.0)
    return nerf


def train(nerf: NeRF, steps: int, target: Tensor | None = None, *, first: int = 0) -> NeRF:
    optimizer = torch.optim.Adam(nerf.param_groups(), betas=(0.9, 0.99), eps=1e-15)
    rng = generator(5)
    for step in range(first, first + steps):
        cameras = views(step)
        frame = nerf.render(cameras, WHITE, rng)
        loss = frame.rgb.mean() + nerf.regularizer(frame, cameras, step / 100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        nerf.refine(step, optimizer, rng)
    return nerf


def same(one: Frame, other: Frame) -> bool:
    names = ("rgb", "opacity", "depth", "normal")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def test_a_homogeneous_ball_is_rendered_as_its_closed_form() -> None:
    """opacity = 1 - exp(-density chord), chord = 2 sqrt(r^2 - b^2), b the ray's distance from the center."""
    cameras = ring(2, 32)
    frame = with_ball(replace(SMALL, samples=400, shading="albedo"), 1.5).render(cameras, WHITE * 0)
    origins, directions = cameras.rays()
    distance = torch.linalg.cross(origins, directions).norm(dim=-1)
    chord = 2 * (0.6**2 - distance**2).clamp(min=0).sqrt()
    torch.testing.assert_close(frame.opacity[:, 0], 1 - torch.exp(-1.5 * chord), atol=0.01, rtol=0)
    torch.testing.assert_close(frame.rgb, frame.opacity.expand(-1, 3, -1, -1))
    middle = frame.depth[:, 0, 15:17, 15:17].mean()  # the mean of an exponential distribution cut at c
    c = 1.5 * 1.2
    assert abs(float(middle) - (2.8 - 0.6 + 1 / 1.5 - 1.2 / math.expm1(c))) < 5e-3


def test_an_opaque_ball_has_the_light_and_the_normals_of_a_sphere() -> None:
    cameras = ring(1, 33)
    frame = with_ball(replace(SMALL, samples=1000), 1e4).render(cameras, WHITE)
    forward = cameras.c2w[0, :3, 2]
    torch.testing.assert_close(frame.normal[0, :, 16, 16], -forward, atol=2e-2, rtol=0)
    lit = daylight(-forward, -forward)
    torch.testing.assert_close(frame.rgb[0, :, 16, 16], lit.expand(3), atol=1e-2, rtol=0)
    torch.testing.assert_close(frame.rgb[0, :, 0, 0], WHITE)
    assert abs(float(frame.depth[0, 0, 16, 16]) - 2.2) < 5e-3
    assert float(frame.ray_losses["z_variance"].max()) < 1e-4


def test_skipping_empty_space_has_no_visible_effect() -> None:
    nerf = NeRF(SMALL, generator())
    pruned = nerf.render(views(3), WHITE).rgb
    assert nerf.grid.occupied().float().mean() < 0.4
    nerf.grid.depth.fill_(1.0)
    difference = (nerf.render(views(3), WHITE).rgb - pruned).detach().abs()
    assert 0 < difference.mean() < 1e-3
    assert difference.max() < 0.05  # where a ray grazes many cells just below the threshold


def test_the_initial_blob_has_its_closed_form() -> None:
    nerf = NeRF(NerfConfig(), generator())
    at = nerf.field.density(torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [0, 0.9, 0]]))
    torch.testing.assert_close(at, nn.functional.softplus(torch.tensor([10.0, 0, -8.0])), atol=1e-3, rtol=0)
    frame = nerf.render(ring(1, 16), WHITE)
    assert frame.opacity[0, 0, 8, 8] > 0.99
    assert frame.opacity[0, 0, 0, 0] == 0


@pytest.mark.parametrize("normals", ["finite", "analytic"])
def test_normals_of_the_blob_are_radial_and_of_the_field_the_gradient(normals: str) -> None:
    layout = GridLayout(levels=1, coarsest=64, finest=64)
    field = HashField(layout, generator(), blob_radius=0.7, normals=normals).double()
    points = nn.functional.normalize(torch.randn(50, 3, generator=generator(1), dtype=torch.float64), dim=-1) * 0.6
    with torch.no_grad():
        field.table.zero_()
    tolerance = 0.03 if normals == "finite" else 1e-9  # a step of .018 on a sphere of radius .6
    torch.testing.assert_close(field.normal(points), points / 0.6, atol=tolerance, rtol=0)
    field.normal(points).sum().backward()
    assert field.table.grad is not None
    assert bool(field.table.grad.isfinite().all())


def test_finite_normals_are_the_central_difference_of_the_density() -> None:
    field = HashField(GridLayout(levels=2, coarsest=4, finest=16), generator()).double()
    with torch.no_grad():
        field.table.normal_(0, 1, generator=generator(3))
    points = torch.rand(20, 3, generator=generator(1), dtype=torch.float64) - 0.5
    corners = torch.tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], dtype=torch.float64)
    step = 2 / 16 / 3**0.5
    logit = [torch.special.expm1(field.density(points + step * corner)).log() for corner in corners]
    downhill = -sum(value[:, None] * corner for value, corner in zip(logit, corners, strict=True))
    torch.testing.assert_close(field.normal(points), nn.functional.normalize(downhill, dim=-1))


def test_training_is_bit_identical_with_several_threads() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    one, other = (train(NeRF(SMALL, generator()), 3).state_dict() for _ in range(2))
    torch.set_num_threads(threads)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_only_training_renders_are_random() -> None:
    nerf = NeRF(SMALL, generator())
    assert same(nerf.render(views(0), WHITE), nerf.render(views(0), WHITE))
    assert same(nerf.render(views(0), WHITE, generator(1)), nerf.render(views(0), WHITE, generator(1)))
    assert not same(nerf.render(views(0), WHITE, generator(1)), nerf.render(views(0), WHITE, generator(2)))


def test_the_state_holds_everything() -> None:
    trained = train(NeRF(SMALL, generator()), 20)
    fresh = NeRF(SMALL, generator(9))
    assert not same(fresh.render(views(0), WHITE), trained.render(views(0), WHITE))
    fresh.load_state_dict(trained.state_dict())
    assert same(fresh.render(views(0), WHITE), trained.render(views(0), WHITE))
    assert int(fresh.age) == 20


def test_an_empty_grid_renders_the_background_and_is_differentiable() -> None:
    nerf = NeRF(SMALL, generator())
    nerf.grid.depth.zero_()
    background = torch.tensor([0.1, 0.5, 0.9])
    frame = nerf.render(views(0), background, generator(1))
    torch.testing.assert_close(frame.rgb, background[None, :, None, None].expand_as(frame.rgb))
    assert not frame.opacity.any()
    (frame.rgb.sum() + nerf.regularizer(frame, views(0), 0.2)).backward()
    for parameter in nerf.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


@pytest.mark.parametrize("normals", ["finite", "analytic"])
@pytest.mark.parametrize("normals_at", ["surface", "samples"])
def test_light_alone_shapes_the_density(normals: str, normals_at: str) -> None:
    """Shape from shading: a loss on the light reaches the density, with and without a graph being built."""
    nerf = NeRF(replace(SMALL, normals=normals, normals_at=normals_at), generator())
    frame = nerf.render(views(0), WHITE)
    nn.functional.normalize(frame.normal, dim=1, eps=1e-3)[:, 1].mean().backward()
    assert float(nerf.field.density_mlp[0].weight.grad.norm()) > 0
    with torch.no_grad():
        assert not nerf.render(views(0), WHITE).normal.requires_grad


def test_lambert_shades_training_renders_after_its_first_steps() -> None:
    config = replace(SMALL, shading="lambert")
    plain = NeRF(replace(SMALL, shading="albedo"), generator()).render(views(0), WHITE, generator(1))
    assert same(NeRF(config, generator()).render(views(0), WHITE, generator(1)), plain)  # before `after`
    always = LambertConfig(after=0, albedo_share=0.0, textureless_share=1.0)
    nerf = NeRF(replace(config, lambert=always), generator())
    unlit = NeRF(replace(SMALL, shading="albedo"), generator())
    assert same(nerf.render(views(0), WHITE), unlit.render(views(0), WHITE))
    lit = nerf.render(views(0), WHITE * 0, generator(1)).rgb
    torch.testing.assert_close(lit[:, 0], lit[:, 1])  # textureless is gray
    assert 0.05 < float(lit[:, :, 12, 12].mean().detach()) <= 1


def test_ambient_light_alone_is_no_shading_and_its_share_is_drawn() -> None:
    def lit(**light: float) -> Tensor:
        draw = LambertConfig(after=0, albedo_share=0.0, textureless_share=0.0, **light)  # type: ignore[arg-type]
        nerf = NeRF(replace(SMALL, shading="lambert", lambert=draw), generator())
        return nerf.render(views(0), WHITE * 0, generator(1)).rgb.detach()

    ambient, dark = lit(ambient_min=1.0, ambient_max=1.0), lit(ambient_min=0.0, ambient_max=0.0)
    unlit = NeRF(replace(SMALL, shading="albedo"), generator()).render(views(0), WHITE * 0, generator(1)).rgb.detach()
    torch.testing.assert_close(ambient, unlit)
    mixed = lit(ambient_min=0.0, ambient_max=1.0)
    share = ((mixed - dark) / (ambient - dark))[ambient - dark > 0.05]
    assert float(share.min()) > 0
    assert float(share.max() - share.min()) < 1e-3


def test_a_light_without_spread_is_behind_the_camera() -> None:
    """Along the camera's own direction, so that a surface that faces it is lit most."""
    draw = LambertConfig(after=0, albedo_share=0.0, textureless_share=1.0, nearest=50.0, farthest=50.0, spread=0.0)
    nerf = with_ball(replace(SMALL, samples=200, shading="lambert", lambert=draw), 1e3)
    frame = nerf.render(views(0), WHITE * 0, generator(1))
    assert float(frame.rgb[0, 0, 11:13, 11:13].mean()) > 0.97


def test_samples_of_little_alpha_are_left_out() -> None:
    """Fog whose alpha in a step is below the threshold is not there, but at most the mean of the cells is asked for."""
    assert with_ball(SMALL, 0.05).render(views(0), WHITE).opacity.any()
    fog = with_ball(replace(SMALL, least_alpha=0.01), 0.05)  # alpha of a step: .0036
    fog.grid.depth.fill_(1.0)
    assert not fog.render(views(0), WHITE).opacity.any()
    fog.grid.depth.fill_(1e-3).view(-1)[0] = 0.0
    assert fog.render(views(0), WHITE).opacity.any()


def test_the_occupancy_threshold_is_at_most_the_mean() -> None:
    grids = [OccupancyGrid(4, 1.0, 1.0, threshold=threshold) for threshold in (0.01, 0.2)]
    for grid in grids:
        grid.depth[:] = 0.05
        grid.depth[0] = 0.5  # the mean is .1625
    assert [int(grid.occupied().sum()) for grid in grids] == [64, 16]


def test_a_learned_environment_is_the_background_of_training_renders_only() -> None:
    """Rays through empty space have its closed form; other renders have the background color."""
    cameras = views(3, count=2)
    nerf = NeRF(replace(SMALL, blob_radius=1e-3, environment=EnvironmentConfig(learned=True)), generator())
    assert nerf.environment is not None
    frame = nerf.render(cameras, WHITE, generator(1))
    directions = cameras.rays()[1].reshape(-1, 3)
    h = basis(directions, 2)
    for layer in (0, 2):
        h = (h @ nerf.environment.network[layer].weight.T).clamp(min=0)  # type: ignore[union-attr,operator]
    expected = torch.sigmoid(h @ nerf.environment.network[4].weight.T)  # type: ignore[union-attr,operator]
    torch.testing.assert_close(frame.rgb.permute(0, 2, 3, 1).reshape(-1, 3), expected)
    frame.rgb.square().mean().backward()
    assert all(float(weight.grad.norm()) > 0 for weight in nerf.environment.parameters() if weight.grad is not None)
    assert [group["lr"] for group in nerf.param_groups() if group["name"] == "environment"] == [1e-3]
    torch.testing.assert_close(nerf.render(cameras, WHITE).rgb, torch.ones(2, 3, 24, 24))


def test_one_random_color_replaces_the_environment_at_its_share() -> None:
    environment = Environment(EnvironmentConfig(random_share=0.5), generator())
    directions = nn.functional.normalize(torch.randn(20, 3, generator=generator(1)), dim=-1)
    renders = [environment(directions, generator(seed)) for seed in range(100)]
    plain = [rgb[0] for rgb in renders if torch.equal(rgb, rgb[:1].expand_as(rgb))]
    assert 30 < len(plain) < 70
    assert len(torch.stack(plain).unique(dim=0)) == len(plain)


def test_further_levels_become_active_with_age() -> None:
    nerf = NeRF(replace(SMALL, first_levels=1, level_after=10, level_every=5), generator())
    with torch.no_grad():
        nerf.field.table.normal_(0, 1, generator=generator(1))
    nerf.render(views(0), WHITE)
    assert nerf.field.active == 1
    nerf.refine(19, torch.optim.Adam(nerf.param_groups()), generator())
    nerf.render(views(0), WHITE)
    assert nerf.field.active == 3


def test_the_exported_volume_has_the_active_levels_also_without_a_render() -> None:
    """As of a scene that was loaded from a checkpoint."""
    nerf = NeRF(replace(SMALL, first_levels=1), generator())
    nerf.field.table.data.uniform_(-1, 1, generator=generator(1))
    points = torch.rand(50, 3, generator=generator(2)) - 0.5
    before = nerf.volume().density(points)
    nerf.render(views(0), WHITE)
    assert torch.equal(nerf.volume().density(points), before)


def test_occupancy_follows_a_changed_density() -> None:
    grid = OccupancyGrid(8, 1.0, 0.05, decay=0.8)
    rng = generator()
    grid.update(lambda points: (points[:, 0] > 0).float() * 10, rng, everywhere=True)
    assert torch.equal(grid.occupied(), (torch.arange(8) >= 4)[:, None, None].expand(8, 8, 8))
    for _ in range(200):
        grid.update(lambda points: (points[:, 0] < 0).float() * 10, rng, everywhere=False)
    assert torch.equal(grid.occupied(), (torch.arange(8) < 4)[:, None, None].expand(8, 8, 8))


def test_regression_on_known_renders_converges() -> None:
    """Regression on renders of a red ball on white: the error falls fivefold, the normals are a sphere's."""
    truth = with_ball(replace(SMALL, samples=200), 1e3)
    red = torch.tensor([0.9, 0.2, 0.1])[:, None, None]

    def photograph(cameras: Cameras) -> Frame:
        frame = truth.render(cameras, WHITE)
        return replace(frame, rgb=(frame.rgb - (1 - frame.opacity)) * red + 1 - frame.opacity)

    nerf, rng = NeRF(replace(SMALL, lr_mlp=1e-2), generator()), generator(5)
    optimizer = torch.optim.Adam(nerf.param_groups(), betas=(0.9, 0.99), eps=1e-15)
    errors = []
    for step in range(60):
        cameras = views(step)
        error = ((nerf.render(cameras, WHITE, rng).rgb - photograph(cameras).rgb) ** 2).mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        nerf.refine(step, optimizer, rng)
        errors.append(float(error.detach()))
    assert sum(errors[-5:]) < sum(errors[:5]) / 5
    frame, expected = nerf.render(ring(3, 24), WHITE), photograph(ring(3, 24))
    solid = expected.opacity[:, 0] > 0.99
    assert float((frame.normal * expected.normal).sum(1)[solid].mean().detach()) > 0.8


def test_an_image_is_its_pixels() -> None:
    pixels = torch.randn(2, 3, 4, 4, generator=generator())
    image = Image(pixels, lr=0.5)
    frame = image.render(None, WHITE, generator(1))
    assert torch.equal(frame.rgb, pixels)
    assert bool((frame.opacity == 1).all())
    assert not frame.depth.any()
    assert not frame.normal.any()
    frame.rgb.sum().add(image.regularizer(frame, None, 0.5)).backward()
    assert torch.equal(image.pixels.grad, torch.ones_like(pixels))
    assert image.param_groups()[0]["lr"] == 0.5
    image.refine(0, torch.optim.Adam(image.param_groups()), generator())
    other = Image(torch.zeros(2, 3, 4, 4))
    other.load_state_dict(image.state_dict())
    assert torch.equal(other.pixels, pixels)


def test_the_exported_volume_is_empty_where_rays_skip() -> None:
    """Density exactly where a render samples it."""
    nerf = NeRF(NerfConfig(occupancy=8), torch.Generator().manual_seed(0))
    nerf.grid.depth.zero_()
    nerf.grid.depth[4, 4, 4] = 1.0  # the cell [0, .25]^3
    inside, outside = torch.tensor([[0.1, 0.1, 0.1]]), torch.tensor([[-0.1, 0.1, 0.1]])
    assert float(nerf.volume().density(inside)) == float(nerf.field.density(inside)) > 0
    assert float(nerf.volume().density(outside)) == 0 < float(nerf.field.density(outside))
    assert torch.equal(nerf.volume().color(outside), nerf.field.color(outside))


SCENES: list[tuple[NerfConfig | SplatsConfig | ImageConfig, type]] = [
    (SMALL, HasVolume),
    (SplatsConfig(count=20), HasVolume),
    (SplatsConfig(count=20), HasGaussians),
    (ImageConfig(), HasPixels),
    (ImageConfig(descent=10.0, tint=(0.1, 0.0, 0.0)), HasOptimizer),
]


@pytest.mark.parametrize(("config", "capability"), SCENES)
def test_every_configuration_builds_its_scene_and_is_plain_data(config: Any, capability: type) -> None:
    """One seed, one scene; the configuration survives a file."""
    one, other = (config.build(rng=generator(), steps=10, resolution=16) for _ in range(2))
    assert isinstance(one, Scene)
    assert isinstance(one, capability)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert from_plain(type(config), to_plain(config), "scene") == config


def test_images_start_as_gray_noise() -> None:
    image = ImageConfig(count=2, mean=0.25, noise=0.1).build(rng=generator(), steps=1, resolution=8)
    torch.testing.assert_close(image.pixels.detach(), 0.25 + 0.1 * torch.randn(2, 3, 8, 8, generator=generator()))
    assert not ImageConfig(noise=0.0, mean=0.0).build(rng=generator(), steps=1, resolution=8).pixels.any()


def test_images_start_in_a_color() -> None:
    config = ImageConfig(count=2, mean=0.5, tint=(-0.5, 0.0, 0.25), noise=0.0)
    pixels = config.build(rng=generator(), steps=1, resolution=8).pixels
    assert torch.equal(pixels.detach(), torch.tensor([0.0, 0.5, 0.75]).reshape(3, 1, 1).expand(2, 3, 8, 8))


def test_step_sizes_of_plain_descent_add_up_and_never_exceed_the_whole_gradient() -> None:
    assert sum(ImageConfig(descent=5.0, falling=False).step_sizes(40)) == pytest.approx(5.0)
    falling = ImageConfig(descent=5.0).step_sizes(40)
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == pytest.approx(0.25)
    assert sum(falling) == pytest.approx(5.0, rel=0.05)
    assert ImageConfig(descent=50.0, falling=False).step_sizes(40) == [1.0] * 40


@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_plain_descent_moves_the_prior_s_image_by_a_share_of_its_gradient(resolution: int) -> None:
    """A pixel without a gradient rests, and a step of size 1 reaches the minimum of |x - y|^2 / 2."""
    image = ImageConfig(count=1, noise=0.0, descent=3.0, falling=False).build(
        rng=generator(), steps=4, resolution=resolution
    )
    assert isinstance(image, HasOptimizer)
    optimizer = image.optimizer()
    target = torch.zeros(1, 3, 64, 64)
    target[:, 0] = 0.8
    for step in range(2):
        rgb = image.render(None, WHITE).rgb
        x = 2 * nn.functional.interpolate(rgb, (64, 64), mode="bilinear", antialias=True) - 1  # as Toybox encodes it
        optimizer.zero_grad()
        (0.5 * (x - target).square().sum()).backward()
        optimizer.step()
        image.refine(step, optimizer, generator())
        expected = 0.5 + 0.4 * (1 - 0.25 ** (step + 1))
        torch.testing.assert_close(image.pixels[:, 0].mean().detach(), torch.tensor(expected), rtol=0, atol=5e-3)
        assert bool((image.pixels[:, 1:] == 0.5).all())


@pytest.mark.parametrize(("shading", "lit"), [("daylight", True), ("albedo", False), ("lambert", False)])
def test_a_nerf_states_whether_its_renders_are_lit(shading: str, lit: bool) -> None:
    assert NeRF(replace(SMALL, shading=shading), generator()).lit is lit  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (NerfConfig, {"lr_grid": -1e-2}, "lr_grid must be in .*, got -0.01"),
        (NerfConfig, {"lr_mlp": math.nan}, "lr_mlp must be in .*, got nan"),
        (NerfConfig, {"blob_strength": math.inf}, "blob_strength must be in .*, got inf"),
        (NerfConfig, {"samples": 0}, "samples must be in"),
        (NerfConfig, {"occupancy": 100_000}, "occupancy must be in"),
        (GridConfig, {"finest": 8}, "coarsest must not exceed finest, got 12 and 8"),
        (GridConfig, {"table": 1000}, "table must be a power of two, got 1000"),
        (GridConfig, {"levels": 0}, "levels must be in"),
        (LambertConfig, {"nearest": 2.0}, "nearest must not exceed farthest"),
        (LambertConfig, {"albedo_share": 1.5}, "albedo_share must be in"),
        (EnvironmentConfig, {"lr": 0.0}, "lr must be in"),
        (SplatsConfig, {"count": 3}, "count must be in"),
        (SplatsConfig, {"opacity": 1.0}, "opacity must be in"),
        (SplatsConfig, {"degree": 4}, "degree must be in"),
        (DensifyConfig, {"begin": 20_000}, "begin must not exceed until"),
        (DensifyConfig, {"every": 0}, "every must be in"),
        (RateDecay, {"means": 0.0}, "means must be in"),
        (ImageConfig, {"count": 0}, "count must be in"),
        (ImageConfig, {"descent": -1.0}, "descent must be in"),
        (Ramp, {"start": -1.0}, "start must be in"),
        (Ramp, {"begin": 0.6, "until": 0.4}, "begin must not exceed until"),
    ],
)
def test_impossible_configurations_are_refused(kind: type[Config], wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        kind(**wrong)
    assert "\n" not in str(error.value)


def test_the_limits_of_the_configurations_are_legal() -> None:
    assert NerfConfig(blob_radius=1e-3, blob_strength=0.0, tile=0, level_after=0).tile == 0
    assert DensifyConfig(threshold=0.0, reset_every=0, begin=0, until=0, share=0.0).reset_every == 0
    assert Ramp(0.0, 0.0, 1.0, 1.0)(0.5) == 0
