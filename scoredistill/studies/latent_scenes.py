"""Studies in 3D of what a latent diffusion model is needed for: the path of Stable Diffusion, and view prompting."""

from __future__ import annotations

from itertools import product

from scoredistill.studies.scene_study import Above, Exceeds, SceneStudy

SIZE = {"resolution": 128}  # of toybox-sd's images
NAMES = ("sds", "sdi", "dsd", "ism", "vsd")
RECOGNIZED = 0.7  # share of views
PATH = SceneStudy(
    name="latent_methods",
    title="Methods in 3D with a latent diffusion model",
    paper="sdi",
    figure="the setting of its tables",
    claim="With a latent diffusion model and published guidance scales and times, the shapes of SDS, SDI and DSD are "
    "recognized in at least 70 % of their views.",
    arms=lambda terms: {name: {"method": name, "prior.view_prompting": "words", **SIZE} for name in NAMES},
    statements=tuple(Above("kind_right", name, RECOGNIZED) for name in ("sds", "sdi", "dsd")),
    captions=4,
    seeds=2,
    prior="toybox-sd",
)
PROMPTING = {"words": "words", "Perp-Neg": "perp-neg"}
ARMS = {
    f"{method.upper()}, {how}": {"method": method, "prior.view_prompting": name, **SIZE}
    for method, (how, name) in product(("sds", "sdi"), PROMPTING.items())
}
JANUS = SceneStudy(
    name="view_prompting",
    title="View words compared with Perp-Neg",
    paper="sdi",
    figure="its official configuration",
    claim="With Perp-Neg (Armandpour et al. 2023), fewer views from behind show a front than with view words alone.",
    arms=lambda terms: ARMS,
    statements=tuple(
        Exceeds("front_behind", f"{method}, words", f"{method}, Perp-Neg", 0.1) for method in ("SDS", "SDI")
    ),
    captions=4,
    seeds=2,
    prior="toybox-sd",
)
ALL = (PATH, JANUS)
