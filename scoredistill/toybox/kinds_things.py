"""Plants, vessels, vehicles and houses: one builder for each kind, about two units tall, facing +z."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from scoredistill.toybox.palette import SOFT, Palette, dots, edge, mixed
from scoredistill.toybox.shapes import (
    Shape,
    box,
    capsule,
    cylinder,
    drop,
    ellipsoid,
    lathe,
    prism,
    sphere,
    torus,
)
from scoredistill.toybox.toy import Paint, Part


def boat(p: Palette) -> list[Part]:
    """A deep hull with its bow towards +z, a cabin, two sails on a mast and a pennant."""
    long = p.vary(1.0, 1.08)
    hull = (ellipsoid(0.62, 0.78, long).below(0.0) | torus(0.6, 0.07)).at(y=-0.2)
    bow = drop(0.2, 0.09, 0.5).turned("x", 55).at(y=-0.42, z=long - 0.42)
    main = prism([(0, 0), (0.8, 0), (0, 1.1)], 0.04, 0.05).turned("y", 65).at(y=0.1, z=-0.08)
    jib = prism([(0, 0), (0, 0.75), (-0.55, 0)], 0.04, 0.05).turned("y", 75).at(y=0.12, z=0.2)
    return [
        p.body(hull.melted(bow, 0.15)),
        p.body(box(0.62, 0.09, 0.09, 0.08).at(y=-0.18, z=-0.6)),
        p.body(box(0.3, 0.18, 0.22, 0.05).at(y=-0.06, z=-0.55)),
        p.fixed("chocolate", capsule((0, -0.3, 0.06), (0, 1.3, 0.06), 0.05)),
        p.named("sail", main | jib, "white", "blue"),
        p.fixed(
            p.contrast("yellow", "red"),
            prism([(0, -0.12), (0.36, 0), (0, 0.12)], 0.03, 0.03).turned("y", 65).at(y=1.3),
        ),
    ]


def cactus(p: Palette) -> list[Part]:
    """A ribbed column with two arms bent upwards, a flower, and a clay pot."""
    left, right = p.vary(-0.05, 0.15), p.vary(0.15, 0.35)
    column = capsule((0, -0.4, 0), (0, 0.85, 0), 0.3)
    arms = _elbow(0.62, left, 0.4) | _elbow(-0.6, right, 0.42)
    ribs = capsule((0, -0.4, 0.27), (0, 0.85, 0.25), 0.07).repeated(9)
    pot = lathe([(0, -1.1), (0.36, -1.1), (0.45, -0.66), (0.52, -0.66), (0.52, -0.5), (0, -0.5)], 0.03)
    return [
        p.body(column | ribs),
        p.body(arms),
        p.named("pot", pot, "orange", "brown"),
        p.fixed(
            p.contrast("pink", "yellow"),
            ellipsoid(0.07, 0.06, 0.16).at(z=0.12).turned("x", -25).at(y=1.14).repeated(6),
        ),
        p.fixed(p.contrast("yellow", "white"), sphere(0.09).at(y=1.2)),
    ]


def _elbow(x: float, y: float, rise: float) -> Shape:
    return capsule((0, y, 0), (x, y, 0), 0.17) | capsule((x, y, 0), (x, y + rise, 0), 0.17)


def car(p: Palette) -> list[Part]:
    """A round little car: cabin with windows, four wheels, head and tail lights, bumpers."""
    roof, long = p.vary(0.28, 0.34), p.vary(0.96, 1.04)
    cabin = box(0.44, roof, 0.5, 0.2).at(y=0.28, z=-0.12)
    panes = cabin.grown(0.02) & (
        box(0.34, 0.15, 2, 0.05) | box(2, 0.15, 0.17, 0.05).at(z=0.22) | box(2, 0.15, 0.17, 0.05).at(z=-0.2)
    ).at(y=0.34, z=-0.12)
    wheel = cylinder(0.27, 0.12, 0.06).turned("z", 90)
    wheels = (wheel.at(0.5, -0.34, 0.56) | wheel.at(0.5, -0.34, -0.58)).mirrored()
    hub = cylinder(0.12, 0.04).turned("z", 90)
    return [
        p.body(box(0.54, 0.27, long, 0.2).at(y=-0.1)),
        p.body(cabin),
        p.fixed("sky" if p.name in ("black", "blue", "purple") else "night", panes),
        p.named("wheels", wheels, "black", "white"),
        p.fixed("steel", (hub.at(0.61, -0.34, 0.56) | hub.at(0.61, -0.34, -0.58)).mirrored()),
        p.fixed(p.contrast("yellow", "white"), sphere(0.13).at(0.34, -0.03, long - 0.05).mirrored()),
        p.fixed(p.contrast("red", "orange"), box(0.11, 0.08, 0.05, 0.03).at(0.36, -0.02, -long).mirrored()),
        p.fixed(
            "steel",
            box(0.48, 0.06, 0.06, 0.05).at(y=-0.28, z=long) | box(0.48, 0.06, 0.06, 0.05).at(y=-0.28, z=-long),
        ),
    ]


def cauldron(p: Palette) -> list[Part]:
    """A round pot on three feet, with ring handles at its sides and a heap of coins."""
    belly = p.vary(0.84, 0.9)
    heap = ellipsoid(0.56, 0.24, 0.56).at(y=0.5)
    coin = cylinder(0.15, 0.035, 0.015)
    coins = (
        coin.turned("x", 35).at(y=0.7, z=0.3).repeated(5)
        | coin.turned("z", 30).at(0.05, 0.78, -0.02)
        | coin.turned("x", 60).turned("y", 40).at(0.1, 0.8, 0.1)
    )
    return [
        p.body(ellipsoid(belly, 0.78, belly).below(0.5).at(y=-0.1)),
        p.body(torus(0.66, 0.13).at(y=0.42)),
        p.body(drop(0.1, 0.15, 0.34).at(y=-1.05, z=0.5).repeated(3)),
        p.body(torus(0.17, 0.055).turned("x", 90).turned("y", 90).at(belly + 0.02, 0.1).mirrored()),
        p.named("coins", heap | coins, "yellow", "orange"),
    ]


def cottage(p: Palette) -> list[Part]:
    """Tall walls on a plinth under a gabled roof, with a door, windows and a chimney."""
    tall, deep = p.vary(0.60, 0.66), p.vary(0.56, 0.62)
    gable = prism([(-0.62, -tall), (0.62, -tall), (0.62, 0.3), (0, 0.78), (-0.62, 0.3)], deep).at(y=-0.2)
    slab = box(0.47, 0.05, deep + 0.07, 0.03).at(x=0.45).turned("z", -38).at(y=0.66)
    window = box(0.13, 0.15, 0.04, 0.02)
    panes = window.at(0.38, -0.12, deep).mirrored() | window.at(0.0, -0.1, -deep)
    side = window.turned("y", 90).at(x=0.62, y=-0.16)
    panes = panes | (side.at(z=0.24) | side.at(z=-0.24)).mirrored()
    return [
        p.body(gable),
        p.named("roof", slab.mirrored(), "red", "brown"),
        p.fixed(
            "chocolate" if p.name != "brown" else "cream",
            box(0.18, 0.33, 0.05, 0.02).at(y=-tall + 0.13, z=deep),
        ),
        p.fixed("sky" if p.name != "white" else "blue", panes),
        p.body(box(0.15, 0.36, 0.15, 0.02).at(0.34, 0.66, -0.25)),
        p.fixed("gray", box(0.18, 0.04, 0.18, 0.02).at(0.34, 1.02, -0.25)),
        p.body(box(0.86, 0.07, deep + 0.26, 0.04).at(y=-tall - 0.22)),
    ]


def mug(p: Palette) -> list[Part]:
    """A hollow cup with a handle at its side, a star on its front, and a drink inside."""
    wide, tall = p.vary(0.62, 0.68), p.vary(0.68, 0.76)
    cup = cylinder(wide, tall, 0.06) - cylinder(wide - 0.11, tall, 0.02).at(y=0.18)
    handle = torus(0.34, 0.095).turned("x", 90).at(x=wide + 0.1) - cylinder(wide - 0.05, 2)
    corners = [(math.radians(90 + 36 * k), (0.34, 0.15)[k % 2]) for k in range(10)]
    star = prism([(r * math.cos(a), r * math.sin(a)) for a, r in corners], 0.5, 0.02).at(z=0.6)
    return [
        p.body(cup),
        p.named("handle", handle, "white", "red"),
        p.fixed(p.contrast("yellow", "white"), cylinder(wide + 0.02, tall - 0.1) & star),
        p.fixed(
            "chocolate" if p.name not in ("brown", "black") else "cream",
            cylinder(wide - 0.1, 0.05).at(y=tall - 0.2),
        ),
    ]


def mushroom(p: Palette) -> list[Part]:
    """A broad dotted cap on a stout stem."""
    wide, tall = p.vary(0.92, 1.0), p.vary(0.66, 0.76)
    cap = ellipsoid(wide, tall, wide).above(0).at(y=0.05) | cylinder(wide, 0.08, 0.07).at(y=0.03)
    dotted = dots(p.main, p.color(p.contrast("white", "red")), (0, -0.1, 0), 18, 0.984)
    stem = lathe([(0, -0.95), (0.4, -0.95), (0.28, -0.5), (0.26, 0), (0, 0)], 0.06)
    return [
        p.painted(dotted, cap),
        p.named("stem", stem, "white", "yellow"),
        p.fixed("cream", cylinder(wide - 0.12, 0.03).at(y=-0.06)),
        p.fixed(
            "leaf" if p.name != "green" else "chocolate",
            drop(0.07, 0.03, 0.3).turned("x", 18).at(y=-1.0, z=0.42).repeated(7),
        ),
    ]


def rocket(p: Palette) -> list[Part]:
    """A rounded hull on four fins, a porthole on the front, a flame below."""
    wide, tall = p.vary(0.48, 0.54), p.vary(1.05, 1.15)
    hull = lathe(
        [
            (0, -0.75),
            (wide - 0.14, -0.75),
            (wide - 0.03, -0.4),
            (wide, 0),
            (wide - 0.06, 0.4),
            (wide - 0.2, 0.8),
            (0.05, tall),
            (0, tall),
        ],
        0.05,
    )
    fin = prism([(0.2, -0.2), (0.75, -0.95), (0.8, -0.5), (0.3, 0.12)], 0.05, 0.03).turned("y", -90)
    return [
        p.body(hull),
        p.named("fins", fin.repeated(4).turned("y", 45), "yellow", "blue"),
        p.fixed("steel" if p.name != "white" else "gray", torus(0.19, 0.06).turned("x", 90).at(y=0.3, z=wide)),
        p.fixed("sky" if p.name != "blue" else "night", sphere(0.19).at(y=0.3, z=wide - 0.08)),
        p.fixed("gray", lathe([(0, -0.95), (0.3, -0.95), (0.2, -0.75), (0, -0.75)], 0.02)),
        p.fixed("flame" if p.name != "orange" else "yellow", drop(0.05, 0.19, 0.3).at(y=-1.28)),
    ]


def soccer_ball(p: Palette) -> list[Part]:
    """Twelve pentagons and twenty hexagons with seams."""
    named = p.description.part == "patches"
    patches = p.color(p.description.part_color if named else p.contrast("black", "white"))
    ball = sphere(0.8).turned("x", p.vary(0, 360)).turned("y", p.vary(0, 360))
    return [p.painted(_panels(p, patches), ball)]


def _panels(p: Palette, patches: tuple[float, float, float]) -> Paint:
    """A truncated icosahedron: a direction belongs to the face whose plane it meets first."""
    golden = (1 + math.sqrt(5)) / 2
    signs = [(s, t) for s in (-1, 1) for t in (-1, 1)]
    pentagons = np.array([np.roll((0, s, t * golden), k) for s, t in signs for k in range(3)]) / math.hypot(1, golden)
    hexagons = [np.roll((0, s * golden, t / golden), k) for s, t in signs for k in range(3)]
    hexagons = np.array(hexagons + [(s, t, u) for s, t in signs for u in (-1, 1)]) / math.sqrt(3)
    five = torch.tensor(pentagons / 0.9393, dtype=torch.float32)  # distances of the planes from the center
    six = torch.tensor(hexagons / 0.9150, dtype=torch.float32)  # for corners at distance 1

    def share(points: Tensor) -> Tensor:
        direction = torch.nn.functional.normalize(points, dim=0)
        near_five = (five.to(points) @ direction).amax(0)
        near_six = (six.to(points) @ direction).topk(2, dim=0).values
        seam = edge(0.02 - (near_six[0] - near_six[1]), SOFT)
        return torch.maximum(edge(near_five - near_six[0], SOFT), seam)

    return mixed(p.main, patches, share)


def tree(p: Palette) -> list[Part]:
    """A fir of three tiers on a trunk."""
    wide, turn = p.vary(0.72, 0.82), p.vary(0, 60)
    tiers = [
        lathe([(0, y), (wide - 0.16 * k, y - 0.08), (0.06, y + 0.72), (0, y + 0.72)], 0.06)
        for k, y in enumerate((-0.5, -0.05, 0.4))
    ]
    return [
        *(p.body(tier.turned("y", turn)) for tier in tiers),
        p.named("trunk", cylinder(0.24, 0.36).at(y=-0.86), "brown", "black"),
    ]


def tulip(p: Palette) -> list[Part]:
    """A cup of petals on a stalk between two long leaves."""
    wide, tall = p.vary(0.48, 0.54), p.vary(0.62, 0.70)
    petal = ellipsoid(0.42, tall, 0.2).turned("x", 8).at(y=0.42, z=wide - 0.08)
    leaf = ellipsoid(0.19, 0.5, 0.07).at(y=0.46).turned("x", 34).at(y=-1.0, z=0.03)
    stalk = capsule((0, -1.0, 0), (0, 0.1, 0), 0.09)
    return [
        p.body(petal.repeated(3)),
        p.body(petal.scaled(0.97).repeated(3).turned("y", 60)),
        p.body(ellipsoid(wide, 0.4, wide).at(y=0.2)),
        p.named("leaves", stalk | leaf.turned("y", 70) | leaf.turned("y", 250), "green", "brown"),
    ]


BUILDERS = {
    "boat": boat,
    "cactus": cactus,
    "car": car,
    "cauldron": cauldron,
    "cottage": cottage,
    "mug": mug,
    "mushroom": mushroom,
    "rocket": rocket,
    "soccer ball": soccer_ball,
    "tree": tree,
    "tulip": tulip,
}
