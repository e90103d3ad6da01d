"""Splats as a scene: harmonics, renders, starts, the volume for the mesh, optimization, and resumed runs."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from test_folder import same
from tiny import FLAGS, PROMPT
from torch import Tensor

from scoredistill.camera import orbit, ring
from scoredistill.cli import main
from scoredistill.contracts import Gaussians, Scene
from scoredistill.export.glb import write_glb
from scoredistill.export.mesh import extract
from scoredistill.kernels import backend
from scoredistill.kernels.mixture import REACH, evaluate, mixture
from scoredistill.render.harmonics import basis, color, constant
from scoredistill.render.splat import render_splats
from scoredistill.runs.folder import RunFolder
from scoredistill.scenes import regularizers as losses
from scoredistill.scenes.splats import SplatRegularizers, Splats, SplatsConfig
from scoredistill.scenes.splats.densify import DensifyConfig
from scoredistill.scenes.splats.mesh_file import read_triangles
from scoredistill.scenes.splats.start import at_points, ball, on_mesh

WHITE = torch.ones(3)
GROWING = DensifyConfig(begin=2, until=30, every=4, threshold=0.0, share=0.2, most=120, reset_every=0)
SMALL = SplatsConfig(
    count=80,
    radius=0.6,
    lr_position=1e-2,
    lr_color=5e-2,
    lr_spread=2e-2,
    lr_rotation=2e-2,
    densify=GROWING,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(config: SplatsConfig = SMALL) -> Splats:
    return config.build(rng=generator(), steps=60, resolution=64)


def disc(std: tuple[float, float, float], opacity: float) -> Gaussians:
    """One red splat in the center, its own axes the world's."""
    harmonics = constant(torch.tensor([[0.9, 0.2, 0.1]]))[:, None]
    rotation = torch.tensor([[1.0, 0, 0, 0]])
    return Gaussians(torch.zeros(1, 3), torch.tensor([std]), rotation, torch.tensor([opacity]), harmonics)


def directions(count: int) -> Tensor:
    """Points evenly over the sphere (a Fibonacci lattice)."""
    z = 1 - (2 * torch.arange(count, dtype=torch.float64) + 1) / count
    angle = torch.arange(count, dtype=torch.float64) * math.pi * (3 - math.sqrt(5))
    r = (1 - z**2).sqrt()
    return torch.stack([r * angle.cos(), r * angle.sin(), z], -1)


def test_harmonics_are_orthonormal() -> None:
    """The integrals over the sphere of all products of two are 1 and 0."""
    values = basis(directions(20_000), 3)
    gram = 4 * math.pi * values.T @ values / len(values)
    torch.testing.assert_close(gram, torch.eye(16, dtype=torch.float64), atol=1e-4, rtol=0)


