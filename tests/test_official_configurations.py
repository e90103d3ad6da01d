"""The preset `paper` against the official configurations, number by number.

FACTS are read from the papers' own codes and configuration files: METHODS, by section, or the file that is named where
METHODS has no number. Steps are those of the codes, "until step n" a share of the run here. What differs from a code is
stated in the method's docstring and not listed.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest

from scoredistill.methods.catalogue import METHODS
from scoredistill.recipes.presets import PRESETS
from scoredistill.recipes.recipe import Recipe
from scoredistill.scenes.regularizers import Ramp, constant

ZERO = constant(0.0)
Facts = dict[str, Any]

LIT: Facts = {  # METHODS 7.1 to 7.3, 16.8
    "scene.bounds": 2.0,
    "scene.grid.levels": 16,
    "scene.grid.coarsest": 16,
    "scene.grid.finest": 4096,
    "scene.grid.table": 2**19,
    "scene.hidden": 64,
    "scene.samples": 512,
    "scene.occupancy": 32,
    "scene.occupancy_decay": 0.95,
    "scene.occupancy_threshold": 0.01,
    "scene.least_alpha": 0.01,
    "scene.blob_strength": 10.0,
    "scene.blob_radius": 0.5,
    "scene.normals": "analytic",
    "scene.normals_at": "samples",
    "scene.shading": "lambert",
    "scene.first_levels": 8,
    "scene.level_after": 2000,
    "scene.level_every": 500,
    "scene.lr_grid": 0.01,
    "scene.lr_mlp": 0.01,
    "scene.environment.learned": True,
    "scene.environment.lr": 0.001,
    "scene.environment.random_share": 0.0,
}
LIGHT: Facts = {  # METHODS 7.2, 7.4: SDI and DSD
    "scene.lambert.after": 1000,
    "scene.lambert.albedo_share": 0.7,
    "scene.lambert.textureless_share": 0.75,
    "scene.lambert.nearest": 0.8,
    "scene.lambert.farthest": 1.5,
    "scene.lambert.spread": 1.0,
    "scene.lambert.ambient_min": 0.1,
    "scene.lambert.ambient_max": 0.1,
}
OFTEN_LIT: Facts = {  # METHODS 7.2, 16.8: dreamfusion-sd.yaml
    **LIGHT,
    "scene.lambert.after": 2001,
    "scene.lambert.albedo_share": 0.25,
    "scene.lambert.textureless_share": 0.5,
}
UNLIT: Facts = {  # METHODS 4.3: no material, no normals, no progressive grid, radius 1
    **{name: value for name, value in LIT.items() if not name.startswith("scene.normals")},
    "scene.bounds": 1.0,
    "scene.shading": "albedo",
    "scene.first_levels": 16,
    "scene.lr_mlp": 0.001,
    "scene.environment.random_share": 0.5,
}
VIEWS: Facts = {  # METHODS 7.4
    "views.elevation_min_deg": -10.0,
    "views.elevation_max_deg": 45.0,
    "views.radius_min": 1.5,
    "views.radius_max": 2.0,
    "views.fov_min_deg": 40.0,
    "views.fov_max_deg": 70.0,
    "views.position_jitter": 0.1,
    "views.target_jitter": 0.2,
    "views.up_jitter": 0.02,
    "evaluation": (2.0, 70.0),  # METHODS 16.8
}
STEADY: Facts = {**VIEWS, **dict.fromkeys(("views.position_jitter", "views.target_jitter", "views.up_jitter"), 0.0)}
NEAR: Facts = {**STEADY, "views.radius_min": 1.0, "views.radius_max": 1.5, "evaluation": (1.5, 70.0)}
PROMPT: Facts = {  # METHODS 1.5
    "prior.view_prompting": "words",
    "prior.front_deg": 45.0,
    "prior.back_deg": 45.0,
    "prior.overhead_deg": 60.0,
    "prompt.negative": "",
}
NARROW: Facts = {**PROMPT, "prior.front_deg": 30.0, "prior.back_deg": 30.0}
NO_LOSSES: Facts = {
    f"scene.regularizers.{name}": ZERO for name in ("orient", "sparsity", "opaque", "z_variance", "convexity")
}


def loop(
    steps: int, resolution: int, *, batch: int = 1, until: float = 0.0, early: tuple[int, int] = (1, 4096)
) -> Facts:
    """Steps, batch and resolution, and the `early` batch and resolution until a share of the run."""
    return {
        "training.steps": steps,
        "training.batch": batch,
        "training.resolution": resolution,
        "training.early_share": until,
        "training.early_batch": early[0],
        "training.early_resolution": early[1],
    }


def losses(**given: Ramp) -> Facts:
    """Loss weights, zero where not given."""
    return NO_LOSSES | {f"scene.regularizers.{name}": weight for name, weight in given.items()}


def method(**settings: Any) -> Facts:
    """Settings of the method."""
    return {f"method.{name}": value for name, value in settings.items()}


SDS: Facts = {  # METHODS 4.1, 7.5, 16.8
    **(LIT | OFTEN_LIT | VIEWS | PROMPT | loop(10_000, 64)),
    **losses(orient=Ramp(10.0, 1000.0, 0.0, 0.5), sparsity=constant(1.0)),
    **method(scale=101.0, t_min=0.02, t_max=0.98, anneal=False, weight="sigma_squared", reduction="sum_over_latent"),
}
VSD: Facts = {  # METHODS 4.3, 16.6, 16.7, 16.12: prolificdreamer.yaml
    **(UNLIT | NEAR | NARROW | loop(25_000, 512, until=0.2, early=(1, 64))),
    **losses(sparsity=constant(10.0), opaque=Ramp(0.0, 1000.0, 0.4, 0.4)),
    **method(scale=7.5, t_min=0.02, t_max=0.98, t_max_late=0.5, late=0.2, weight="sigma_squared"),
    **method(learner_rank=4, learner_lr=1e-4, learner_start="published", reduction="sum_over_latent"),
}
SDI: Facts = {  # METHODS 5.2, 5.7, 7, but for the numbers of the inversion, which DSD does not have
    **(LIT | LIGHT | VIEWS | PROMPT | loop(10_000, 512)),
    "prior.view_prompting": "perp-neg",
    **losses(
        orient=constant(0.1),
        sparsity=Ramp(0.15, 0.0, 0.0, 0.3),
        opaque=constant(0.1),
        z_variance=constant(1.0),
        convexity=Ramp(0.1, 0.0, 0.4, 0.4),
    ),
    "scene.regularizers.convexity_form": "clamped",
    **method(t_min=0.25, t_max=0.98, weight="sbar", reduction="mean_over_latent"),
}
FACTS: dict[str, Facts] = {
    "sds": SDS,
    "sjc": {  # METHODS 4.2, 16.11: sjc.yaml, but for its voxel grid of latents, its emptiness loss and Adamax
        **(STEADY | PROMPT | loop(10_000, 64)),
        "views.radius_max": 1.5,
        "evaluation": (1.5, 70.0),
        "prior.view_prompting": "prefix",
        "scene.bounds": 1.0,
        "scene.shading": "albedo",
        **method(scale=101.0, t_min=0.01, t_max=0.97, weight="constant", reduction="sum_over_latent"),
    },
    "vsd": VSD,
    "esd": VSD | method(lam=0.5),  # METHODS 4.4, 16.7: VSD's configuration with guidance_scale_lora .5
    "hifa": {  # METHODS 4.5, 16.7, 16.12: threestudio's hifa.yaml
        **(UNLIT | NEAR | PROMPT | loop(25_000, 512)),
        **losses(sparsity=constant(1.0), z_variance=constant(100.0)),
        **method(scale=101.0, t_min=0.3, t_max=0.98, image_weight=0.01, denoising_steps=1, weight="sigma_squared"),
        **method(reduction="sum_over_latent"),
    },
    "nfsd": {  # METHODS 4.6: the scene of SDS
        **{name: value for name, value in SDS.items() if not name.startswith("method.")},
        "prompt.negative": (
            "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy"
        ),
        **method(scale=7.5, t_min=0.02, t_max=0.98, switch=0.2, weight="sigma_squared", reduction="sum_over_latent"),
    },
    "csd": {  # METHODS 4.7, 16.2, 16.7, 16.12: csd-if.yaml
        **(LIT | STEADY | NARROW | loop(10_000, 64)),
        "prior.view_prompting": "perp-neg",
        "prompt.negative": "oversaturated color, ugly, tiling, low quality, noisy",
        "scene.bounds": 1.0,
        "scene.grid.levels": 12,
        "scene.grid.finest": 512,
        "scene.first_levels": 12,
        "scene.lr_grid": 0.001,
        "scene.lr_mlp": 0.001,
        "scene.environment.random_share": 0.5,
        "scene.lambert.after": 5001,
        "scene.lambert.albedo_share": 0.5,
        "scene.lambert.textureless_share": 1.0,
        "scene.lambert.nearest": 1.5,
        "scene.lambert.farthest": 2.0,
        "scene.lambert.spread": 0.1,
        **losses(orient=Ramp(1.0, 100.0, 0.0, 0.5), sparsity=Ramp(10.0, 1.0, 0.0, 0.5)),
        **method(negative_share=1.0, ramp=0.5, perp_neg_factor=3.0, t_min=0.02, t_max=0.98, t_max_late=0.5),
        **method(weight="constant", reduction="unit_norm"),
    },
    "asd": {  # METHODS 4.9, 1.4: asd_sd_nerf.yaml
        **(UNLIT | NEAR | NARROW | loop(25_000, 256, until=0.4, early=(1, 64))),
        "evaluation": (1.2, 70.0),
        "prior.view_prompting": "perp-neg",
        **losses(sparsity=constant(30.0), opaque=Ramp(0.0, 100.0, 0.4, 0.4)),
        **method(scale=7.5, reference_scale=1.0, delta=0.1, perp_neg=0.5, weight="sigma_squared"),
        **method(t_min_start=0.5, t_min=0.02, t_max=0.98, t_max_late=0.5, reduction="sum_over_latent"),
    },
    "consistent3d": {  # METHODS 4.10, 16.7: consistency-coarse.yaml
        **(LIT | OFTEN_LIT | VIEWS | PROMPT | loop(3000, 64, batch=8)),
        "evaluation": (2.0, 45.0),
        "scene.level_after": 0,
        "scene.level_every": 250,
        "scene.lambert.after": 1000,
        "scene.lambert.ambient_min": 1.0,
        "scene.lambert.ambient_max": 1.0,
        "scene.lr_grid": 0.05,
        "scene.lr_mlp": 0.005,
        "scene.environment.lr": 0.005,
        "scene.environment.random_share": 0.5,
        **losses(orient=Ramp(10.0, 1000.0, 0.0, 2 / 3)),
        **method(scale=101.0, scale_end=51.0, t_start=0.7, t_end=0.1, gap_min=0.1, gap_max=0.3),
        **method(clip_start=2.0, clip_end=8.0, weight="constant", reduction="sum_over_latent"),
    },
    "sdi": {
        **SDI,
        **method(scale=7.5, inversion_scale=-7.5, steps_per_unit=10.0, tau=1 / 30, entropy=0.3, anneal=True),
    },
    "dsd": {  # METHODS 6.3, 16.3: dsd.yaml
        **(SDI | loop(10_000, 512, until=0.5, early=(1, 128))),
        "scene.environment.random_share": 0.5,
        "scene.regularizers.convexity": constant(1.0),
        "scene.regularizers.convexity_form": "linear",
        **method(scale=7.5, reference_scale=1.0, ode_scale=7.5, ode_steps=10, ode_end="exact", noise_source="ode"),
        **method(delta=0.1, delta_mode="random", t_min=0.32, t_max=0.98, law="sqrt", weight="sigma_squared"),
        **method(reduction="sum_over_latent"),
    },
    "cfd": {  # configs/cfd/sd-stage1.yaml of the official code, guidance and times of its 2d.yaml
        **(UNLIT | STEADY | NARROW | loop(25_000, 512, until=0.1, early=(1, 128))),
        "views.elevation_min_deg": 0.0,
        "views.elevation_max_deg": 40.0,
        "views.radius_min": 1.3,
        "views.radius_max": 1.5,
        "views.fov_max_deg": 65.0,
        "evaluation": (1.5, 65.0),
        "prompt.negative": METHODS["cfd"].negative_prompt,
        "scene.grid.table": 2**20,
        **losses(sparsity=constant(10.0), z_variance=constant(100.0)),
        **method(scale=8.0, normalize=True, reduction="sum_over_latent"),
    },
}
MVDREAM: Facts = {  # METHODS 8.2, 16.1, 16.7: mvdream-sd21-shading.yaml
    **(LIT | loop(10_000, 256, batch=4, until=0.5, early=(8, 64))),
    "prior.view_prompting": "none",
    "views.elevation_min_deg": 0.0,
    "views.elevation_max_deg": 30.0,
    "views.fov_min_deg": 15.0,
    "views.fov_max_deg": 60.0,
    "views.radius_min": 0.8,
    "views.radius_max": 1.0,
    "views.constant_size": True,
    "views.position_jitter": 0.0,
    "evaluation": (3.0, 40.0),
    "scene.bounds": 1.0,
    "scene.first_levels": 16,
    "scene.lr_mlp": 0.001,
    "scene.environment.random_share": 0.5,
    "scene.lambert.after": 5000,
    "scene.lambert.albedo_share": 0.25,
    "scene.lambert.textureless_share": 0.5,
    "scene.lambert.ambient_min": 0.0,
    "scene.lambert.ambient_max": 1.0,
    **losses(orient=Ramp(10.0, 1000.0, 0.0, 0.5)),
    **method(scale=50.0, rescale=0.5, t_min_start=0.98, t_min=0.02, t_max=0.98, t_max_late=0.5, warm=0.8),
    **method(weight="sbar", reduction="sum_over_latent"),
}
ISM: Facts = {  # METHODS 4.8, 16.5: LucidDreamer
    **loop(5000, 512, batch=4),
    "prior.view_prompting": "interpolated",
    "prompt.negative": (
        "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, "
        "oversaturation."
    ),
    "views.elevation_min_deg": -15.0,
    "views.elevation_max_deg": 45.0,
    "views.radius_min": 5.2,
    "views.radius_max": 5.5,
    "scene.count": 100_000,
    "scene.densify.begin": 100,
    "scene.densify.until": 3000,
    "scene.densify.every": 100,
    "scene.densify.threshold": 7.5e-4,
    "scene.densify.reset_every": 300,
    "scene.regularizers.variation": constant(1.0),
    "scene.regularizers.spread": constant(1.0),
    "scene.lr_color": 0.005,
    "scene.lr_opacity": 0.05,
    "scene.lr_spread": 0.005,
    "scene.lr_rotation": 0.001,
    **method(scale=7.5, inversion_scale=0.0, stride=0.2, delta=0.05, delta_start=0.1, form="code", start_noise=0.1),
    **method(t_min=0.02, t_max=0.98, t_max_late=0.5, warm=0.3, factor=0.1, weight="sbar", reduction="sum_over_batch"),
}
CASES = [(name, "nerf", "sd", facts) for name, facts in FACTS.items()]
CASES += [("mvdream", "nerf", "mvdream", MVDREAM), ("ism", "splats", "sd", ISM)]


@functools.cache
def paper(name: str, scene: str, prior: str) -> Recipe:
    return PRESETS["paper"]("a hamburger", method=name, scene=scene, prior=prior, device="cpu")


@pytest.mark.parametrize(("name", "scene", "prior"), [case[:3] for case in CASES], ids=lambda each: each)
def test_the_recipe_is_the_official_configuration(name: str, scene: str, prior: str) -> None:
    recipe = paper(name, scene, prior)
    facts = next(facts for *case, facts in CASES if tuple(case) == (name, scene, prior))
    found = {path: setting(recipe, path) for path in facts}
    assert {path: (found[path], fact) for path, fact in facts.items() if found[path] != fact} == {}


def setting(recipe: Recipe, path: str) -> Any:
    """The value of a recipe at a dotted path; `evaluation` is the radius and field of view of the measured views."""
    if path == "evaluation":
        return recipe.views.evaluation()
    return functools.reduce(getattr, path.split("."), recipe)


def test_every_method_has_an_official_configuration_or_none_that_is_known() -> None:
    """PFD's and SSD's own were not available: SDI's scene, its losses at the weight of the method's gradient."""
    assert METHODS.keys() - {name for name, *_ in CASES} == {"pfd", "ssd"}
    for name in ("pfd", "ssd"):
        recipe = paper(name, "nerf", "sd")
        weight = METHODS[name].gradient_norm
        assert recipe.scene.regularizers.orient == constant(0.1 * weight)  # type: ignore[attr-defined]
        assert recipe.method.reduction == "mean_over_latent"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", METHODS)
def test_on_anothers_scene_the_gradient_is_reduced_as_its_losses_expect(name: str) -> None:
    for scene, prior, reduction in (("splats", "sd", "sum_over_batch"), ("nerf", "mvdream", "sum_over_latent")):
        assert paper(name, scene, prior).method.reduction == reduction  # type: ignore[attr-defined]
