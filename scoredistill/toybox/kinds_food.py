"""Food: one builder for each kind, about two units tall, facing +z."""

from __future__ import annotations

from scoredistill.toybox.palette import Palette, dots, edge, mixed, solid, tint
from scoredistill.toybox.shapes import box, capsule, cylinder, drop, ellipsoid, lathe, prism, sphere, torus
from scoredistill.toybox.toy import Paint, Part


def bagel(p: Palette) -> list[Part]:
    """Two halves of a ring with a filling between, tilted so that the hole faces +z; seeds in front."""
    width, thickness = p.vary(0.60, 0.66), p.vary(0.34, 0.38)
    ring = torus(width, thickness)
    filling = cylinder(width + thickness + 0.05, 0.1, 0.09) - cylinder(width - thickness - 0.03, 1, 0)
    seed = sphere(0.045).at(y=thickness * 0.97, z=width)
    seeds = seed.repeated(9) | seed.at(y=-0.06, z=0.19).turned("y", 20).repeated(9)
    top, bottom, filling, seeds = (
        shape.turned("x", 68) for shape in (ring.above(0.07), ring.below(-0.07), filling, seeds)
    )
    return [
        p.body(top),
        p.body(bottom),
        p.named("filling", filling, "white", "green"),
        p.fixed("chocolate" if p.name == "white" else "cream", seeds),
    ]


def croissant(p: Palette) -> list[Part]:
    """A crescent of overlapping rolls, tapering to two horns bent towards +z, every other roll darker."""
    bend, thick = p.vary(0.60, 0.66), p.vary(0.43, 0.47)
    parts = []
    for side in range(-4, 5):
        radius = thick - 0.085 * abs(side)
        roll = ellipsoid(0.2, radius, radius).at(z=-bend).turned("y", -27 * side).turned("x", 35)
        parts.append(p.painted(solid(p.deep), roll) if side % 2 else p.body(roll))
    return parts


def cupcake(p: Palette) -> list[Part]:
    """A pleated cup, a swirl of frosting that leaves the rim of the cake visible, and a cherry."""
    swirl, top = p.vary(0.40, 0.45), p.vary(0.85, 0.92)
    cup = lathe([(0, -0.8), (0.5, -0.8), (top - 0.1, 0.15), (0, 0.15)], 0.03)
    pleats = drop(0.07, 0.1, 0.95).at(y=-0.8).turned("x", 20).at(z=0.5).repeated(14)
    frosting = torus(swirl, 0.2).at(y=0.4) | torus(swirl - 0.16, 0.18).at(y=0.63) | drop(0.24, 0.1, 0.3).at(y=0.75)
    return [
        p.body(cup),
        p.body(pleats),
        p.body(ellipsoid(top, 0.24, top).at(y=0.16)),
        p.named("frosting", frosting, "white", "brown"),
        p.fixed(p.contrast("red", "yellow"), sphere(0.17).at(y=1.2)),
    ]


def hamburger(p: Palette) -> list[Part]:
    """A bun with seeds, lettuce with a wavy rim, a patty, a square of cheese."""
    width, dome = p.vary(0.92, 0.98), p.vary(0.62, 0.70)
    ruffle = ellipsoid(0.24, 0.09, 0.2).at(y=0.10, z=width - 0.12).repeated(12)
    seed = ellipsoid(0.04, 0.035, 0.065).at(y=0.18)
    seeds = seed.at(y=dome)
    for count, z in ((5, 0.32), (9, 0.6)):
        seeds = seeds | seed.at(y=dome * (1 - (z / width) ** 2) ** 0.5, z=z).repeated(count)
    return [
        p.body(cylinder(width, 0.22, 0.16).at(y=-0.5)),
        p.fixed("chocolate", cylinder(width + 0.02, 0.13, 0.1).at(y=-0.17)),
        p.fixed(
            "flame",
            prism([(-0.95, 0), (0, -0.95), (0.95, 0), (0, 0.95)], 0.035, 0.02).turned("x", 90).at(y=-0.01),
        ),
        p.named("lettuce", cylinder(width - 0.05, 0.06).at(y=0.1) | ruffle, "green", "yellow"),
        p.body(ellipsoid(width, dome, width).above(0).at(y=0.17)),
        p.fixed("chocolate" if p.name in ("white", "yellow") else "cream", seeds),
    ]


def pancakes(p: Palette) -> list[Part]:
    """Five of them on a plate, with syrup running down and a piece of butter."""
    parts = [p.fixed(p.contrast("white", "blue"), lathe([(0, -0.72), (0.75, -0.72), (1.12, -0.62), (0, -0.66)], 0.03))]
    for k in range(5):
        x, z = p.vary(-0.05, 0.05), p.vary(-0.05, 0.05)
        cake = cylinder(p.vary(0.88, 0.94), 0.125, 0.11).at(x, -0.52 + 0.235 * k, z)
        parts.append(p.body(cake) if k % 2 == 0 else p.painted(solid(p.deep), cake))
    top = 0.55
    drips = [
        capsule((0, top, 0.55), (0, top, 0.95), 0.11) | capsule((0, top, 0.93), (0, top - fall, 0.97), 0.1)
        for fall in (0.55, 0.3, 0.42)
    ]
    syrup = cylinder(0.58, 0.05, 0.04).at(y=top)
    for turn, drip in zip((10, 130, 245), drips, strict=True):
        syrup = syrup | drip.turned("y", turn)
    parts.append(p.named("syrup", syrup, "brown", "orange"))
    parts.append(p.fixed(p.contrast("yellow", "white"), box(0.2, 0.09, 0.2, 0.04).turned("y", 25).at(y=top + 0.12)))
    return parts


