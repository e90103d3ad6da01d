"""The failures of score distillation, each measured on the scene beside the toys that its caption describes.

janus    two fronts: most views from behind are recognized rather as a front
hollow   dents: of the space within its own silhouettes the scene leaves more empty than any true toy
flat     a billboard: the shape is less than half as thick, relative to its length, as the flattest true toy
drift    views that do not belong together: too many are recognized as another kind than most of them

G cells of the grid along a side   P points of a surface
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scoredistill.studies.finished import Finished

FAILURES = ("janus", "hollow", "flat", "drift", "diverged")
MOST_BEHIND = 0.5  # of the views from behind, rather a front: more make two fronts; true toys have none
MARGIN = 0.05  # by which a scene may be hollower than the hollowest of the true toys, which differ by so much
THINNEST = 0.5  # least thickness, as a share of the flattest true toy's
MOST_STRAY = 1 / 3  # of the views, recognized as another kind than most are; of true toys none is
COLUMN = 1.5  # width of the columns of cells along which silhouettes are seen, in cells
DIRECTIONS = tuple(each for each in product((-1, 0, 1), repeat=3) if each > (0, 0, 0))
"""The sides, edges and corners of a cube, one of each opposite pair: 13 directions of view."""


def failures(run: Finished) -> dict[str, float]:
    """1 for each failure of a run, 0 where it does not fail so, NaN where the question has no meaning; `sound`: none.

    A diverged run has no other failure. Two fronts are asked of kinds that have one, dents of shapes that are not so
    flat that the grid loses them. Nothing is measured where the prior draws no toys.
    """
    if not run.family:
        return {}
    solid = run.shape.solid
    if run.values.get("diverged") or not bool(solid.any()):
        return dict.fromkeys(FAILURES[:-1], math.nan) | {"diverged": 1.0, "sound": 0.0}
    flattest = min(thickness(each.points) for each in run.family)
    hollowest = max(hollowness(each.solid) for each in run.family)
    behind = run.values.get("front_behind", math.nan)
    measured = {"hollowness": hollowness(solid), "thickness": thickness(run.shape.points)}
    flat = measured["thickness"] < THINNEST * flattest
    found = {
        "janus": math.nan if math.isnan(behind) else float(behind > MOST_BEHIND),
        "hollow": math.nan if flat else float(measured["hollowness"] > hollowest + MARGIN),
        "flat": float(flat),
        "drift": float(stray(run.judge.recognize(run.rgb).kinds) > MOST_STRAY),
        "diverged": 0.0,
    }
    return found | measured | {"sound": float(not any(value == 1 for value in found.values()))}


def thickness(points: Float[Tensor, "P 3"]) -> float:
    """The least standard deviation of a surface along an axis of its own, over the largest; a ball has 1.

    Square root of the ratio of the extreme eigenvalues of the covariance of its points. (The carved space would not
    do: a board is thinner than its cells.)
    """
    values = torch.linalg.eigvalsh(torch.cov(points.double().T, correction=0))
    return math.sqrt(max(float(values[0] / values[-1]), 0.0))


def hollowness(solid: Bool[Tensor, "G G G"]) -> float:
    """The share of the space within the silhouettes of the occupied cells that they leave empty; a ball has .05.

    Silhouettes from `DIRECTIONS`, each a raster of columns; what is in all of them is the visual hull (Laurentini
    1994). Coarse columns round it up, so that convex shapes have a little.
    """
    axis = torch.arange(len(solid), dtype=torch.float64)
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    filled = solid.reshape(-1)
    hull = torch.ones_like(filled)
    for direction in DIRECTIONS:
        across = torch.linalg.svd(torch.tensor([direction], dtype=torch.float64)).Vh[1:]
        place = (places @ across.T / COLUMN).round().long()
        place -= place.amin(0)
        column = place[:, 0] * (place[:, 1].max() + 1) + place[:, 1]
        silhouette = torch.zeros(int(column.max()) + 1, dtype=torch.bool)
        silhouette[column[filled]] = True
        hull &= silhouette[column]
    return 1 - float(filled.sum()) / float(hull.sum())


def stray(kinds: list[str]) -> float:
    """The share of views that show another kind than most of them."""
    return 1 - Counter(kinds).most_common(1)[0][1] / len(kinds)
