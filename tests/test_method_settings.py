"""The settings of methods: what is refused, what official code and Toybox use, files, and the state of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import AsColors, analytic, randn
from test_folder import same

from scoredistill.config import from_plain, to_plain
from scoredistill.contracts import Prompt, Step
from scoredistill.methods.catalogue import METHODS
from scoredistill.methods.cfd import CFD
from scoredistill.methods.consistent3d import Consistent3D
from scoredistill.methods.dsd import DSD, Trajectories
from scoredistill.methods.hifa import HiFA
from scoredistill.methods.ism import ISM
from scoredistill.methods.method import MethodConfig
from scoredistill.methods.sdi import SDI
from scoredistill.methods.sds import SDS
from scoredistill.optimize import optimize
from scoredistill.runs import checkpoint
from scoredistill.scenes.image import DescendingImage, Image
from scoredistill.views import no_cameras


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: SDS(t_min=0.9, t_max=0.1), "t_min must not exceed t_max, got 0.9 and 0.1"),
        (lambda: Consistent3D(gap_min=0.5), "gap_min must not exceed gap_max, got 0.5 and 0.3"),
        (lambda: SDS(scale=float("nan")), r"scale must be in \[0, 1000\], got nan"),
        (lambda: SDI(inversion_scale=float("inf")), "inversion_scale must be"),
        (lambda: SDI(entropy=-1.0), r"entropy must be in \[0, 10\], got -1.0"),
        (lambda: CFD(churn=2.0), r"churn must be in \[0, 1\], got 2.0"),
        (lambda: HiFA(denoising_steps=0), r"denoising_steps must be in \[1, 1000\], got 0"),
        (
            lambda: from_plain(DSD, {**to_plain(DSD()), "law": "cubic"}, "method"),
            "unknown method.law 'cubic'; known: sqrt, linear",
        ),
        (lambda: from_plain(SDS, {**to_plain(SDS()), "scale": "many"}, "method"), "scale must be float, got 'many'"),
        (lambda: from_plain(SDS, {**to_plain(SDS()), "scale": True}, "method"), "scale must be float, got true"),
        (lambda: from_plain(SDS, {**to_plain(SDS()), "anneal": 1}, "method"), "anneal must be bool, got 1"),
        (lambda: from_plain(DSD, {**to_plain(DSD()), "ode_steps": 2.5}, "method"), "ode_steps must be int, got 2.5"),
        (
            lambda: from_plain(SDS, {**to_plain(SDS()), "scael": 2.0}, "method"),
            "no setting 'scael'; nearest known: scale",
        ),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(construct: Callable[[], MethodConfig], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        construct()
    assert "\n" not in str(error.value)


def test_the_paper_form_of_ism_has_no_late_window() -> None:
    assert ISM(form="paper", t_min=0.6).t_min == 0.6
    with pytest.raises(ValueError, match="t_min must not exceed t_max, got"):
        ISM(form="paper", t_min=0.9, t_max=0.1)
    with pytest.raises(ValueError, match="t_min must not exceed t_max_late"):
        ISM(t_min=0.6)


@pytest.mark.parametrize("name", METHODS)
def test_settings_of_every_use_survive_a_file(name: str) -> None:
    kind = METHODS[name]
    uses = [kind(), kind.official(), kind.official(picture=True), kind.toybox(flat=True), kind.toybox(flat=False)]
    for config in uses:
        assert from_plain(kind, json.loads(json.dumps(to_plain(config))), name) == config


def test_official_settings_differ_from_the_defaults_only_where_the_code_differs_from_the_paper() -> None:
    changed = {name: kind.OFFICIAL for name, kind in METHODS.items() if kind.official() != kind()}
    assert changed == {
        "vsd": {"learner_lr": 1e-4, "learner_start": "published"},
        "esd": {"learner_lr": 1e-4, "learner_start": "published"},
        "csd": {"reduction": "unit_norm"},
        "ism": {"reduction": "sum_over_batch"},
        "sdi": {"reduction": "mean_over_latent"},
        "dsd": {"delta_mode": "random", "ode_end": "exact"},
    }


CARRIED = {0.98: 0.951, 0.97: 0.948, 0.7: 0.813, 0.5: 0.647, 0.35: 0.494, 0.32: 0.462, 0.3: 0.442, 0.25: 0.387}
CARRIED |= {0.2: 0.33, 0.1: 0.21, 0.02: 0.087, 0.01: 0.062}
"""Times of Stable Diffusion and those of Toybox's schedule with the same sigma / alpha."""
TUNED: dict[str, dict[str, float | str]] = {
    "sds": {"scale": 7.5},
    "sjc": {"scale": 7.5},
    "vsd": {"scale": 2.5, "learner_lr": 1e-3, "weight": "sbar"},
    "esd": {"scale": 2.5, "learner_lr": 1e-3, "weight": "sbar"},
    "hifa": {"scale": 7.5},
    "nfsd": {"scale": 2.5},
    "csd": {"t_min": CARRIED[0.35], "t_max_late": CARRIED[0.7]},
    "ism": {"scale": 2.5, "delta": 0.2, "delta_start": 0.2},
    "asd": {"scale": 2.5, "delta": 0.6},
    "consistent3d": {"scale": 7.5, "scale_end": 3.75, "gap_min": 0.3, "gap_max": 0.5},
    "mvdream": {"scale": 7.5},
    "sdi": {
        "scale": 2.5,
        "inversion_scale": -2.5,
        "inversion_start": 0.2,
        "steps_per_unit": 5.0,
        "entropy": 1.0,
        "t_min": CARRIED[0.02],
    },
    "dsd": {
        "scale": 2.5,
        "reference_scale": 2.5,
        "ode_scale": 2.5,
        "delta": 0.5,
        "delta_mode": "grid",
        "ode_steps": 20,
        "law": "linear",
        "weight": "sbar",
        "t_min": 0.0,
        "t_max": 1.0,
    },
    "cfd": {"scale": 2.5, "normalize": False, "weight": "sbar"},
    "ssd": {"switch": 0.6},
    "pfd": {"scale": 2.5, "inversion_scale": -1.5, "steps_per_unit": 5.0, "solver_steps_per_unit": 5.0},
}
"""Settings of flat Toybox runs, beside the defaults at carried times and the reduction."""
DESCENDING = {"csd", "nfsd", "ism", "sdi", "dsd", "cfd", "vsd", "esd"}
"""Methods whose flat images are optimized by plain gradient descent, by each image's own gradient."""


