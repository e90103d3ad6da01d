"""Animals and figures: one builder for each kind, about two units tall, facing +z."""

from __future__ import annotations

from scoredistill.toybox.palette import Palette
from scoredistill.toybox.shapes import (
    arc,
    box,
    capsule,
    cylinder,
    drop,
    ellipsoid,
    prism,
    sphere,
    torus,
)
from scoredistill.toybox.toy import Part


def _eyes(p: Palette, radius: float, x: float, y: float, z: float) -> list[Part]:
    """Two white balls with black pupils that point to +z, for a body of any color."""
    pupil = sphere(0.68 * radius).at(x + 0.1 * radius, y + 0.05 * radius, z + 0.48 * radius)
    ball = sphere(radius).at(x, y, z)
    return [p.fixed("white", ball.mirrored(), "eyes"), p.fixed("black", pupil.mirrored(), "eyes")]


def astronaut(p: Palette) -> list[Part]:
    """A round helmet with a visor, a padded suit, a pack on the back."""
    head, y = p.vary(0.44, 0.48), 0.48
    helmet = sphere(head).at(y=y)
    visor = ellipsoid(0.34, 0.26, 0.3).at(y=y + 0.02, z=head - 0.22)
    arm = capsule((0.42, 0.0, 0.0), (0.66, -0.32, 0.14), 0.16)
    leg = capsule((0.21, -0.6, 0), (0.25, -0.88, 0), 0.19)
    return [
        p.body(helmet),
        p.named("visor", visor, "blue", "orange"),
        p.body(box(0.42, 0.4, 0.3, 0.2).at(y=-0.25)),
        p.body(arm.mirrored()),
        p.body(leg.mirrored()),
        p.fixed(
            "gray",
            (sphere(0.15).at(0.69, -0.4, 0.17) | box(0.2, 0.12, 0.28, 0.09).at(0.26, -1.02, 0.06)).mirrored(),
        ),
        p.fixed("gray", box(0.34, 0.42, 0.17, 0.08).at(y=-0.12, z=-0.38)),
        p.fixed(p.contrast("red", "yellow"), box(0.17, 0.1, 0.06, 0.03).at(y=-0.16, z=0.3)),
        p.fixed("gray", torus(0.32, 0.07).at(y=0.11)),
    ]


def bear(p: Palette) -> list[Part]:
    """A sitting teddy: round ears, a pale muzzle, legs stretched forward."""
    head, tummy = p.vary(0.44, 0.48), p.vary(0.5, 0.55)
    ear = sphere(0.17).at(0.34, 0.95, 0)
    leg = capsule((0.36, -0.72, 0.2), (0.46, -0.74, 0.55), 0.2)
    arm = capsule((0.45, 0.08, 0.1), (0.66, -0.22, 0.34), 0.16)
    torso = ellipsoid(tummy, 0.58, 0.48).at(y=-0.36)
    return [
        p.body(torso),
        p.body(sphere(head).at(y=0.58)),
        p.body(ear.mirrored()),
        p.body(leg.mirrored()),
        p.body(arm.mirrored()),
        p.named("belly", ellipsoid(0.33, 0.38, 0.3).at(y=-0.33, z=0.24), p.pale),
        p.fixed(
            p.pale,
            ellipsoid(0.22, 0.17, 0.2).at(y=0.47, z=head - 0.06) | sphere(0.12).at(0.49, -0.75, 0.66).mirrored(),
        ),
        p.fixed(p.ink, sphere(0.075).at(0.18, 0.7, head - 0.1).mirrored(), "eyes"),
        p.fixed(p.ink, ellipsoid(0.09, 0.065, 0.06).at(y=0.54, z=head + 0.12), "nose"),
        p.body(sphere(0.14).at(y=-0.72, z=-0.45)),
    ]


