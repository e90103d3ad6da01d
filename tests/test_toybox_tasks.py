"""The embedded priors of four views and of a picture: their start, data, training and steps."""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor

from scoredistill.camera import orbit, ring
from scoredistill.cli import main
from scoredistill.contracts import Photo, Prompt, Query
from scoredistill.methods.catalogue import METHODS
from scoredistill.priors import toybox
from scoredistill.priors.camera_pose import camera_pose
from scoredistill.priors.toybox import ToyboxPosePrior, ToyboxViewsPrior
from scoredistill.priors.toybox.pose import READ_AT
from scoredistill.priors.toybox.prior import network_of
from scoredistill.priors.toybox.unet import Attention, UNet
from scoredistill.priors.toybox.unet_tasks import PoseUNet, ViewsUNet, start_from
from scoredistill.priors.toybox.views import PosedCaption
from scoredistill.recipes.fast import fast
from scoredistill.toybox import dataset
from scoredistill.toybox.captions import CANONICAL_FRONT, CONTEXT
from scoredistill.toybox.render import BACKGROUND
from tools import train_toybox_mv, train_toybox_pose

T = torch.full((4,), 0.4, dtype=torch.float64)


def randomized(net: Any) -> Any:
    """A network that answers something else to everything."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return net


def views_prior(net: ViewsUNet | None = None) -> ToyboxViewsPrior:
    return ToyboxViewsPrior(net or randomized(ViewsUNet(tiny.SHAPE)), dtype=torch.float32)


def pose_prior(net: PoseUNet | None = None) -> ToyboxPosePrior:
    return ToyboxPosePrior(net or randomized(PoseUNet(tiny.SHAPE)), dtype=torch.float32)


def x_t(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def photo() -> Photo:
    rgb = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(2))
    return Photo(rgb, torch.ones(1, 64, 64), ring(1, 16))


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance * float(expected.detach().abs().max()), rtol=0)


def test_four_views_begin_as_the_trained_prior() -> None:
    trained, net = tiny.lively_net(), ViewsUNet(tiny.SHAPE)
    start_from(net, trained)
    single = toybox.ToyboxPrior(trained, dtype=torch.float32)
    cameras, prompt = ring(4, 16), Prompt("a red car")
    several = views_prior(net)
    found = several.eps(x_t(), T, several.conditions(prompt, cameras, 4).text)[0]
    close(found, single.eps(x_t(), T, single.conditions(prompt, cameras, 4).text)[0])


def test_views_attend_to_each_other_and_to_their_cameras() -> None:
    """A change of one view is seen by the three others of its group and by no other group; so is one of its pose."""
    prior = views_prior()
    text = prior.conditions(Prompt("a red car"), ring(8, 16), 8).text
    assert torch.equal(text.pose, camera_pose(ring(8, 16)))
    t, changed = T.repeat(2), x_t(8)
    changed[1] += 1
    before, after = prior.eps(x_t(8), t, text)[0], prior.eps(changed, t, text)[0]
    moved = (after - before).abs().amax((1, 2, 3))
    assert moved[:4].min() > 1e-4
    assert moved[4:].max() == 0
    other = PosedCaption(text.features, text.mask, text.pose.roll(1, 0))
    assert (prior.eps(x_t(8), t, other)[0] - before).abs().amax((1, 2, 3)).min() > 1e-4
    with pytest.raises(ValueError, match="4 views jointly, got 6"):
        prior.eps(x_t(6), t[:6], text)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_works_with_a_prior_of_several_views(name: str) -> None:
    prior, views = views_prior(), ring(8, 64)
    method = METHODS[name]().prepare(prior, 0)
    start = getattr(method, "start", None)
    query = Query(
        prior,
        prior.conditions(Prompt("a red car"), views, 8),
        0.3,
        torch.Generator().manual_seed(0),
        None if start is None else start(),
        views,
        prior.decode(x_t(8)),
    )
    distilled = method(query, x_t(8))
    for grad in (distilled.grad, distilled.grad_rgb):
        assert grad is None or (grad.shape == (8, 3, 64, 64) and float(grad.abs().amax((1, 2, 3)).min()) > 0)


def test_attention_across_views_is_attention_over_all_their_pixels() -> None:
    """Against one softmax after the other, token by token."""
    net = randomized(ViewsUNet(tiny.SHAPE)).double()
    across: Attention = net.bottom[0].across
    x = torch.randn(8, 16, 2, 2, dtype=torch.float64)
    alone = super(type(net.bottom[0]), net.bottom[0]).forward(x, *words(net, 8))
    found = net.bottom[0](x, *words(net, 8)) - alone
    tokens = alone.flatten(2).transpose(1, 2)  # [8 4 C]
    for row in (0, 2, 7):
        group = across.norm(tokens[row // 4 * 4 : row // 4 * 4 + 4].reshape(16, -1))
        k, v = across.key_value(group).chunk(2, -1)
        q = across.query(across.norm(tokens[row, 3]))
        heads = [slice(4 * head, 4 * head + 4) for head in range(4)]
        mixed = [(k[:, head] @ q[head] / 2).softmax(0) @ v[:, head] for head in heads]
        close(found[row, :, 1, 1], across.out(torch.cat(mixed)), 1e-10)


def words(net: UNet, count: int) -> tuple[Tensor, Tensor]:
    features, mask = net.text(torch.ones(count, CONTEXT, dtype=torch.long))
    return features, mask


def test_picture_and_both_cameras_are_inputs_of_the_conditional_rows_only() -> None:
    prior = pose_prior()
    views = ring(4, 16)
    conditions = prior.conditions(Prompt("", photo=photo()), views, 4)
    shown = conditions.text
    _, (caption, picture) = prior.pictures(Prompt("", photo=photo()))
    words = prior.encode_text([caption])
    pose = prior.net.camera(camera_pose(photo().camera))
    close(picture, prior.net.encode_picture(2 * photo().rgb[None] - 1, words.features, words.mask, pose))
    close(shown.picture, picture.expand(4, -1, -1))
    close(shown.features, words.features.expand(4, -1, -1))
    assert torch.equal(shown.pose, camera_pose(views))
    assert conditions.null is conditions.empty
    assert not bool(conditions.null.use_picture.any())
    both = prior.eps(x_t(), T, shown, conditions.null)
    close(both[0], prior.eps(x_t(), T, shown)[0])
    blind = replace(conditions.null, picture=shown.picture.flip(1))
    close(both[1], prior.eps(x_t(), T, blind)[0])
    turned = replace(shown, pose=shown.pose.roll(1, 0))
    other = replace(shown, picture=shown.picture.flip(1) + 1)
    spoken = prior.pictured(["two red cars"] * 4, shown.pose, shown.picture)
    for changed in (turned, other, spoken):
        assert (prior.eps(x_t(), T, changed)[0] - both[0]).abs().amax((1, 2, 3)).min() > 1e-5
    with pytest.raises(ValueError, match="generates views of a picture: name one"):
        prior.conditions(Prompt("a red car"), views, 4)


def test_the_inferred_caption_has_the_lowest_denoising_error() -> None:
    """Against the error of each caption, one by one, at the same noise."""
    prior, x, pose = pose_prior(), 2 * photo().rgb[None] - 1, camera_pose(photo().camera)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    features = prior.net.encode_picture(x, *words(prior.net, 1), prior.net.camera(pose))

    def error(caption: str) -> float:
        condition = replace(prior.pictured([caption], pose, features), use_picture=torch.zeros(1, dtype=torch.bool))
        times = (torch.full((1,), t) for t in READ_AT)
        return sum(
            float((prior.eps(prior.schedule.diffuse(x, noise, t), t, condition)[0] - noise).square().mean())
            for t in times
        )

    read = prior.infer_caption(x, pose)
    assert (
        error(read) <= min(error(other) for other in ("a red car", "a blue duck", "a black mug", "a white cat")) + 1e-6
    )


def test_views_of_a_picture_are_independent() -> None:
    prior = pose_prior()
    shown = prior.conditions(Prompt("", photo=photo()), ring(4, 16), 4).text
    changed = x_t()
    changed[1] += 1
    moved = (prior.eps(changed, T, shown)[0] - prior.eps(x_t(), T, shown)[0]).abs().amax((1, 2, 3))
    assert moved[1] > 1e-4
    close(moved[[0, 2, 3]] + 1, torch.ones(3, dtype=moved.dtype))


@pytest.mark.parametrize("kind", [UNet, ViewsUNet])
def test_the_network_of_a_picture_begins_as_a_trained_one(kind: type[UNet]) -> None:
    """As the plain one until it has learned to look; as one of four views alike where there is no picture."""
    trained, net = randomized(kind(tiny.SHAPE)), PoseUNet(tiny.SHAPE)
    start_from(net, trained)
    seen = torch.randn(4, 2 * 64, tiny.SHAPE.widths[-1])
    use_picture = torch.full((4,), kind is UNet)
    alike, t = x_t()[:1].expand(4, -1, -1, -1), torch.full((4,), 0.4)
    close(net(alike, t, *words(trained, 4), None, seen, use_picture), trained(alike, t, *words(trained, 4)))


def test_attention_to_picture_and_own_pixels() -> None:
    """Against one softmax over both, token by token."""
    net = randomized(PoseUNet(tiny.SHAPE)).double()
    bottom: Any = net.bottom[0]
    across: Attention = bottom.across
    x, shown = torch.randn(2, 16, 2, 2, dtype=torch.float64), torch.randn(2, 4, 16, dtype=torch.float64)
    use_picture = torch.tensor([True, False])
    alone = super(type(bottom), bottom).forward(x, *words(net, 2)).flatten(2).transpose(1, 2)
    found, own = bottom.mix_with_picture(x, *words(net, 2), shown, use_picture)
    close(own, alone, 1e-12)
    for row in range(2):
        seen = torch.cat([alone[row], shown[row]]) if use_picture[row] else alone[row]
        k, v = across.key_value(across.norm(seen)).chunk(2, -1)
        q = across.query(across.norm(alone[row, 3]))
        heads = [slice(4 * head, 4 * head + 4) for head in range(4)]
        mixed = [(k[:, head] @ q[head] / 2).softmax(0) @ v[:, head] for head in heads]
        close(found[row, :, 1, 1] - alone[row, 3], across.out(torch.cat(mixed)), 1e-10)


def test_rings_of_a_data_set(tmp_path: Path) -> None:
    """Quarter turns at one elevation and distance; the entry of each view describes its image."""
    dataset.make(tmp_path, 16, seed=0, views_per_toy=8, size=16, workers=1, ring=4)
    views = dataset.load(tmp_path)
    for start in range(0, 16, 4):
        turns = torch.remainder((views.azimuth[start : start + 4] - views.azimuth[start]).rad2deg() + 1, 360) - 1
        torch.testing.assert_close(turns, torch.tensor([0.0, 90, 180, 270]), atol=1e-3, rtol=0)
        assert len(set(views.elevation[start : start + 4].tolist())) == 1
        assert len(set(views.radius[start : start + 4].tolist())) == 1
    assert views.azimuth.abs().max() <= math.pi
    assert len(set(views.radius.tolist())) == 4
    with pytest.raises(ValueError, match="made with"):
        dataset.make(tmp_path, 16, seed=0, views_per_toy=8, size=16, workers=1)


@pytest.mark.parametrize("tool", [train_toybox_mv, train_toybox_pose], ids=["mv", "pose"])
def test_a_few_steps_of_training(tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a trained prior to weights and card, by the tool's own command; then a run with these weights."""
    begin, weights = tiny.prior_file(tmp_path), tmp_path / "task.safetensors"
    flags = ["--steps", "3", "--views", "16", "--batch", "8", "--data", str(tmp_path / "data"), "--device", "cpu"]
    places = ["--out", str(tmp_path / "train"), "--weights", str(weights), "--begin", str(begin)]
    monkeypatch.setattr(sys, "argv", ["train", *flags, *places])
    tool.main()
    assert "| training |" in weights.with_suffix(".md").read_text()
    kind = ToyboxViewsPrior if tool is train_toybox_mv else ToyboxPosePrior
    prior = kind.load(weights, dtype=torch.float32)
    assert bool(torch.cat([weight.flatten() for weight in prior.net.camera[2].parameters()]).any())  # type: ignore[union-attr,index]
    assert network_of(weights) == kind.network.__name__
    with pytest.raises(ValueError, match=f"holds no {kind.network.__name__}: "):
        kind.load(begin)
    places = ["--out", str(tmp_path / "further"), "--weights", str(weights), "--begin", str(weights)]
    monkeypatch.setattr(sys, "argv", ["train", *flags, *places])
    tool.main()
    assert f"--begin {weights}`" in weights.with_suffix(".md").read_text()
    kind.load(weights)


