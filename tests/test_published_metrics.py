"""LPIPS, FID and KID against their reference implementations, and the commands that measure them on tiny runs."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import tiny_metrics
import torch
from PIL import Image
from tiny import PROMPT, fast
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from scoredistill.cli import main
from scoredistill.evaluate.inception import Inception
from scoredistill.evaluate.lpips import Lpips
from scoredistill.evaluate.metrics import frechet_distance, kernel_distance
from scoredistill.recipes.build import build
from scoredistill.recipes.paper import paper
from scoredistill.recipes.recipe import changed
from scoredistill.runs.evaluation.protocol import PROTOCOLS, Protocol, measured_views
from scoredistill.runs.evaluation.sets import PairwiseLpips
from scoredistill.runs.finish import open_scene
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.journal import record

pytestmark = pytest.mark.usefixtures("toy_presets")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random weights of all metrics, under the names of the published files."""
    folder = tmp_path_factory.mktemp("weights")
    tiny_metrics.save_image_reward(folder)
    torch.save(tiny_metrics.alexnet_weights(), folder / "alexnet-owt-7be5be79.pth")
    torch.save(tiny_metrics.inception_weights(), folder / "weights-inception-2015-12-05-6726825d.pth")
    return folder


@pytest.fixture(scope="module")
def inception(weights: Path) -> Inception:
    return Inception(weights / "weights-inception-2015-12-05-6726825d.pth")


@pytest.fixture(scope="module")
def lpips(weights: Path) -> Lpips:
    return Lpips(weights / "alexnet-owt-7be5be79.pth")


@pytest.fixture(scope="module")
def runs(prior: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of two images."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        recipe = fast(PROMPT, method="sds", scene="image", prior=prior, seed=seed)
        for name, value in {"training.steps": 2, "training.resolution": 32, "scene.count": 2}.items():
            recipe = changed(recipe, name, value)
        for _ in record(RunFolder.create(recipe, folder / f"sds-{seed}"), build(recipe)):
            pass
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three pictures of two sizes, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, size in enumerate((32, 32, 48)):
        rgb = torch.rand(size, size, 3, generator=torch.Generator().manual_seed(number))
        Image.fromarray((255 * rgb).byte().numpy()).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("none")
    return folder


def test_lpips_equals_lpips_0_1_4(lpips: Lpips) -> None:
    """The values are those of lpips.LPIPS(net="alex") on the same weights and images."""
    rgb = torch.rand(3, 3, 80, 72, generator=torch.Generator().manual_seed(4))
    expected = [0.09615971148014069, 0.09258724004030228, 0.09131522476673126]
    assert lpips.pairs(rgb).tolist() == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="31 pixels or more on a side, got 16"):
        lpips.pairs(torch.rand(2, 3, 16, 16))


def test_inception_features_equal_torch_fidelity_0_4(inception: Inception) -> None:
    """The values are those of torch-fidelity's inception-v3-compat on the same weights and images."""
    levels = (torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(6)) * 255).byte()
    found = inception.features(levels / 255).double()
    some = [0.886115, 0.872099, 0.452041, 0.997126, 0.984276, 0.873488, 0.491586, 1.009286]
    assert found[:, 2:6].flatten().tolist() == pytest.approx(some, abs=1e-4)
    assert float(found.sum()) == pytest.approx(6324.007994, rel=1e-5)
    assert float(found.square().sum()) == pytest.approx(27259.424043, rel=1e-5)
    assert float((found[0] - found[1]).square().sum()) == pytest.approx(3.718869, rel=1e-4)