@pytest.mark.parametrize("name", METHODS)
def test_toybox_settings_are_the_defaults_at_carried_times_and_the_tuned_ones(name: str) -> None:
    kind = METHODS[name]
    times = {
        field: CARRIED[value]
        for field, value in to_plain(kind()).items()
        if field.startswith(("t_min", "t_max")) or field in ("t_start", "t_end", "switch")
    }
    reduction = "sum_over_batch" if name in DESCENDING else "mean_over_latent"
    assert ("descent" in kind.TOYBOX_IMAGE) is (name in DESCENDING)
    expected = to_plain(kind()) | times | TUNED[name] | {"reduction": reduction}
    found = to_plain(kind.toybox(flat=True))
    assert {key: value for key, value in found.items() if key not in times} == {
        key: value for key, value in expected.items() if key not in times
    }
    assert {key: found[key] for key in times} == pytest.approx({key: expected[key] for key in times}, abs=1e-9)


def test_settings_on_zero123_are_its_own_guidance_scale_and_window() -> None:
    """METHODS 8.1; the scales of inversion and ODE follow that of the target."""
    window = {"scale": 3.0, "t_min": 0.2, "t_max": 0.85}
    assert {name: dict(kind.PICTURE) for name, kind in METHODS.items() if kind.PICTURE} == {
        "sds": window,
        "sdi": window | {"inversion_scale": -3.0},
        "dsd": window | {"ode_scale": 3.0},
    }
    for kind in (SDS, SDI, DSD):
        assert to_plain(kind.official(picture=True)) == to_plain(kind.official()) | dict(kind.PICTURE)


def test_gradient_norms_relative_to_sdi() -> None:
    assert {name: kind.gradient_norm for name, kind in METHODS.items() if kind.gradient_norm != 1} == {
        "ism": 0.03,
        "ssd": 0.06,
        **dict.fromkeys(("vsd", "esd", "asd", "dsd", "csd"), 0.15),
        **dict.fromkeys(("nfsd", "pfd"), 0.25),
    }


def test_toybox_settings_of_dsd_differ_where_views_share_a_scene() -> None:
    flat, solid = DSD.toybox(flat=True), DSD.toybox(flat=False)
    assert (flat.reference_scale, solid.reference_scale) == (2.5, 1.5)
    differing = {name for name, value in to_plain(flat).items() if to_plain(solid)[name] != value}
    assert differing == {"reference_scale", "reduction", *DSD.TOYBOX_FLAT}
    assert (flat.reduction, solid.reduction) == ("sum_over_batch", "mean_over_latent")


def test_trajectories_and_their_keys_survive_a_checkpoint(tmp_path: Path) -> None:
    state = Trajectories(
        {(k, asset, "a toy, \u00e9"): randn(4, 3, 3, seed=k + asset) for k in range(3) for asset in (0, 1)}
    )
    checkpoint.write(tmp_path, {"index": 0, "method": state.state_dict()})
    read = checkpoint.read(tmp_path)
    assert read is not None
    restored = Trajectories()
    restored.load_state_dict(read["method"])
    assert list(restored.entries) == list(state.entries)
    assert all(torch.equal(restored.entries[key], value) for key, value in state.entries.items())


def run(method: MethodConfig, resume: dict[str, Any] | None = None, *, descends: bool = False) -> Iterator[Step]:
    """Eight steps on four flat images, by Adam or by plain gradient descent."""
    start = torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    image = DescendingImage(start, [1 - step / 8 for step in range(8)]) if descends else Image(start)
    parts = (image, AsColors(analytic()), method, no_cameras, Prompt("a"))
    return optimize(*parts, steps=8, batch=4, background=torch.ones(3), resume=resume)


@pytest.mark.parametrize("descends", [False, True])
@pytest.mark.parametrize("method", [DSD(), DSD(ode_end="exact"), CFD(), CFD(churn=0.3)])
def test_a_resumed_run_restores_the_state_of_the_method_bit_for_bit(
    method: MethodConfig, descends: bool, tmp_path: Path
) -> None:
    for step in run(method, descends=descends):
        if step.index == 3:
            checkpoint.write(tmp_path / "half", step.checkpoint())
        whole = step
    for step in run(method, checkpoint.read(tmp_path / "half"), descends=descends):
        assert step.index > 3
    assert torch.equal(whole.distilled.grad, step.distilled.grad)
    checkpoint.write(tmp_path / "whole", whole.checkpoint())
    checkpoint.write(tmp_path / "resumed", step.checkpoint())
    expected, found = (checkpoint.read(tmp_path / name) for name in ("whole", "resumed"))
    assert expected is not None
    assert found is not None
    assert expected["method"]
    assert same(expected, found)