@pytest.mark.parametrize("kind", [ViewsUNet, PoseUNet])
def test_a_network_begins_as_one_of_its_own_task(kind: type[ViewsUNet | PoseUNet]) -> None:
    trained, net = kind(tiny.SHAPE), kind(tiny.SHAPE)
    start_from(net, trained)
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in net.state_dict().items())


def batches_flags(folder: Path, size: int) -> argparse.Namespace:
    dataset.make(folder, 32, seed=0, views_per_toy=8, size=16, workers=1, ring=4)
    return argparse.Namespace(data=folder, batch=size, workers=1, device="cpu")


def test_a_batch_of_rings_has_one_time_one_wording_and_the_cameras_of_its_views(tmp_path: Path) -> None:
    batches = train_toybox_mv.Rings(batches_flags(tmp_path, 8).data, 8, seed=0)
    x, tokens, t, pose, weights = batches()
    assert bool((weights == 1).all())
    assert x.shape == (8, 3, 16, 16)
    for start in (0, 4):
        assert len(set(t[start : start + 4].tolist())) == 1
        assert len({tuple(row[:2]) for row in tokens[start : start + 4].tolist()}) == 1
    known = camera_pose(orbit(batches.views.azimuth, batches.views.elevation, batches.views.radius, torch.ones(32), 1))
    for row in range(8):
        shown = (batches.views.rgb.float() / 127.5 - 1 - x[row]).abs().amax((1, 2, 3)).argmin()
        torch.testing.assert_close(pose[row], known[shown])