def test_harmonics_have_the_published_signs_and_order() -> None:
    """The polynomials and constants of KHR_gaussian_splatting, appendix A, at one point."""
    v = torch.nn.functional.normalize(torch.tensor([[0.3, 0.5, 0.7]]).double(), dim=-1)
    x, y, z = v[0].tolist()
    found = basis(v, 3)[0].tolist()
    expected = [0.28209479177387814, -0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    expected += [1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.31539156525252 * (3 * z * z - 1)]
    expected += [-1.0925484305920792 * x * z, 0.5462742152960396 * (x * x - y * y)]
    expected += [-0.5900435899266435 * y * (3 * x * x - y * y), 2.890611442640554 * x * y * z]
    expected += [-0.4570457994644658 * y * (5 * z * z - 1), 0.3731763325901154 * z * (5 * z * z - 3)]
    expected += [-0.4570457994644658 * x * (5 * z * z - 1), 1.445305721320277 * z * (x * x - y * y)]
    expected += [-0.5900435899266435 * x * (x * x - 3 * y * y)]
    assert found == pytest.approx(expected, abs=1e-12)


def test_colors_are_those_given_and_never_negative() -> None:
    rgb, v = torch.tensor([[0.2, 0.5, 1.0]]), directions(5).float()[:, None]
    torch.testing.assert_close(color(constant(rgb)[:, None], v), rgb.expand(5, 1, 3))
    turning = torch.zeros(1, 4, 3)
    turning[0, 2] = 2.0  # red to white with z, black behind
    seen = color(turning, torch.tensor([[[0.0, 0, 1]], [[0.0, 0, -1]]]))
    torch.testing.assert_close(seen[0, 0], torch.full((3,), 0.5 + 2 * 0.4886025))
    assert not seen[1].any()


def test_a_disc_has_its_color_depth_and_normal() -> None:
    """From the front and from behind, its shortest axis faces the camera; its distance is that of the orbit."""
    azimuth = torch.tensor([0.0, math.pi])
    cameras = orbit(azimuth, torch.zeros(2), torch.full((2,), 2.5), torch.full((2,), 0.7), 33)
    images = render_splats(disc((0.3, 0.2, 0.01), 0.95), cameras)
    for view, towards in enumerate((1.0, -1.0)):
        opacity = float(images.opacity[view, 0, 16, 16])
        assert opacity == pytest.approx(0.95, abs=1e-3)
        torch.testing.assert_close(images.normal[view, :, 16, 16], opacity * torch.tensor([0, 0, towards]))
        torch.testing.assert_close(images.rgb[view, :, 16, 16], opacity * torch.tensor([0.9, 0.2, 0.1]))
        assert float(images.depth[view, 0, 16, 16]) == pytest.approx(2.5, abs=1e-5)
    assert float(images.z_variance.max()) < 1e-5
    assert not images.depth[:, :, 0, 0].any()


def test_the_variance_of_the_distance_is_that_of_two_discs() -> None:
    """Weights w, 1 - w at distances d apart: w (1 - w) d^2."""
    one = disc((0.5, 0.5, 0.01), 0.6)
    two = Gaussians(*(torch.cat([getattr(one, name)] * 2) for name in vars(one)))
    two.means[:, 2] = torch.tensor([0.2, -0.2])
    two.opacities[1] = 0.9
    cameras = orbit(torch.zeros(1), torch.zeros(1), torch.full((1,), 2.5), torch.full((1,), 0.7), 33)
    images = render_splats(two, cameras)
    w = 0.6 / (0.6 + 0.4 * 0.9)
    assert float(images.depth[0, 0, 16, 16]) == pytest.approx(2.3 * w + 2.7 * (1 - w), abs=1e-3)
    assert float(images.z_variance[0, 0, 16, 16]) == pytest.approx(w * (1 - w) * 0.16, rel=1e-2)


def test_a_ray_through_a_splats_volume_is_stopped_by_its_opacity() -> None:
    """The optical depth along the longest axis is -ln(1 - opacity), and the color its own."""
    volume = Splats(SMALL, disc((0.1, 0.2, 0.3), 0.8), steps=60).volume()
    z = torch.linspace(-1, 1, 4001)
    ray = torch.stack([torch.zeros_like(z), torch.zeros_like(z), z], -1)
    depth = float(torch.trapezoid(volume.density(ray), z))
    assert depth == pytest.approx(-math.log(0.2), rel=4e-3)  # the tails beyond REACH are missing
    inside = ray.abs().amax(-1) < 0.3 * REACH - 1e-3
    torch.testing.assert_close(volume.color(ray[inside])[0], torch.tensor([0.9, 0.2, 0.1]))
    assert not volume.density(ray[z.abs() > 0.3 * REACH + 1e-3]).any()


@pytest.mark.parametrize("kernels", ["torch", "warp"])
def test_sums_of_gaussians_equal_the_sum_over_all(kernels: str) -> None:
    rng = generator(3)
    means, axes = torch.rand(50, 3, generator=rng) * 2.4 - 1.2, 0.1 * torch.randn(50, 3, 3, generator=rng)
    values, points = torch.rand(50, 4, generator=rng), torch.rand(5000, 3, generator=rng) * 2 - 1
    with backend.using(kernels):
        found = evaluate(mixture(means, axes, values, 1.0), points)
    away = torch.linalg.solve(axes.double(), (points[:, None] - means).double()[..., None])[..., 0]
    q = away.square().sum(-1)
    expected = torch.exp(-0.5 * q).where(q < REACH**2, 0) @ values.double()
    torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=1e-3)


