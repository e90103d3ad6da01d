"""Zero-1-to-3: the order and signs of the relative pose, what the network is shown, two steps of a field."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_pipelines
import tiny_views
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from scoredistill.camera import Cameras, orbit
from scoredistill.cli import main
from scoredistill.contracts import Photo, Prompt
from scoredistill.methods.dsd import DSD
from scoredistill.methods.sdi import SDI
from scoredistill.methods.vsd import VSD
from scoredistill.optimize import optimize
from scoredistill.priors.zero123 import Zero123Prior
from scoredistill.priors.zero123.pose import relative_pose
from scoredistill.recipes.build import build, build_views
from scoredistill.recipes.paper import low_vram
from scoredistill.recipes.recipe import changed
from scoredistill.runs.folder import read_config
from scoredistill.scenes.nerf import NeRF, NerfConfig
from scoredistill.scenes.photo import PhotoLoss, PhotoScene

Saved = tuple[Path, nn.Linear]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    folder = tmp_path_factory.mktemp("zero123")
    return folder, tiny_views.zero123(folder)


@pytest.fixture(scope="module")
def prior(saved: Saved) -> Zero123Prior:
    return Zero123Prior.load(str(saved[0]), dtype=torch.float32)


def cameras(*views: tuple[float, float, float], size: int = 16) -> Cameras:
    """From azimuth and elevation in degrees, and radius."""
    azimuth, elevation, radius = torch.tensor(views).T
    return orbit(azimuth.deg2rad(), elevation.deg2rad(), radius, torch.full((len(views),), 0.7), size)


def photo(size: int = 16) -> Photo:
    """A disk of changing color."""
    v, u = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    opacity = (u**2 + v**2 < 0.5).float()[None]
    return Photo(opacity * torch.stack([u, v, u * v]).add(1).div(2), opacity, cameras((20.0, 5.0, 2.0)))


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance * float(expected.detach().abs().max()), rtol=0)


def test_the_relative_pose_of_known_cameras() -> None:
    """Angles read off the positions themselves: polar from straight above, azimuth counter-clockwise from above."""
    own, others = cameras((20.0, 5.0, 2.0)), cameras((110.0, 35.0, 2.5), (-60.0, -10.0, 1.5), (20.0, 5.0, 2.0))

    def spherical(seen: Cameras) -> tuple[Tensor, Tensor, Tensor]:
        x, y, z = seen.c2w[:, :3, 3].double().T
        r = (x**2 + y**2 + z**2).sqrt()
        return (y / r).acos(), torch.atan2(x, z), r

    (theta_0, phi_0, r_0), (theta, phi, r) = spherical(own), spherical(others)
    expected = torch.stack([theta - theta_0, (phi - phi_0).sin(), (phi - phi_0).cos(), r - r_0], -1).float()
    close(relative_pose(own, others), expected)
    higher_and_to_the_right = relative_pose(own, others)[0].tolist()
    assert higher_and_to_the_right == pytest.approx([-math.radians(30), 1, 0, 0.5], abs=1e-6)
    assert relative_pose(own, others)[2].tolist() == pytest.approx([0, 0, 1, 0], abs=1e-6)
    stable = relative_pose(own, others, above=True)
    close(stable[:, :3], expected[:, :3])
    assert stable[:, 3].tolist() == pytest.approx([math.radians(85)] * 3)


def test_inputs_of_the_network(saved: Saved, prior: Zero123Prior) -> None:
    """CLIP beside the pose, projected; the photo over white as a mean latent, not scaled; zeros for the null."""
    folder, projection = saved
    views = cameras((110.0, 35.0, 2.5), (-60.0, -10.0, 1.5))
    picture = photo()
    conditions = prior.conditions(Prompt("", photo=picture), views, 2)
    white = torch.where(picture.opacity > 0, picture.rgb, 1)[None]
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae")
    close(conditions.text.image, vae.encode(2 * white - 1).latent_dist.mode().detach().expand(2, -1, -1, -1))
    embedding = prior.encode_image(white)
    row = torch.cat([embedding.expand(2, -1), relative_pose(picture.camera, views)], -1)
    close(conditions.text.tokens[:, 0], projection(row).detach())
    assert conditions.null is conditions.empty
    assert not conditions.null.tokens.any()
    assert not conditions.null.image.any()
    assert conditions.text.image.shape == conditions.null.image.shape == (2, 4, 8, 8)


def test_clip_gets_normalized_colors(saved: Saved, prior: Zero123Prior) -> None:
    eye: Any = CLIPVisionModelWithProjection.from_pretrained(saved[0], subfolder="image_encoder")
    rgb = torch.rand(1, 3, eye.config.image_size, eye.config.image_size)
    mean, std = torch.tensor([0.481, 0.458, 0.408]), torch.tensor([0.269, 0.261, 0.276])  # as its paper's code rounds
    expected = eye((rgb - mean[:, None, None]) / std[:, None, None]).image_embeds.detach()
    close(prior.encode_image(rgb), expected, 1e-2)


def test_noise_predictions_are_the_librarys_network_on_both_latents(saved: Saved, prior: Zero123Prior) -> None:
    net: Any = UNet2DConditionModel.from_pretrained(saved[0], subfolder="unet")
    conditions = prior.conditions(Prompt("", photo=photo()), cameras((90.0, 10.0, 2.0), (180.0, 0.0, 2.0)), 2)
    x_t, t = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.8], dtype=torch.float64)
    calls = prior.calls
    text, null = prior.eps(x_t, t, conditions.text, conditions.null)
    assert prior.calls == calls + 1
    shown = conditions.text
    close(text, net(torch.cat([x_t, shown.image], 1), 1000 * t, shown.tokens, return_dict=False)[0].detach())
    blind = torch.zeros_like(x_t), torch.zeros(2, 1, tiny_pipelines.WIDTH)
    close(null, net(torch.cat([x_t, blind[0]], 1), 1000 * t, blind[1], return_dict=False)[0].detach())


def test_both_published_layouts_are_read(tmp_path: Path, prior: Zero123Prior) -> None:
    plain = tmp_path / "stable models" / "zero123-xl"  # the folder around a model does not name it
    tiny_views.zero123(plain, "cc_projection", "projection")
    other = Zero123Prior.load(str(plain), dtype=torch.float32)
    prompt, views = Prompt("", photo=photo()), cameras((90.0, 10.0, 2.0))
    close(other.conditions(prompt, views, 1).text.tokens, prior.conditions(prompt, views, 1).text.tokens)
    assert not other.above
    named = tmp_path / "stable-zero123"
    tiny_views.zero123(named)
    assert Zero123Prior.load(str(named), dtype=torch.float32).above


METHODS: dict[str, Any] = {"sdi": SDI(steps_per_unit=2.0, scale=3.0), "dsd": DSD(ode_steps=2, scale=3.0, ode_scale=3.0)}


@pytest.mark.parametrize("name", METHODS)
def test_two_steps_of_a_field(name: str, prior: Zero123Prior) -> None:
    """Together with the losses of the photo; both have gradients for every parameter of the field."""
    torch.manual_seed(0)
    picture, white = photo(), torch.ones(3)
    field = NeRF(tiny.fast().scene, torch.Generator().manual_seed(0))
    scene = PhotoScene(field, picture, white, PhotoLoss())
    before = [value.clone() for value in field.field.parameters()]
    views, prompt = build_views(changed(tiny.fast(), "training.resolution", 16)), Prompt("", photo=picture)
    steps = list(optimize(scene, prior, METHODS[name], views, prompt, steps=2, batch=2, background=white))
    assert steps[-1].x.shape == (2, 4, 8, 8)
    assert torch.isfinite(steps[-1].distilled.grad).all()
    assert float(steps[-1].distilled.grad.abs().max()) > 0
    assert all(not torch.equal(new, old) for new, old in zip(field.field.parameters(), before, strict=True))
    assert steps[0].regularization > float(field.regularizer(steps[0].frame, steps[0].cameras, 0.0))  # type: ignore[arg-type]


def test_a_learner_of_it_can_be_trained(prior: Zero123Prior) -> None:
    picture, white = photo(), torch.ones(3)
    method = VSD().build(prior.learner(rank=1))
    field = NeRF(tiny.fast(method="vsd").scene, torch.Generator().manual_seed(0))
    prompt, views = Prompt("", photo=picture), build_views(changed(tiny.fast(), "training.resolution", 16))
    (step,) = optimize(field, prior, method, views, prompt, steps=1, background=white)
    assert torch.isfinite(step.distilled.grad).all()


def test_missing_parts_are_one_line(tmp_path: Path, prior: Zero123Prior) -> None:
    with pytest.raises(ValueError, match=r"generates views of a picture: name one, as in --image toy.png$"):
        prior.conditions(Prompt("a hamburger"), None, 1)
    tiny_pipelines.save("sd15", tmp_path)
    with pytest.raises(ValueError, match=r"is not Zero-1-to-3: it has none of the parts clip_camera_projection"):
        Zero123Prior.load(str(tmp_path))


def test_a_picture_becomes_a_model(tmp_path: Path, saved: Saved, toy_presets: None) -> None:
    """The whole command; its config.yaml makes it again, and a resumed run has the picture too."""
    picture = photo(32)
    pixels = torch.cat([picture.rgb, picture.opacity]).mul(255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "disk.png")
    out, model = str(tmp_path / "run"), str(saved[0])
    flags = ["--image", str(tmp_path / "disk.png"), "--prior", model, *tiny.SMALL[2:6], "--device", "cpu"]
    assert main(["generate", *flags, "--steps", "2", "--prompt.picture.elevation-deg", "10", "--out", out]) == 0
    recipe = read_config(tmp_path / "run" / "config.yaml")
    picture_config, method = recipe.prompt.picture, recipe.method
    assert (recipe.prompt.text, picture_config.elevation_deg) == ("disk", 10)
    assert picture_config.file == str(tmp_path / "run" / "picture.png"), "the run has a copy of its own"
    assert isinstance(method, SDI) and (method.scale, method.inversion_scale) == (3.0, -3.0)
    (tmp_path / "disk.png").unlink()
    assert main(["resume", out, "--steps", "3"]) == 0
    parts = build(recipe)
    assert parts.prompt.photo is not None
    assert parts.prompt.photo.camera.elevation.rad2deg().tolist() == pytest.approx([10])
    assert isinstance(parts.optimized, PhotoScene)
    assert torch.equal(parts.background, torch.ones(3))  # what the model was trained over


def test_pictures_and_priors_must_fit(
    tmp_path: Path, saved: Saved, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    toybox = str(tiny.prior_file(tmp_path_factory.mktemp("weights")))
    Image.new("RGBA", (8, 8), (200, 0, 0, 255)).save(tmp_path / "a.png")
    command = ["generate", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main([*command, "--image", str(tmp_path / "a.png"), "--prior", toybox]) == 2
    assert "takes no picture: leave out --image, or use --prior toybox-pose" in capsys.readouterr().err
    assert main([*command, "a red car", "--prior", str(saved[0])]) == 2
    assert "generates views of a picture: name one, as in --image" in capsys.readouterr().err
    assert main([*command, "--image", str(tmp_path / "no.png"), "--prior", str(saved[0])]) == 2
    assert "there is no file" in capsys.readouterr().err


def test_the_official_recipe() -> None:
    """METHODS 8.1, its weights relative to the summed gradient of the guidance, of which it takes a tenth."""
    recipe = low_vram(picture="/nowhere/a.png", prior="zero123", method="dsd", device="cpu")
    training, method, scene = recipe.training, recipe.method, recipe.scene
    assert isinstance(method, DSD) and isinstance(scene, NerfConfig)
    assert (training.steps, training.batch, training.resolution, scene.lr_grid) == (600, 4, 128, 0.01)
    assert (method.reduction, method.scale, method.ode_scale) == ("sum_over_latent", 3.0, 3.0)
    loss = recipe.prompt.picture.loss
    assert (loss.rgb(0.5), loss.mask(0.5)) == (5000, 500)
    losses = scene.regularizers
    assert [losses.orient(0.5), losses.sparsity(0.5), losses.opaque(0.5)] == pytest.approx([10, 1, 1])
    views = recipe.views
    assert (views.middle(), views.elevation_min_deg, views.elevation_max_deg) == ((3.8, 20.0), -10.0, 80.0)