def cat(p: Palette) -> list[Part]:
    """Four legs, pointed ears, a muzzle, a raised tail."""
    head, y = p.vary(0.38, 0.42), 0.32
    ear = drop(0.16, 0.035, 0.32).at(0.22, y + head - 0.16, 0.5)
    legs = capsule((0.22, -0.4, 0.36), (0.22, -0.85, 0.38), 0.125) | capsule(
        (0.22, -0.4, -0.5), (0.22, -0.85, -0.5), 0.125
    )
    tail = capsule((0, -0.2, -0.72), (0.04, 0.35, -1.0), 0.09) | capsule((0.04, 0.35, -1.0), (0.14, 0.75, -0.85), 0.09)
    return [
        p.body(capsule((0, -0.24, 0.3), (0, -0.26, -0.45), p.vary(0.31, 0.35))),
        p.body(ellipsoid(head + 0.05, head, head).at(y=y, z=0.5)),
        p.body(ear.mirrored()),
        p.body(legs.mirrored()),
        p.body(tail),
        p.named("collar", torus(0.27, 0.085).turned("x", 40).at(y=0.0, z=0.42), "red", "blue"),
        p.fixed(p.contrast("yellow", "red"), sphere(0.09).at(y=-0.16, z=0.7)),
        p.fixed(p.pale, ellipsoid(0.12, 0.1, 0.1).at(0.08, y - 0.14, 0.5 + head - 0.06).mirrored()),
        p.fixed("rose", sphere(0.06).at(y=y - 0.05, z=0.5 + head), "nose"),
        *_eyes(p, 0.105, 0.17, y + 0.08, 0.5 + head - 0.1),
    ]


def duck(p: Palette) -> list[Part]:
    """A bathtub duck: round breast, upturned tail, broad beak, folded wings."""
    head = p.vary(0.40, 0.44)
    body = (
        ellipsoid(0.62, 0.48, 0.78).at(y=-0.35).melted(drop(0.3, 0.08, 0.55).turned("x", -62).at(y=-0.15, z=-0.5), 0.2)
    )
    beak = ellipsoid(0.25, 0.075, 0.26).at(y=0.33, z=0.35 + head) | ellipsoid(0.19, 0.06, 0.19).at(
        y=0.25, z=0.32 + head
    )
    wing = ellipsoid(0.12, 0.26, 0.42).turned("x", -18).at(0.58, -0.28, -0.12)
    return [
        p.body(body),
        p.body(sphere(head).at(y=0.42, z=0.35)),
        p.body(wing.mirrored()),
        p.named("beak", beak, "orange", "yellow"),
        *_eyes(p, 0.115, 0.2, 0.56, 0.35 + head - 0.15),
    ]


def fish(p: Palette) -> list[Part]:
    """Round, with big eyes on both sides, a mouth, a forked tail and a tall dorsal fin."""
    tall, wide = p.vary(0.56, 0.62), p.vary(0.40, 0.46)
    tail = prism([(0, 0.0), (0.5, 0.5), (0.36, 0.0), (0.5, -0.5)], 0.05, 0.05).turned("y", 90).at(z=-0.72)
    dorsal = prism([(-0.3, 0), (0.4, 0.0), (0.42, 0.42), (0.1, 0.4)], 0.05, 0.04).turned("y", 90).at(y=tall - 0.1)
    side = ellipsoid(0.05, 0.14, 0.26).at(z=-0.2).turned("y", -35).turned("x", 20).at(wide - 0.02, -0.14, 0.12)
    return [
        p.body(ellipsoid(wide, tall, 0.86)),
        p.named("fins", tail | dorsal | side.mirrored(), "yellow", "red"),
        *_eyes(p, 0.18, wide - 0.14, 0.16, 0.5),
        p.fixed("rose", torus(0.11, 0.055).turned("x", 90).at(y=-0.1, z=0.83)),
    ]


