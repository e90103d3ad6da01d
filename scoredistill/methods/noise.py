"""Noise that is drawn: fresh at every step, or fixed for the asset."""

from __future__ import annotations

from scoredistill.contracts import Query
from scoredistill.methods.distillation import Time, X
from scoredistill.randomness import gaussian, stream


def fresh(query: Query, x: X, t: Time, r: Time) -> X:
    """kappa ~ N(0, I), sampled anew at every step (Poole et al. 2023)."""
    return gaussian(x, query.rng)


def fixed(query: Query, x: X, t: Time, r: Time) -> X:
    """kappa = eps*, the fixed per-asset noise (Wu et al. 2024; the linear approximation in DSD's ablation)."""
    return asset_noise(query, x)


def asset_noise(query: Query, x: X) -> X:
    """eps* ~ N(0, I), the fixed per-asset noise, drawn from `query.asset_seed`: the same at every step.

    Each flat image is an asset of its own, with noise of its own; all views of a scene share one noise, or where the
    prior denoises several views jointly, one for each of these.
    """
    rng = stream(query.asset_seed, "asset")
    if query.cameras is None:
        return gaussian(x, rng)
    views = query.prior.views
    return gaussian(x[:views], rng).repeat(len(x) // views, 1, 1, 1)