def peach(p: Palette) -> list[Part]:
    """Two cheeks with a deep cleft between them, pointed below, a blush, a stalk and a leaf."""
    width = p.vary(0.60, 0.66)
    cheek = ellipsoid(width, 0.80, 0.80).turned("z", 14).at(x=0.22).mirrored()
    tip = drop(0.5, 0.1, 0.75).turned("x", 180).at(y=-0.3)
    leaf = ellipsoid(0.42, 0.07, 0.22).at(x=0.4).turned("z", 8).turned("y", 30).at(y=0.76)
    return [
        p.painted(_ripe(p), cheek.melted(tip, 0.2)),
        p.fixed("chocolate", capsule((0, 0.5, 0), (-0.05, 0.92, 0), 0.07)),
        p.named("leaf", leaf, "green", "yellow"),
    ]


def _ripe(p: Palette) -> Paint:
    """The main color, dark in the cleft and redder on one side."""
    blush = mixed(p.main, tint(p.main, p.color("red"), 0.2), lambda q: edge(q[0] + 0.5 * q[1] - 0.4, 0.3))
    cleft = solid(p.deep)
    return lambda q: blush(q) + edge(0.045 - q[0].abs(), 0.03) * (cleft(q) - blush(q))


def pumpkin(p: Palette) -> list[Part]:
    """A ribbed, flattened ball with a carved face and a crooked stem."""
    ribs, flat = int(p.rng.integers(8, 11)), p.vary(0.66, 0.74)
    ball = ellipsoid(0.36, flat, 0.56).at(z=0.42).repeated(ribs)
    core = ellipsoid(0.8, flat - 0.08, 0.8)
    triangle = prism([(-0.17, -0.12), (0.17, -0.12), (0, 0.16)], 1.0).at(z=1)
    grin = prism([(-0.46, -0.12), (-0.2, -0.42), (0.2, -0.42), (0.46, -0.12), (0.2, -0.22), (-0.2, -0.22)], 1.0).at(z=1)
    face = triangle.at(x=0.3, y=0.18).mirrored() | triangle.scaled(0.6).at(y=-0.03) | grin
    stem = capsule((0, flat - 0.12, 0), (0.02, flat + 0.12, 0), 0.13).melted(
        capsule((0, flat + 0.12, 0), (0.14, flat + 0.3, 0.04), 0.09), 0.1
    )
    carved = p.fixed(p.contrast("black", "yellow"), (ball | core).grown(0.02) & face)
    return [p.body(ball | core), carved, p.named("stem", stem, "green", "brown")]


def strawberry(p: Palette) -> list[Part]:
    """A plump cone, point down, with seeds, and a star of leaves on top."""
    wide, tall = p.vary(0.66, 0.72), p.vary(0.82, 0.92)
    fruit = drop(0.2, wide, tall).at(y=-0.75)
    leaf = ellipsoid(0.17, 0.06, 0.34).at(z=0.33).turned("x", 22).at(y=tall - 0.75 + wide - 0.02)
    crown = leaf.repeated(6)
    stalk = capsule((0, 0.6, 0), (0.06, tall - 0.75 + wide + 0.25, 0), 0.07)
    seeds = dots(p.main, p.color("yellow" if p.name != "yellow" else "chocolate"), (0, 0.05, 0), 60, 0.9965)
    return [p.painted(seeds, fruit), p.named("leaves", crown | stalk, "green", "brown")]


def sundae(p: Palette) -> list[Part]:
    """Four scoops in a footed glass, with sauce, a wafer and a cherry."""
    scoop = p.vary(0.44, 0.48)
    glass = lathe(
        [
            (0, -0.95),
            (0.42, -0.95),
            (0.42, -0.9),
            (0.1, -0.82),
            (0.1, -0.68),
            (0.56, -0.3),
            (0.64, -0.12),
            (0, -0.12),
        ],
        0.03,
    )
    scoops = sphere(scoop).at(z=0.36, y=0.05).repeated(3)
    crown = sphere(scoop + 0.03).at(y=0.58)
    sauce = crown.grown(0.025).above(0.82) | (crown.grown(0.025) & capsule((0, 1, 0.2), (0, 0.5, 0.6), 0.1).repeated(5))
    wafer = box(0.09, 0.4, 0.09, 0.03).turned("z", -28).at(0.38, 0.78, -0.2)
    return [
        p.named("glass", glass, "white", "blue"),
        p.body(scoops),
        p.body(crown),
        p.fixed(p.contrast("chocolate") if p.name not in ("brown", "black") else "cream", sauce),
        p.fixed("cream" if p.name != "yellow" else "chocolate", wafer),
        p.fixed(p.contrast("red", "green"), sphere(0.15).at(y=1.1)),
    ]


BUILDERS = {
    "bagel": bagel,
    "croissant": croissant,
    "cupcake": cupcake,
    "hamburger": hamburger,
    "pancakes": pancakes,
    "peach": peach,
    "pumpkin": pumpkin,
    "strawberry": strawberry,
    "sundae": sundae,
}
