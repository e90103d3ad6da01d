"""What the presets say of each method: `PAPER` carries official settings over to Toybox, `FAST` is tuned on it.

Only what differs from a method's own defaults, which are the official ones, made for Stable Diffusion: published models
get these with `OFFICIAL`, whatever the preset. Times are Stable Diffusion's, carried to Toybox at equal noise;
distances between times stay (Toybox's move nine tenths as fast).
"""

from __future__ import annotations

import torch

from scoredistill.schedule import cosine, scaled_linear

Settings = dict[str, float | int | bool | str]


def carried(t: float) -> float:
    """The time at which Toybox's images are as noisy as Stable Diffusion's at `t`: equal sigma / alpha."""
    like = torch.zeros(1, dtype=torch.float64)
    return cosine().time_of(float(scaled_linear().sbar(torch.tensor([t]), like)))


def times(**settings: float) -> Settings:
    """Settings that are times, carried."""
    return {name: carried(t) for name, t in settings.items()}


def window(low: float, high: float) -> Settings:
    """The range of a method's times."""
    return times(t_min=low, t_max=high)


MEAN: Settings = {"reduction": "mean_over_latent"}  # what the weights of the fast scene's regularizers are relative to
GUIDED = 2.5  # what is 7.5 for Stable Diffusion; more over-saturates a prior of this size
DRIVEN = 7.5  # what is about 100 there

OFFICIAL: dict[str, Settings] = {
    "vsd": {"learner_lr": 1e-4},
    "esd": {"learner_lr": 1e-4},
    "sdi": MEAN,  # as the official code reduces (METHODS D7)
    "dsd": {"delta_mode": "random", "ode_end": "exact"},  # the official code's (METHODS 6.3)
}
"""Settings of the official 3-D codes, where they are not the methods' own defaults."""

_TIMES: dict[str, Settings] = {
    "sds": window(0.02, 0.98),
    "sjc": window(0.01, 0.97),
    "vsd": window(0.02, 0.98) | times(t_max_late=0.5),
    "esd": window(0.02, 0.98) | times(t_max_late=0.5),
    "hifa": window(0.3, 0.98),
    "nfsd": window(0.02, 0.98) | times(switch=0.2),
    "csd": window(0.02, 0.98) | times(t_max_late=0.5),
    "ism": window(0.02, 0.98) | times(t_max_late=0.5),
    "asd": window(0.02, 0.98) | times(t_min_start=0.5, t_max_late=0.5),
    "consistent3d": times(t_start=0.7, t_end=0.1),
    "sdi": window(0.25, 0.98),
    "dsd": window(0.32, 0.98),
    "mvdream": window(0.02, 0.98) | times(t_min_start=0.98, t_max_late=0.5),
    "cfd": window(0.02, 0.98),
    "pfd": window(0.02, 0.98) | times(t_max_late=0.7),
}

PAPER: dict[str, Settings] = {name: window | OFFICIAL.get(name, {}) for name, window in _TIMES.items()}

# Methods that compare two times take them farther apart than their papers: the difference of the two predictions is all
# that takes noise out of free pixels, by 1 / sbar_t - 1 / sbar_r in ASD and DSD.
_TUNED: dict[str, Settings] = {
    "sds": {"scale": DRIVEN},
    "sjc": {"scale": DRIVEN},
    "vsd": {"scale": GUIDED, "learner_lr": 1e-3},
    "esd": {"scale": GUIDED, "learner_lr": 1e-3},
    "hifa": {"scale": DRIVEN},
    "nfsd": {"scale": GUIDED},
    "csd": window(0.35, 0.98) | times(t_max_late=0.7),  # nothing in CSD takes noise out of free pixels: little at low t
    "ism": {"scale": GUIDED, "delta": 0.2, "delta_start": 0.2},
    "asd": {"scale": GUIDED, "delta": 0.6},
    "consistent3d": {"scale": DRIVEN, "scale_end": DRIVEN / 2, "gap_min": 0.3, "gap_max": 0.5},
    "sdi": {
        "scale": GUIDED,
        "inversion_scale": -GUIDED,
        "inversion_start": 0.2,  # at less noise this prior answers so loudly that free pixels keep the answer
        "steps_per_unit": 5.0,  # half the paper's: the same shapes at half the cost
    },
    "dsd": {
        "scale": GUIDED,
        "reference_scale": GUIDED,  # as in algorithm 2: below the target's, the rest is CSD and burns free pixels
        "ode_scale": GUIDED,
        "delta": 0.5,
        "delta_mode": "fixed",
        "ode_end": "grid",
    },
    "mvdream": {"scale": DRIVEN},
    "cfd": {"scale": GUIDED},
    "pfd": {"scale": GUIDED, "inversion_scale": 1 - GUIDED, "steps_per_unit": 5.0, "solver_steps_per_unit": 5.0},
}

SOLID: dict[str, Settings] = {"dsd": {"reference_scale": 1.5}}
"""What `FAST` changes where many views share a scene, which strays from the ODE of each.

Of a mode of spread s a reference as guided as the target pulls a stray back only while sbar_t sbar_r > s^2, and pushes
it on below (tests/test_trajectories.py): whole shapes at nearly all times. The text must drive there.
"""

PULL: dict[str, float] = (
    {"ism": 0.03} | dict.fromkeys(("vsd", "esd", "asd", "dsd", "csd"), 0.15) | dict.fromkeys(("nfsd", "pfd"), 0.25)
)
"""How strongly a method pulls beside SDI, where far less: its gradient's norm over the first steps of a field.

Methods that compare two predictions pull least. The losses of `FAST` scenes are weighted by it, or they shrink what
such a method makes to a ball: seen with ISM, VSD and DSD, the others follow by the same measure.
"""

FAST: dict[str, Settings] = {name: PAPER[name] | settings | MEAN for name, settings in _TUNED.items()}