def test_a_mesh_of_splats_lies_where_they_do(tmp_path: Path) -> None:
    """The mesh of a shell of splats is as large as the render; splats that start on it lie on it, in its color."""
    points = 0.6 * torch.nn.functional.normalize(torch.randn(3000, 3, generator=generator()), dim=-1)
    shell = Splats(SMALL, at_points(points, torch.tensor([[0.8, 0.3, 0.1]]).expand(3000, 3), 0.9, 0), steps=60)
    mesh = extract(shell.volume(), resolution=48)
    radius = mesh.vertices.norm(dim=-1)
    cameras = ring(1, 128)
    pixels = float((shell.render(cameras, WHITE).opacity > 0.5).sum())
    angle = math.atan(math.sqrt(pixels / math.pi) / float(cameras.intrinsics()[0, 0, 0]))
    assert float(radius.mean()) == pytest.approx(2.8 * math.sin(angle), abs=0.02)
    torch.testing.assert_close(mesh.colors.mean(0), torch.tensor([0.8, 0.3, 0.1]), atol=0.01, rtol=0)
    write_glb(mesh, tmp_path / "mesh.glb")
    start = on_mesh(read_triangles(tmp_path / "mesh.glb", 1.0), 500, 0.1, 2, generator())
    assert start.harmonics.shape == (500, 9, 3)
    assert float((start.means.norm(dim=-1) - radius.mean()).abs().max()) < 0.05
    seen = color(start.harmonics[:, :1], torch.zeros(1, 500, 3))[0]
    torch.testing.assert_close(seen, torch.tensor([0.8, 0.3, 0.1]).expand(500, 3), atol=0.02, rtol=0)


@pytest.mark.parametrize("kernels", ["torch", "warp"])
def test_needles_too_long_for_the_precision_are_not_drawn_and_have_finite_gradients(kernels: str) -> None:
    angle = torch.linspace(0.1, 1.4, 64)
    rotations = torch.stack([angle.cos(), 0 * angle, 0 * angle, angle.sin()], -1).requires_grad_()
    means, stds = torch.zeros(64, 3, requires_grad=True), torch.tensor([[1e4, 1e-3, 1e-3]]).repeat(64, 1)
    splats = Gaussians(means, stds.requires_grad_(), rotations, torch.full((64,), 0.5), torch.zeros(64, 1, 3))
    with backend.using(kernels):
        images = render_splats(splats, ring(2, 16))
        (images.rgb.sum() + images.opacity.sum()).backward()
    assert bool(images.rgb.isfinite().all())
    for each in (means, stds, rotations):
        assert each.grad is not None and bool(each.grad.isfinite().all())


@pytest.mark.parametrize("kernels", ["torch", "warp"])
def test_without_any_splats_renders_and_volume_are_empty(kernels: str) -> None:
    model = scene()
    model.load_state_dict({name: value[:0] if value.dim() else value for name, value in model.state_dict().items()})
    with backend.using(kernels):
        assert bool((model.render(ring(1, 16), WHITE).rgb == 1).all())
        points = torch.zeros(3, 3)
        assert not model.volume().density(points).any()
        assert bool((model.volume().color(points) == 0.5).all())


def test_without_any_splats_all_losses_are_finite_and_steps_change_nothing() -> None:
    """A run that has pruned all its splats comes to its end, which says that it is empty."""
    weights = {field.name: losses.constant(1.0) for field in fields(SplatRegularizers)}
    model = scene(replace(SMALL, regularizers=SplatRegularizers(**weights)))
    model.load_state_dict({name: value[:0] if value.dim() else value for name, value in model.state_dict().items()})
    optimizer = torch.optim.Adam(model.param_groups())
    for step in range(GROWING.every):
        frame = model.render(ring(1, 16), WHITE)
        loss = model.regularizer(frame, ring(1, 16), 0.5)
        assert bool(loss.isfinite())
        (loss + frame.rgb.sum()).backward()
        optimizer.step()
        model.refine(step, optimizer, generator())
    assert len(model.means) == 0


def test_a_start_without_a_mesh_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.glb is no mesh that splats can start from: there is no file"):
        replace(SMALL, start=str(tmp_path / "none.glb")).build(rng=generator(), steps=1, resolution=64)
    with pytest.raises(ValueError, match="at least 4 initial splats are needed, got 3"):
        ball(3, 0.5, 0.1, 0, generator())


