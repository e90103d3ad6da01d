"""MVDream: attention across views, cameras in its axes, names of its tensors, and steps through the real loading."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_views
import torch
from conftest import analytic, query, times
from conftest import randn as doubles
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

from scoredistill.camera import orbit, ring
from scoredistill.cli import main
from scoredistill.contracts import Prompt
from scoredistill.methods.dsd import DSD
from scoredistill.methods.mvdream import MVDream
from scoredistill.methods.sdi import SDI
from scoredistill.methods.sds import SDS
from scoredistill.optimize import optimize
from scoredistill.priors.camera_pose import camera_pose
from scoredistill.priors.diffusers.hub import find
from scoredistill.priors.mvdream import MVDreamPrior
from scoredistill.priors.mvdream import unet as mvdream_unet
from scoredistill.recipes.fast import fast
from scoredistill.recipes.paper import paper
from scoredistill.scenes.image import Image
from scoredistill.scenes.nerf import NerfConfig
from scoredistill.views import MVDREAM_ORBIT, no_cameras

PUBLISHED = tiny_views.SETTINGS | {
    "model_channels": 320,
    "attention_resolutions": [4, 2, 1],
    "num_res_blocks": 2,
    "channel_mult": [1, 2, 4, 4],
    "num_head_channels": 64,
    "context_dim": 1024,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """Folder, and the network as one that knows nothing of other views."""
    folder = tmp_path_factory.mktemp("mvdream")
    return folder, tiny_views.mvdream(folder)


@pytest.fixture(scope="module")
def prior(saved: tuple[Path, nn.Module]) -> MVDreamPrior:
    return MVDreamPrior.load(str(saved[0]), dtype=torch.float32)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance * float(expected.detach().abs().max()), rtol=0)


def test_names_are_those_of_the_libraries_own_converter() -> None:
    names = [f"{name}.{kind}" for name in tiny_views.original_names(PUBLISHED) for kind in ("weight", "bias")]
    tagged: Any = {f"model.diffusion_model.{name}": name for name in names}
    converted = convert_ldm_unet_checkpoint(tagged, {"layers_per_block": 2})
    assert {name: mvdream_unet.diffusers_name(name, 2) for name in names} == {
        old: new for new, old in converted.items()
    }
    network = mvdream_unet.build(PUBLISHED, 4).state_dict()
    cameras = {f"class_embedding.linear_{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")}
    assert network.keys() <= converted.keys() | cameras
    assert cameras <= network.keys()
    stable_diffusion, camera_layers = 865_910_724, 16 * 1280 + 1280 + 1280 * 1280 + 1280
    assert sum(tensor.numel() for tensor in network.values()) == stable_diffusion + camera_layers


@pytest.mark.parametrize("views", [1, 4])
def test_a_view_attends_to_all_views_of_its_group(views: int) -> None:
    """Each token alone: softmax over all tokens of its group; of one view this is the plain attention."""
    torch.manual_seed(0)
    attention: Any = Attention(query_dim=6, heads=2, dim_head=3).double()
    x = randn(2 * views, 5, 6).double()
    found = mvdream_unet.CrossView(views)(attention, x)
    expected = torch.empty_like(x)
    for row in range(len(x)):
        group = x[row // views * views : (row // views + 1) * views].reshape(-1, 6)
        for token in range(5):
            heads = []
            for head in (slice(0, 3), slice(3, 6)):
                q = (x[row, token] @ attention.to_q.weight.T)[head]
                logits = torch.stack([(other @ attention.to_k.weight.T)[head] @ q for other in group]) / math.sqrt(3)
                heads.append(logits.softmax(0) @ (group @ attention.to_v.weight.T)[:, head])
            expected[row, token] = attention.to_out[0](torch.cat(heads))
    close(found, expected, 1e-12)
    if views == 1:
        close(found, AttnProcessor2_0()(attention, x), 1e-12)


def test_a_network_of_one_view_is_the_librarys_own(saved: tuple[Path, nn.Module], prior: MVDreamPrior) -> None:
    folder, plain = saved
    alone = mvdream_unet.load(find(str(folder)), torch.float32, 1)
    x_t, t, tokens, pose = randn(4, 4, 8, 8), torch.tensor([3.0, 3, 500, 500]), randn(4, 7, 8), randn(4, 16, seed=1)
    expected = plain(x_t, t, tokens, class_labels=pose, return_dict=False)[0]
    close(alone(x_t, t, tokens, class_labels=pose, return_dict=False)[0], expected)
    joint = prior.net(x_t, t, tokens, class_labels=pose, return_dict=False)[0]
    assert float((joint - expected).detach().abs().max()) > 1e-2  # of four views it is another


def test_poses_of_known_cameras() -> None:
    """Blender's axes, z up, the front at +x: the camera looks along its own -z, its y points up; unit distance."""
    azimuth, elevation = torch.tensor([0.0, 90.0, 0.0]).deg2rad(), torch.tensor([0.0, 0.0, 30.0]).deg2rad()
    cameras = orbit(azimuth, elevation, torch.tensor([2.0, 3.0, 1.5]), torch.ones(3), 8)
    before = cameras.c2w.clone()
    c, s = math.cos(math.pi / 6), 0.5
    front = [[0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    side = [[-1, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 1]]
    above = [[0, -s, c, c], [1, 0, 0, 0], [0, c, s, s], [0, 0, 0, 1]]
    close(camera_pose(cameras).reshape(3, 4, 4), torch.tensor([front, side, above]), 1e-6)
    assert torch.equal(cameras.c2w, before)


def test_every_row_has_its_camera_and_the_unconditional_ones_too(prior: MVDreamPrior) -> None:
    cameras = ring(4, 8)
    conditions = prior.conditions(Prompt("a hamburger"), cameras, 4)
    assert conditions.null is conditions.empty
    for condition in (conditions.text, conditions.null, conditions.plain):
        assert torch.equal(condition.pooled, camera_pose(cameras))
    assert conditions.keys == ("a hamburger",) * 4, "the official prompt names no view"


def test_rows_of_several_conditions_equal_one_call_each(prior: MVDreamPrior) -> None:
    conditions = prior.conditions(Prompt("a hamburger"), ring(8, 8), 8)
    x_t, t = randn(8, 4, 8, 8), torch.full((8,), 0.5, dtype=torch.float64)
    calls = prior.calls
    text, null = prior.eps(x_t, t, conditions.text, conditions.null)
    assert prior.calls == calls + 1
    close(text, prior.eps(x_t, t, conditions.text)[0])
    close(null, prior.eps(x_t, t, conditions.null)[0])
    first = replace(conditions.text, tokens=conditions.text.tokens[:4], pooled=conditions.text.pooled[:4])
    close(text[:4], prior.eps(x_t[:4], t[:4], first)[0])  # groups know nothing of each other
    with pytest.raises(ValueError, match="4 views jointly, got 6: take a multiple of 4"):
        prior.eps(x_t[:6], t[:6], conditions.text)


def test_the_reconstruction_form_is_regression_onto_a_denoised_image_of_less_contrast() -> None:
    """METHODS 8.2, two groups of two views; without the rescaling it is SDS with w = sbar (I-13)."""
    prior = analytic()
    prior.views = 2  # type: ignore[misc] (an analytic prior evaluates images independently)
    x, of_prior, t = doubles(4, 2, 3, 3, seed=1), query(prior, seed=3, count=4), 0.4
    window = {"t_min_start": t, "t_min": t, "t_max": t, "t_max_late": t}
    found = MVDream(scale=50.0, rescale=0.5, **window)(of_prior, x)
    at, x_t = prior.schedule.snap(times(t, 4)), found.probe["x_t"]
    text, null = prior.eps(x_t, at, of_prior.conditions.text, of_prior.conditions.null)
    expected = []
    for group in (slice(0, 2), slice(2, 4)):
        guided = prior.schedule.clean(x_t, null + 50 * (text - null), at)[group]
        plain = prior.schedule.clean(x_t, text, at)[group]
        expected.append(x[group] - 0.5 * guided - 0.5 * guided * plain.std() / guided.std())
    close(4 * found.grad, torch.cat(expected), 1e-10)
    as_sds = MVDream(scale=50.0, rescale=0.0, **window)(query(prior, seed=3, count=4), x)
    same = SDS(scale=50.0, t_min=t, t_max=t, weight="sbar")(query(prior, seed=3, count=4), x)
    close(as_sds.grad, same.grad, 1e-10)


@pytest.mark.parametrize("method", [SDI(steps_per_unit=2.0), DSD(ode_steps=2)], ids=["sdi", "dsd"])
def test_two_steps(method: Any, prior: MVDreamPrior) -> None:
    start = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    scene = Image(start, lr=1e-2)
    background = torch.ones(3)
    steps = list(
        optimize(scene, prior, method, no_cameras, Prompt("a hamburger"), steps=2, batch=4, background=background)
    )
    assert steps[-1].x.shape == (4, 4, 8, 8)
    assert len(set(steps[-1].distilled.probe["t"].tolist())) == 1
    assert (scene.pixels.detach() - start).abs().amax((1, 2, 3)).min() > 1e-3  # every view moves


def test_another_model_is_refused_in_one_line(tmp_path: Path) -> None:
    tiny_views.zero123(tmp_path)
    with pytest.raises(ValueError, match=r"is not MVDream: its unet is a UNet2DConditionModel$"):
        MVDreamPrior.load(str(tmp_path))


def test_cameras_come_in_groups() -> None:
    """Four a quarter turn apart, alike in all else; METHODS 8.2's ranges, apparent size instead of distance."""
    cameras = MVDREAM_ORBIT.cameras(8, torch.Generator().manual_seed(0), resolution=8, group=4)
    for group in (cameras[:4], cameras[4:]):
        turns = (group.azimuth - group.azimuth[0]).rad2deg()
        torch.testing.assert_close(turns, torch.tensor([0.0, 90, 180, 270]), atol=1e-3, rtol=0)
        for same in (group.elevation, group.radius, group.fov):
            assert len(set(same.tolist())) == 1
    many = MVDREAM_ORBIT.cameras(4000, torch.Generator().manual_seed(0), resolution=8, group=4)
    extent = many.radius * torch.tan(many.fov / 2)
    for found, low, high in ((many.elevation.rad2deg(), 0, 30), (many.fov.rad2deg(), 15, 60), (extent, 0.8, 1.0)):
        assert low <= found.min() < low + 0.01 * (high - low)
        assert high >= found.max() > high - 0.01 * (high - low)
    starts = many.azimuth[::4].rad2deg()
    assert [starts.min(), starts.max()] == pytest.approx([-180, -90], abs=0.2)
    assert MVDREAM_ORBIT.middle() == (pytest.approx(0.9 / math.tan(math.radians(37.5) / 2)), 37.5)


def test_the_official_recipe() -> None:
    recipe = paper("a hamburger", prior="mvdream", method="mvdream", device="cpu")
    scene, training, method = recipe.scene, recipe.training, recipe.method
    assert isinstance(scene, NerfConfig) and isinstance(method, MVDream)
    assert (training.batch, training.resolution, scene.lr_grid, scene.lr_mlp) == (4, 256, 0.01, 0.001)
    assert (training.early_share, training.early_batch, training.early_resolution) == (0.5, 8, 64)
    assert (recipe.prior.view_prompting, recipe.views) == ("none", MVDREAM_ORBIT)
    assert (method.scale, method.rescale, method.reduction) == (50, 0.5, "sum_over_latent")
    assert [scene.regularizers.orient(p) for p in (0.0, 0.5)] == [10, 1000]
    assert fast("a hamburger", prior="mvdream", device="cpu").training.batch == 4


def test_four_views_become_a_model(tmp_path: Path, saved: tuple[Path, nn.Module], toy_presets: None) -> None:
    flags = ["--prior", str(saved[0]), "--device", "cpu", "--resolution", "16", "--steps", "2"]
    command = ["generate", "a hamburger", *flags, "--method", "sdi", "--method.steps-per-unit", "2"]
    assert main([*command, "--batch", "4", "--out", str(tmp_path / "run")]) == 0


def test_views_that_make_no_group_are_refused(
    tmp_path: Path, saved: tuple[Path, nn.Module], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", "a hamburger", "--prior", str(saved[0]), "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main([*command, "--batch", "6"]) == 2
    assert "denoises 4 views jointly: set --batch to a multiple of 4" in capsys.readouterr().err