def penguin(p: Palette) -> list[Part]:
    """An upright egg with a pale front, flippers, a beak, webbed feet and a scarf."""
    wide, flap = p.vary(0.52, 0.57), p.vary(0.12, 0.24)
    torso = ellipsoid(wide, 0.78, 0.52).at(y=-0.25)
    flipper = ellipsoid(0.1, 0.46, 0.2).at(y=-0.4).turned("z", 18 + 90 * flap).at(wide - 0.06, 0.12, 0)
    front = "white" if p.name != "white" else "gray"
    face = ellipsoid(0.15, 0.19, 0.12).at(0.13, 0.6, 0.3)
    return [
        p.body(torso),
        p.body(sphere(0.41).at(y=0.6)),
        p.body(flipper.mirrored()),
        p.fixed(front, ellipsoid(0.38, 0.56, 0.3).at(y=-0.36, z=0.28) | face.mirrored()),
        p.fixed("black", sphere(0.065).at(0.14, 0.65, 0.39).mirrored(), "eyes"),
        p.fixed(p.contrast("orange", "yellow"), drop(0.11, 0.04, 0.24).turned("x", 90).at(y=0.52, z=0.36), "beak"),
        p.fixed(p.contrast("orange", "yellow"), ellipsoid(0.2, 0.08, 0.28).at(0.24, -1.0, 0.16).mirrored()),
        p.named(
            "scarf",
            torus(0.38, 0.095).at(y=0.26) | capsule((0.2, 0.24, 0.44), (0.26, -0.14, 0.52), 0.1),
            "red",
            "blue",
        ),
    ]


def rabbit(p: Palette) -> list[Part]:
    """Upright on big feet, with long ears (rose inside), front teeth and a round tail."""
    ear_length, tilt = p.vary(0.62, 0.75), p.vary(6, 14)
    ear = ellipsoid(0.14, ear_length / 2, 0.1).at(y=ear_length / 2)
    inner = ellipsoid(0.08, ear_length / 2 - 0.08, 0.06).at(y=ear_length / 2, z=0.065)
    return [
        p.body(ellipsoid(0.42, 0.52, 0.4).at(y=-0.5)),
        p.body(sphere(0.38).at(y=0.2)),
        p.body(ear.turned("z", -tilt).at(0.17, 0.42, 0).mirrored()),
        p.fixed("rose", inner.turned("z", -tilt).at(0.17, 0.42, 0).mirrored()),
        p.body(ellipsoid(0.17, 0.12, 0.34).at(0.25, -0.98, 0.2).mirrored()),
        p.body(capsule((0.34, -0.3, 0.14), (0.3, -0.46, 0.4), 0.11).mirrored()),
        p.named("belly", ellipsoid(0.27, 0.36, 0.26).at(y=-0.5, z=0.19), p.pale),
        *_eyes(p, 0.095, 0.15, 0.29, 0.29),
        p.fixed("rose", sphere(0.065).at(y=0.16, z=0.38), "nose"),
        p.fixed("white" if p.name != "white" else "gray", box(0.06, 0.08, 0.03, 0.02).at(y=0.02, z=0.37)),
        p.fixed(p.contrast("white", "rose"), sphere(0.17).at(y=-0.72, z=-0.42)),
    ]


def robot(p: Palette) -> list[Part]:
    """Boxes and joints: glowing eyes, a grille, a dial on the chest, an antenna."""
    wide = p.vary(0.42, 0.48)
    arm = capsule((wide + 0.1, 0.0, 0), (wide + 0.2, -0.42, 0.1), 0.1)
    claw = arc(0.13, 0.055, 130).turned("x", 180).at(wide + 0.22, -0.6, 0.12)
    return [
        p.body(box(wide, 0.42, 0.38, 0.06).at(y=-0.22)),
        p.body(box(0.44, 0.32, 0.38, 0.06).at(y=0.56)),
        p.fixed("gray", cylinder(0.16, 0.1).at(y=0.22) | capsule((0, 0.8, 0), (0, 1.08, 0), 0.04)),
        p.fixed(
            p.contrast("red", "yellow"),
            sphere(0.1).at(y=1.14) | cylinder(0.1, 0.05).turned("x", 90).at(0.18, -0.05, 0.38),
        ),
        p.named(
            "eyes",
            cylinder(0.155, 0.06, 0.02).turned("x", 90).at(0.19, 0.63, 0.38).mirrored(),
            "yellow",
            "blue",
        ),
        p.fixed(
            "gray",
            box(0.22, 0.055, 0.04, 0.02).at(y=0.4, z=0.38) | box(0.22, 0.1, 0.04, 0.02).at(y=-0.36, z=0.38),
        ),
        p.body(arm.mirrored()),
        p.fixed("gray", claw.mirrored() | cylinder(0.09, 0.06).turned("z", 90).at(0.48, 0.56).mirrored()),
        p.body(
            (box(0.14, 0.2, 0.16, 0.04).at(0.22, -0.78) | box(0.18, 0.09, 0.26, 0.04).at(0.22, -0.98, 0.06)).mirrored()
        ),
    ]