class Few(nn.Module):
    """Features of pictures: their pixels in a few numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width
        self.matrix = torch.randn(48, width, generator=torch.Generator().manual_seed(0))

    def forward(self, levels: Tensor) -> Tensor:
        return levels.flatten(1).float() / 255 @ self.matrix


@pytest.mark.parametrize("width", [4, 40])
def test_fid_and_kid_equal_torchmetrics(width: int) -> None:
    """With more images than features, and with fewer, where the square root is taken of a smaller matrix."""
    rng = torch.Generator().manual_seed(1)
    x, y = ((torch.rand(count, 3, 4, 4, generator=rng) * top).byte() for count, top in ((12, 255), (12, 200)))
    features = Few(width)
    fid = FrechetInceptionDistance(feature=features, input_img_size=(3, 4, 4))
    kid = KernelInceptionDistance(feature=features, subsets=1, subset_size=12)
    for each in (fid, kid):
        each.update(x, real=False)
        each.update(y, real=True)
    ours = frechet_distance(features(x), features(y)).value, kernel_distance(features(x), features(y)).value
    assert ours[0] == pytest.approx(float(fid.compute()), rel=1e-4)
    assert ours[1] == pytest.approx(float(kid.compute()[0]), rel=1e-4)


def test_evaluate_measures_sets_of_seeds(
    runs: list[Path],
    pictures: Path,
    weights: Path,
    lpips: Lpips,
    inception: Inception,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "rows.json"
    names = ["lpips", "fid", "kid", "frechet"]
    flags = ["--metric", *names, "--reference", str(pictures), "--weights", str(weights), "--out", str(out)]
    assert main(["evaluate", *map(str, runs), *flags]) == 0
    rows = json.loads(out.read_text())
    assert "diversity" in capsys.readouterr().out
    images = torch.cat([(255 * open_scene(run)[1].pixels.detach().clamp(0, 1)).round() / 255 for run in runs])
    reference = torch.cat([inception.features(read(path)[None]) for path in sorted(pictures.glob("*.png"))])
    features = inception.features(images)
    for row in rows:
        assert row["set"]["runs"] == 2 and row["set"]["diversity"] > 0 and row["set"]["frechet"] > 0
        assert row["set"]["lpips"] == pytest.approx(float(lpips.pairs(images).mean()), abs=1e-5)
        assert row["set"]["fid"] == pytest.approx(frechet_distance(features, reference).value, rel=1e-4)
        assert row["set"]["kid"] == pytest.approx(kernel_distance(features, reference).value, rel=1e-3)


def read(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path))).movedim(-1, 0) / 255


def test_metrics_of_several_results_have_no_value_for_one(
    prior: str,
    weights: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipe = fast(PROMPT, method="sds", scene="image", prior=prior)
    for name, value in {"training.steps": 1, "training.resolution": 32, "scene.count": 1}.items():
        recipe = changed(recipe, name, value)
    for _ in record(RunFolder.create(recipe, tmp_path / "run"), build(recipe)):
        pass
    assert main(["evaluate", str(tmp_path / "run"), "--metric", "lpips", "--weights", str(weights)]) == 0
    assert "lpips has no value: it compares results of several seeds" in caplog.text
    flags = ["--metric", "kernel", "--reference", "prior"]
    assert main(["evaluate", str(tmp_path / "run"), *flags]) == 0
    assert "kernel has no value: a distance needs two views or more" in caplog.text


def test_a_damaged_reference_picture_is_an_error_before_any_run_is_rendered(
    runs: list[Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "pictures"
    shutil.copytree(pictures, damaged)
    (damaged / "z.png").write_bytes(next(pictures.glob("*.png")).read_bytes()[:100])
    assert main(["evaluate", *map(str, runs), "--metric", "kernel", "--reference", str(damaged)]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "z.png is no picture that can be read" in printed.err


def test_compare_shows_sets(runs: list[Path], weights: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    flags = ["--metric", "lpips", "frechet", "--reference", "prior", "--weights", str(weights), "--out", str(page)]
    assert main(["compare", *map(str, runs), "--frames", "2", "--resolution", "16", *flags]) == 0
    assert "Several seeds" in page.read_text() and "<th>lpips</th>" in page.read_text()
    assert f"--metric lpips frechet --reference prior --weights {weights}" in page.read_text()  # the command
    assert "set.lpips" in page.with_suffix(".csv").read_text()


def test_views_of_3d_scenes_are_compared_at_the_same_camera(lpips: Lpips) -> None:
    results = torch.rand(3, 2, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    expected = fmean(float(lpips.pairs(results[:, view]).mean()) for view in range(2))
    recipe = fast(PROMPT)
    assert PairwiseLpips(lpips)(results, recipe) == pytest.approx({"lpips": expected})
    assert PairwiseLpips(lpips)(results[:1], recipe) == {}


def test_the_papers_protocol_is_their_camera_and_background() -> None:
    assert (PROTOCOLS["sdi"].views, PROTOCOLS["sdi"].resolution) == (50, 512)
    assert paper(PROMPT, method="sdi", prior="sd").views.evaluation() == (2.0, 70.0)
    recipe = changed(fast(PROMPT, scene="nerf"), "scene.environment.learned", True)
    scene = build(recipe).scene
    views = measured_views(recipe, scene, Protocol(3, 16, official=True))
    assert views.cameras is not None and views.opacity is not None and len(views.rgb) == 3
    radius, fov_deg = recipe.views.evaluation()
    assert views.cameras.c2w[:, :3, 3].norm(dim=-1).tolist() == pytest.approx([radius] * 3)
    assert math.degrees(float(views.cameras.fov[0])) == pytest.approx(fov_deg)
    _, directions = views.cameras.rays()
    behind = scene.environment.color(directions.reshape(-1, 3)).reshape(directions.shape).movedim(-1, 1)
    quiet = (views.opacity < 1e-3).expand_as(views.rgb)
    assert quiet.any()
    torch.testing.assert_close(views.rgb[quiet], behind.detach()[quiet], rtol=0, atol=2e-3)


def test_bad_input_is_one_line(
    runs: list[Path],
    pictures: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    damaged, single = tmp_path / "damaged", tmp_path / "single"
    damaged.mkdir()
    single.mkdir()
    (damaged / "alexnet-owt-7be5be79.pth").write_bytes(b"PK\x03\x04 cut off")
    Image.new("RGB", (16, 16)).save(single / "a.png")
    both = ["--weights", str(weights)]
    for flags, reason in (
        (["lpips"], "curl -fL --create-dirs -o"),
        (["lpips", "--weights", str(damaged)], "is damaged, cut off"),
        (["image-reward", "--weights", str(damaged)], "hf download THUDM/ImageReward"),
        (["fid", *both], "--reference prior"),
        (["lpips", *both, "--reference", str(pictures)], "reference has no effect"),
        (["fid", *both, "--reference", str(single)], "holds 1 pictures"),
        (["fid", *both, "--reference", "/nowhere"], "a folder of pictures"),
        (["clip-score", *both], "weights has no effect"),
        (["fidd"], "nearest known: fid"),
        (["clip-score", "--clip", "a/b/c"], "clip must be"),
        (["clip-score", "--protocol", "sda"], "protocol"),
    ):
        assert main(["evaluate", str(runs[0]), "--metric", *flags]) == 2, flags
        line = capsys.readouterr().err.strip()
        assert reason in line and "\n" not in line, (flags, line)