def test_points_in_a_ball_are_even_and_as_wide_as_their_distance() -> None:
    start = ball(4000, 0.5, 0.1, 0, generator())
    radius = start.means.norm(dim=-1)
    assert float(radius.max()) <= 0.5
    assert float((radius / 0.5).pow(3).mean()) == pytest.approx(0.5, abs=0.02)
    spacing = 0.5 * (4 * math.pi / 3 / 4000) ** (1 / 3)
    assert 0.5 < float(start.stds.mean()) / spacing < 1.2


def test_regression_on_known_renders_converges_and_densifies() -> None:
    """Regression on views of a red disc on white: the error falls fivefold, the number of splats grows to its limit."""
    truth = Splats(SMALL, disc((0.4, 0.3, 0.02), 0.95), steps=60)
    model = scene()
    assert isinstance(model, Scene)
    optimizer, rng = torch.optim.Adam(model.param_groups(), betas=(0.9, 0.99), eps=1e-15), generator(5)
    errors = []
    for step in range(60):
        azimuth = torch.rand(2, generator=rng) * 2 - 1
        cameras = orbit(azimuth, torch.zeros(2), torch.full((2,), 2.8), torch.full((2,), 0.7), 24)
        target = truth.render(cameras, WHITE).rgb.detach()
        frame = model.render(cameras, WHITE, rng)
        error = (frame.rgb - target).square().mean()
        loss = error + model.regularizer(frame, cameras, step / 60)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.refine(step, optimizer, rng)
        errors.append(float(error.detach()))
    assert sum(errors[-5:]) < sum(errors[:5]) / 5
    assert SMALL.count < len(model.means) <= GROWING.most
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates["means"] == pytest.approx(SMALL.lr_position * SMALL.decay.means)
    assert rates["opacity_logits"] == SMALL.lr_opacity


def test_degrees_of_harmonics_become_active_one_by_one() -> None:
    model = scene(replace(SMALL, degree=2, degree_every=10))
    for age, count in ((0, 1), (9, 1), (10, 4), (20, 9), (500, 9)):
        model.age.fill_(age)
        assert model.gaussians().harmonics.shape[1] == count


def test_losses_of_splats() -> None:
    """Needles by the two longer axes; the variation of a ramp; closeness in [0, 1]."""
    logs = torch.log(torch.tensor([[1.0, 1.0, 0.01], [8.0, 1.0, 1.0], [12.0, 2.0, 1.0]]))
    assert float(losses.needles(logs)) == pytest.approx((0 + 4 + 2) / 3, rel=1e-5)
    ramp = torch.linspace(0, 1, 11).expand(1, 1, 5, 11)
    assert float(losses.variation(ramp)) == pytest.approx(2 * 0.1**2, rel=1e-5)
    frame = scene().render(ring(1, 16), WHITE)
    near = losses.closeness(frame)
    assert 0 <= float(near.detach().min()) <= float(near.detach().max()) <= 1


def test_fog_has_no_closeness_and_a_finite_gradient() -> None:
    """As right after a reset of opacities, when no pixel is half opaque."""
    model = scene(replace(SMALL, opacity=0.02))
    near = losses.closeness(model.render(ring(1, 16), WHITE))
    assert not near.any()
    losses.variation(near).backward()
    assert all(bool(each.grad.isfinite().all()) for each in model.parameters() if each.grad is not None)


@pytest.mark.usefixtures("toy_presets")
def test_a_resumed_run_of_splats_is_bit_identical(prior: str, tmp_path: Path) -> None:
    """Stopped after densification: scene, optimizer and streams are those of a run that never stopped."""
    flags = [PROMPT, "--scene", "splats", "--prior", prior, *FLAGS[2:], "--steps", "12", "--scene.count", "300"]
    assert main(["generate", *flags, "--out", str(tmp_path / "whole")]) == 0
    whole = RunFolder.open(tmp_path / "whole")
    expected = whole.load()
    assert expected is not None
    assert len(expected["scene"]["means"]) > whole.recipe.scene.count  # type: ignore[attr-defined]
    assert (whole / "mesh.glb").exists()
    max((whole / "checkpoint").glob("*.safetensors")).unlink()
    before = whole.load()
    assert before is not None
    assert before["index"] < 11
    assert main(["resume", str(whole.path)]) == 0
    assert same(expected, whole.load())