def test_a_batch_that_is_no_multiple_of_four_has_whole_rings(tmp_path: Path) -> None:
    parts = train_toybox_mv.Rings(batches_flags(tmp_path, 10).data, 10, seed=0)()
    assert [len(part) for part in parts] == [8] * 5


def test_half_of_a_batch_of_rings_are_toys_that_have_a_front(tmp_path: Path) -> None:
    dataset.make(tmp_path, 512, seed=0, views_per_toy=8, size=8, workers=1, ring=4)
    batches = train_toybox_mv.Rings(tmp_path, 8, seed=0)
    alone = [not toy.composed for toy in batches.views.descriptions]
    facing = [toy.kind in CANONICAL_FRONT for toy in batches.views.descriptions]
    shares = [
        sum(chance for chance, *found in zip(batches.probabilities, alone, facing, strict=True) if found == group)
        for group in ([True, True], [True, False])
    ]
    assert shares == pytest.approx([0.5, 0.25])
    assert sum(batches.probabilities) == pytest.approx(1)


def test_a_batch_shows_three_views_of_each_pictures_toy(tmp_path: Path) -> None:
    batches = train_toybox_pose.Groups(batches_flags(tmp_path, 32).data, 32, seed=0)
    x, t, pictures, words, known, pose, use_picture = batches()
    assert (len(x), len(t), len(pictures), len(words), len(use_picture)) == (24, 24, 8, 8, 8)
    views = batches.views.rgb.float() / 127.5 - 1
    every = camera_pose(orbit(batches.views.azimuth, batches.views.elevation, batches.views.radius, torch.ones(32), 1))
    for row in range(24):
        both = zip((x[row], pictures[row // 3]), (pose[row], known[row // 3]), strict=True)
        target, picture = (
            int(((views - each).abs().amax((1, 2, 3)) + (every - pose_of_each).abs().amax(1)).argmin())
            for each, pose_of_each in both
        )
        assert target // 8 == picture // 8


@pytest.mark.parametrize("network", [ViewsUNet, PoseUNet])
@pytest.mark.parametrize("method", ["sdi", "dsd"])
def test_whole_commands(network: Any, method: str, tmp_path: Path, toy_presets: None) -> None:
    weights = tmp_path / "task.safetensors"
    toybox.save(weights, randomized(network(tiny.SHAPE)))
    Image.new("RGB", (64, 64), tuple(round(255 * value) for value in BACKGROUND)).save(tmp_path / "plain.png")
    picture = Image.open(tmp_path / "plain.png")
    picture.paste((200, 30, 20), (20, 20, 44, 44))
    picture.save(tmp_path / "toy.png")
    wanted = ["--image", str(tmp_path / "toy.png")] if network is PoseUNet else ["a red car"]
    few = {"sdi": ["--method.steps-per-unit", "2"], "dsd": ["--method.ode-steps", "2"]}[method]
    size = ["--steps", "2", "--resolution", "16", "--batch", "4", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(["generate", *wanted, "--prior", str(weights), "--method", method, *few, *size]) == 0


def test_a_picture_alone_selects_the_embedded_prior_of_pictures() -> None:
    assert fast(picture="/nowhere/toy.png", device="cpu").prior.name == "toybox-pose"
    recipe = fast("a red car", device="cpu")
    assert (recipe.prior.name, recipe.training.batch, recipe.prior.view_prompting) == ("toybox-mv", 4, "words")


class Recorder(ToyboxViewsPrior):
    """A prior that notes the times and the cameras' embeddings with which its network is evaluated."""

    def output(self, net: Any, x_t: Tensor, t: Tensor, condition: Any, view: Tensor | None = None) -> Tensor:
        assert view is not None
        self.seen: tuple[Tensor, Tensor] = t, view.detach()
        return super().output(net, x_t, t, condition, view)


def test_a_learner_is_trained_where_it_is_evaluated() -> None:
    """Views that are denoised jointly have one time, and a camera all or none: so they are asked for by VSD and ESD."""
    prior, cameras = Recorder(randomized(ViewsUNet(tiny.SHAPE)), dtype=torch.float32), ring(4, 16)[torch.arange(8) % 4]
    learner = prior.learner(start="published")
    query = Query(prior, prior.conditions(Prompt(tiny.PROMPT), cameras, 8), 0.0, torch.Generator(), cameras=cameras)
    blind = learner.camera(torch.zeros(16))
    shares = []
    for _ in range(30):
        learner.loss(query, torch.zeros(8, 3, 16, 16))
        t, view = (part.unflatten(0, (2, 4)) for part in prior.seen)
        assert bool((t == t[:, :1]).all())
        assert t[0, 0] != t[1, 0]
        without = torch.isclose(view, blind, atol=1e-5).all(-1)
        assert bool((without == without[:, :1]).all())
        shares.append(float(without.float().mean()))
    assert 0 < sum(shares) / len(shares) < 0.3