def snowman(p: Palette) -> list[Part]:
    """Three balls, coal eyes and buttons, a carrot nose, twig arms, a top hat and a scarf."""
    low, middle, head = p.vary(0.56, 0.62), p.vary(0.42, 0.46), p.vary(0.31, 0.34)
    belly = -1.0 + low + 0.62
    face = belly + 0.58
    arm = capsule((0.36, belly + 0.08, 0), (0.82, belly + 0.34, 0.08), 0.05)
    twig = capsule((0.68, belly + 0.26, 0.05), (0.76, belly + 0.48, 0.05), 0.04)
    buttons = sphere(0.07).at(y=belly + 0.12, z=middle) | sphere(0.07).at(y=belly - 0.14, z=middle)
    hat = cylinder(0.38, 0.04).at(y=face + head - 0.1) | cylinder(0.25, 0.19).at(y=face + head + 0.1)
    return [
        p.body(sphere(low).at(y=-1.0 + low)),
        p.body(sphere(middle).at(y=belly)),
        p.body(sphere(head).at(y=face)),
        p.fixed(p.ink, buttons, "buttons"),
        p.fixed(p.ink, sphere(0.06).at(0.12, face + 0.08, head - 0.05).mirrored(), "eyes"),
        p.fixed(
            p.contrast("orange", "yellow"),
            drop(0.085, 0.025, 0.36).turned("x", 90).at(y=face - 0.03, z=head - 0.05),
            "nose",
        ),
        p.fixed(p.contrast("brown", "gray"), (arm | twig).mirrored()),
        p.named("hat", hat, "black", "red"),
        p.named(
            "scarf",
            torus(0.29, 0.095).at(y=face - head + 0.07)
            | capsule((0.14, face - head, 0.36), (0.2, belly - 0.05, middle + 0.02), 0.085),
            "red",
            "blue",
        ),
    ]


def turtle(p: Palette) -> list[Part]:
    """A sea turtle: broad flippers, a big head, a domed shell."""
    dome, head = p.vary(0.42, 0.5), p.vary(0.33, 0.37)
    fin = ellipsoid(0.46, 0.1, 0.25).at(x=0.36).turned("y", 25).turned("z", -16).at(0.4, -0.18, 0.36)
    paddle = ellipsoid(0.34, 0.08, 0.2).at(x=0.3).turned("y", 50).at(0.26, -0.24, -0.5)
    shell = ellipsoid(0.56, dome, 0.66).above(0).at(y=-0.12, z=-0.08)
    return [
        p.body(ellipsoid(0.66, 0.2, 0.78).at(y=-0.17, z=-0.06)),
        p.named("shell", shell, "brown", "yellow"),
        p.body(capsule((0, -0.1, 0.55), (0, 0.06, 0.8), 0.2)),
        p.body(ellipsoid(head, head - 0.02, head + 0.04).at(y=0.12, z=0.98)),
        p.body(fin.mirrored()),
        p.body(paddle.mirrored()),
        p.body(drop(0.1, 0.03, 0.3).turned("x", -90).at(y=-0.22, z=-0.78)),
        *_eyes(p, 0.12, 0.2, 0.24, 1.14),
    ]


BUILDERS = {
    "astronaut": astronaut,
    "bear": bear,
    "cat": cat,
    "duck": duck,
    "fish": fish,
    "penguin": penguin,
    "rabbit": rabbit,
    "robot": robot,
    "snowman": snowman,
    "turtle": turtle,
}
