"""The toys of Toybox: geometry compared with closed forms, colors with descriptions, and the dataset on disk."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from scoredistill.camera import Cameras, orbit, ring
from scoredistill.contracts import Frame
from scoredistill.render.shading import daylight
from scoredistill.toybox import (
    BACKGROUND,
    COLORS,
    KINDS,
    Description,
    Part,
    Toy,
    build,
    load,
    make,
    render,
    shapes,
)
from scoredistill.toybox.captions import sample, tokenize
from scoredistill.toybox.dataset import describe
from scoredistill.toybox.kinds import BUILDERS, REACH
from scoredistill.toybox.palette import solid

RED = (0.8, 0.1, 0.1)
PLAIN = torch.tensor(BACKGROUND)
WITH_FRONT = ["astronaut", "bear", "boat", "car", "cat", "cottage", "duck", "fish", "mug", "penguin", "pumpkin"]
WITH_FRONT += ["rabbit", "robot", "rocket", "snowman", "turtle"]

PRIMITIVES = {
    "sphere": shapes.sphere(0.5),
    "ellipsoid": shapes.ellipsoid(0.3, 0.5, 0.7),
    "box": shapes.box(0.3, 0.4, 0.5, 0.1),
    "cylinder": shapes.cylinder(0.4, 0.3),
    "capsule": shapes.capsule((0.1, -0.3, 0), (-0.2, 0.3, 0.4), 0.2),
    "drop": shapes.drop(0.4, 0.1, 0.5),
    "torus": shapes.torus(0.5, 0.15),
    "arc": shapes.arc(0.5, 0.1, 70),
    "lathe": shapes.lathe([(0, -0.5), (0.5, -0.4), (0.2, 0.1), (0.4, 0.5), (0, 0.5)], 0.05),
    "prism": shapes.prism([(-0.4, -0.3), (0.5, -0.2), (0.1, 0.1), (0, 0.5)], 0.2, 0.03),
    "moved": shapes.box(0.2, 0.3, 0.4).turned("x", 30).turned("z", -50).scaled(1.3).at(0.1, -0.2, 0.3),
    "wheel": shapes.sphere(0.2).at(z=0.5).repeated(5),
    "mirrored": shapes.box(0.1, 0.2, 0.3).at(x=0.4).mirrored(),
    "cut": shapes.sphere(0.5).above(-0.1).below(0.3) - shapes.box(0.2, 1, 0.2),
    "melted": shapes.sphere(0.4).melted(shapes.sphere(0.3).at(x=0.5), 0.2),
    "decal": shapes.sphere(0.4).grown(0.02) & shapes.box(0.2, 0.2, 1),
}


def views(count: int = 8, elevation_deg: float = 15.0, size: int = 32) -> Cameras:
    return ring(count, size, elevation_deg=elevation_deg)


def points(count: int, reach: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(count, 3, generator=generator, dtype=torch.float64) - 1) * reach


@pytest.mark.parametrize("name", PRIMITIVES)
def test_distance_is_1_lipschitz(name: str):
    """|d(p) - d(q)| <= |p - q|, far and near, so d(p) is at most the distance to any surface point q."""
    shape = PRIMITIVES[name]
    p, q = points(4000, 1.0).T, points(4000, 1.0, seed=1).T
    near = p + 0.02 * q
    for a, b in ((p, q), (p, near)):
        change = (shape.distance(a) - shape.distance(b)).abs()
        assert (change <= (a - b).norm(dim=0) * (1 + 1e-5) + 1e-6).all()


@pytest.mark.parametrize("name", PRIMITIVES)
def test_support_bounds_the_solid(name: str):
    """The support bounds the points inside in all directions, and the bound is nearly attained."""
    shape = PRIMITIVES[name]
    p = points(60000, 1.1)
    inside = p[shape.distance(p.T) < 0].numpy()
    directions = np.random.default_rng(0).normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    gap = shape.support(directions) - (inside @ directions.T).max(0)
    assert gap.min() > -1e-6
    if name not in ("cut", "decal", "arc", "melted"):  # for these the support is only a bound
        assert gap.max() < 0.12


def test_exact_distances():
    """Distances computed by hand; a square prism is a box, a revolved rectangle a cylinder."""
    p = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.6, 0.0], [0.0, 0.0, 0.2]], dtype=torch.float64).T
    box = shapes.box(0.3, 0.4, 0.5, 0.0).distance(p)
    torch.testing.assert_close(box, torch.tensor([0.7, math.hypot(0.2, 0.2), -0.3], dtype=torch.float64))
    ring_ = shapes.torus(0.5, 0.1).distance(p)
    expected = [0.4, 0.6 - 0.1, math.hypot(0.3, 0) - 0.1]
    torch.testing.assert_close(ring_, torch.tensor(expected, dtype=torch.float64))
    square = shapes.prism([(-0.3, -0.4), (0.3, -0.4), (0.3, 0.4), (-0.3, 0.4)], 0.5).distance(p)
    torch.testing.assert_close(square, box)
    tube = shapes.lathe([(0, -0.3), (0.4, -0.3), (0.4, 0.3), (0, 0.3)]).distance(p)
    torch.testing.assert_close(tube, shapes.cylinder(0.4, 0.3, 0.0).distance(p))


def test_sphere_matches_closed_form():
    """Depth, normal, shading and area of a ball, compared with the quadratic equation of each ray."""
    radius, center = 0.6, torch.tensor([0.1, -0.05, 0.08], dtype=torch.float64)
    ball = Part(shapes.sphere(radius).at(*center.tolist()), solid(RED))
    cameras = views(3, size=64)
    frame = render(Toy((ball,)), cameras, PLAIN)
    origin, direction = (rays.double() for rays in cameras.rays())
    middle = ((center - origin) * direction).sum(-1)
    gap = (center - origin).square().sum(-1) - middle.square()  # squared distance of the ray to the center
    z = middle - (radius**2 - gap).clamp(min=0).sqrt()
    normal = (origin + z[..., None] * direction - center) / radius
    face = (-(normal * direction).sum(-1) > 0.3) & (gap < radius**2)
    assert face.float().mean() > 0.15
    assert (frame.depth[:, 0] - z)[face].abs().max() < 2e-4
    assert (frame.normal.permute(0, 2, 3, 1) - normal)[face].abs().max() < 2e-3
    shade = torch.tensor(RED) * daylight(normal, -direction).float()[..., None]
    assert (frame.rgb.permute(0, 2, 3, 1) - shade)[face].abs().max() < 2e-3
    pixels = (2 * math.tan(math.radians(20)) / 64) ** 2
    axis = center - cameras.c2w[:, :3, 3].double()
    distance = axis.norm(dim=-1)
    tilt = (axis * cameras.c2w[:, :3, 2].double()).sum(-1) / distance  # cosine from optical axis to center
    sine = radius / distance
    # the cone of the ball intersects the image plane in an ellipse of this area
    area = math.pi * sine**2 * tilt * (1 - sine**2).sqrt() / (tilt**2 - sine**2) ** 1.5
    torch.testing.assert_close(frame.opacity.sum((1, 2, 3)).double() * pixels, area, rtol=5e-3, atol=0)


def test_ellipsoid_normals_and_soft_edge():
    """Normals p / r^2 of an ellipsoid; coverage falls from one to zero over about a pixel."""
    semi = torch.tensor([0.7, 0.35, 0.5], dtype=torch.float64)
    cameras = views(3, size=64)
    frame = render(Toy((Part(shapes.ellipsoid(*semi.tolist()), solid(RED)),)), cameras, PLAIN)
    origin, direction = (rays.double() for rays in cameras.rays())
    o, d = origin / semi, direction / semi
    a, b, c = d.square().sum(-1), (o * d).sum(-1), o.square().sum(-1) - 1
    root = b.square() - a * c
    z = (-b - root.clamp(min=0).sqrt()) / a
    normal = torch.nn.functional.normalize((origin + z[..., None] * direction) / semi.square(), dim=-1)
    face = (-(normal * direction).sum(-1) > 0.3) & (root > 0)
    assert (frame.normal.permute(0, 2, 3, 1) - normal)[face].abs().max() < 1e-2
    assert (frame.depth[:, 0] - z)[face].abs().max() < 2e-3
    opacity = frame.opacity[:, 0]
    assert opacity[face].min() > 0.999
    partial = ((opacity > 0.02) & (opacity < 0.98)).sum((1, 2))
    outline = math.pi * 2 * 0.5 * 64 / (2 * 3.2 * math.tan(math.radians(20)))  # pixels, ball of radius 0.5
    assert ((partial > 0.5 * outline) & (partial < 2.5 * outline)).all()


def test_near_part_hides_far_part():
    """A small ball in front of a large one is visible from the front and hidden from behind."""
    green = (0.1, 0.8, 0.1)
    toy = Toy((Part(shapes.sphere(0.5), solid(RED)), Part(shapes.sphere(0.2).at(z=0.6), solid(green))))
    frame = render(toy, views(2), PLAIN)
    middle = frame.rgb[:, :, 15:17, 15:17].mean((2, 3))
    assert middle[0].argmax() == 1 and middle[1].argmax() == 0
    assert (frame.opacity <= 1 + 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_toy_fills_its_bounding_ball(kind: str):
    for seed in range(2):
        toy = build(Description(kind, "purple"), np.random.default_rng(seed))
        p = points(4000, 1.0, seed)
        inside = p[toy.distance(p) < 0]
        assert inside.norm(dim=1).max() <= REACH
        assert inside.norm(dim=1).max() > 0.55  # it fills its ball
        share = render(toy, views(2, size=24), PLAIN).opacity.mean((1, 2, 3))
        assert ((share > 0.03) & (share < 0.55)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_toy_distance_is_a_lower_bound(kind: str):
    toy = build(Description(kind, "purple"), np.random.default_rng(0))
    p = points(1500, 1.0).requires_grad_()
    (gradient,) = torch.autograd.grad(toy.distance(p).sum(), p)
    assert gradient.norm(dim=1).max() <= 1 + 1e-4


def render_albedo(toy: Toy, cameras: Cameras) -> tuple[Frame, torch.Tensor]:
    """The frame, and the albedo [M 3] of every fully covered pixel."""
    frame = render(toy, cameras, PLAIN)
    origin, direction = cameras.rays()
    surface = origin + frame.depth[:, 0, ..., None] * direction
    return frame, toy.albedo(surface[frame.opacity[:, 0] > 0.99])


@pytest.mark.parametrize("color", ["purple", "white"])
@pytest.mark.parametrize("kind", KINDS)
def test_main_color_dominates(kind: str, color: str):
    """At least half of the visible surface has the main color or its darker variant."""
    toy = build(Description(kind, color), np.random.default_rng(1))
    _, albedo = render_albedo(toy, views(6, size=24))
    main = torch.tensor(COLORS[color])
    off = torch.minimum((albedo - main).norm(dim=1), (albedo - 0.75 * main).norm(dim=1))
    assert (off < 0.17).float().mean() > 0.5


@pytest.mark.parametrize("kind", WITH_FRONT)
def test_front_differs_from_back(kind: str):
    """The mirrored back view differs from the front view."""
    toy = build(Description(kind, "orange"), np.random.default_rng(2))
    front, back = render(toy, views(2), PLAIN).rgb
    difference = (front - back.flip(-1)).abs().amax(0)
    assert (difference > 0.15).sum() > 6


@pytest.mark.parametrize("kind", KINDS)
def test_named_part_shows_its_color(kind: str):
    for part in KINDS[kind]:
        plain = build(Description(kind, "white"), np.random.default_rng(3))
        named = build(Description(kind, "white", part=part, part_color="purple"), np.random.default_rng(3))
        purple = torch.tensor(COLORS["purple"])
        counts = [((render_albedo(toy, views(4))[1] - purple).norm(dim=1) < 0.17).sum() for toy in (plain, named)]
        assert counts[0] == 0 and counts[1] > 15


def test_toys_match_their_descriptions():
    rng = np.random.default_rng(4)
    single, small = (build(Description("bear", "red", size=size), rng) for size in ("", "small"))
    assert small.ball[1] < 0.75 * single.ball[1]
    assert len(build(Description("bear", "red", count=3), rng).parts) == 3 * len(single.parts)
    stack = build(Description("bear", "red", on=Description("cupcake", "blue")), rng)
    _, albedo = render_albedo(stack, views(4))
    assert ((albedo - torch.tensor(COLORS["red"])).norm(dim=1) < 0.2).float().mean() > 0.15
    assert ((albedo - torch.tensor(COLORS["blue"])).norm(dim=1) < 0.2).float().mean() > 0.15
    shiny, matte = (
        render(build(Description("duck", "black", material), np.random.default_rng(5)), views(2), PLAIN)
        for material in ("shiny", "")
    )
    assert (shiny.rgb - matte.rgb).amax() > 0.2
    with pytest.raises(ValueError, match="no kind 'unicorn'"):
        build(Description("unicorn", "red"), rng)
    assert set(BUILDERS) == set(KINDS)


def test_random_descriptions_render_finite():
    rng = np.random.default_rng(6)
    for _ in range(25):
        description = sample(rng)
        frame = render(build(description, rng), views(2, size=24), PLAIN)
        values = torch.cat([frame.rgb, frame.opacity, frame.normal], 1)
        assert torch.isfinite(values).all(), description
        assert (frame.rgb >= 0).all() and (frame.rgb <= 1).all(), description
        border = torch.cat([frame.opacity[..., 0, :], frame.opacity[..., -1, :]])
        assert border.max() == 0, description  # the whole toy is in the image
        assert describe(json.loads(json.dumps(asdict(description)))) == description


def test_camera_that_points_away_sees_only_the_background():
    away = orbit(*(torch.tensor([v]) for v in (0.0, 0.0, 3.0, 0.3)), 8, target_jitter=torch.tensor([[9.0, 0, 0]]))
    frame = render(build(Description("duck", "red"), np.random.default_rng(0)), away, PLAIN)
    assert frame.opacity.max() == 0
    torch.testing.assert_close(frame.rgb, PLAIN[None, :, None, None].expand(1, 3, 8, 8))


def test_dataset_is_deterministic_and_resumable(tmp_path):
    settings = {"seed": 7, "views_per_toy": 2, "size": 16, "shard": 4}
    make(tmp_path / "one", 10, workers=1, **settings)
    make(tmp_path / "two", 10, workers=2, **settings)
    one, two = load(tmp_path / "one"), load(tmp_path / "two")
    assert len(one) == 10 and torch.equal(one.rgb, two.rgb) and one.captions == two.captions
    assert one.rgb.float().std() > 5 and len(set(one.descriptions)) > 2
    assert torch.equal(one.azimuth, two.azimuth) and one.descriptions == two.descriptions
    complete = tmp_path / "one" / "shard-00000.npy"
    before = complete.stat().st_mtime_ns
    (tmp_path / "one" / "shard-00001.json").unlink()  # as after an interruption in this shard
    make(tmp_path / "one", 10, workers=1, **settings)
    assert complete.stat().st_mtime_ns == before
    assert torch.equal(load(tmp_path / "one").rgb, two.rgb)
    with pytest.raises(ValueError, match="choose another folder"):
        make(tmp_path / "one", 10, workers=1, **(settings | {"seed": 8}))
    with pytest.raises(ValueError, match="no Toybox data"):
        load(tmp_path)


def test_a_shard_that_is_being_made_longer_is_not_complete(tmp_path: Path) -> None:
    """Else a crash would leave the captions of the shorter one beside the pictures of the longer one."""
    settings = {"seed": 7, "views_per_toy": 2, "size": 16, "shard": 4, "workers": 1}
    make(tmp_path, 2, **settings)
    pictures = tmp_path / "shard-00000.npy"
    pictures.unlink()
    pictures.mkdir()  # which cannot be replaced, as where the disk refuses
    with pytest.raises(ValueError, match="only a regular file is replaced"):
        make(tmp_path, 4, **settings)
    assert not pictures.with_suffix(".json").exists()


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("一辆红色的汽车", "一辆红色的汽车"),
        ("a red 汽车", "汽车"),
        ("красная машина", "красная"),
        ("🚗", "🚗"),
        ("ａ ｒｅｄ ｃａｒ", "ａ"),
        ("a red café car", "café"),
        ("a red car-pet", "car-pet"),
        ("a red car -", "-"),
        ("a red_car", "red_car"),
        ("<pad> car", "<pad>"),
    ],
)
def test_an_unknown_word_is_named_as_a_whole(prompt: str, word: str) -> None:
    with pytest.raises(ValueError, match=f"unknown Toybox word '{word}'; nearest known words: "):
        tokenize(prompt)


def test_only_blanks_and_punctuation_divide_words() -> None:
    assert tokenize("A  red,car. (Front\tview!)") == tokenize("a red car front view")
    assert set(tokenize(" \n")) == {0}, "the empty caption of guidance"
    with pytest.raises(ValueError, match="holds no Toybox word"):
        tokenize("?!")
