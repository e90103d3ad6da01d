"""Fast kernels compared with their torch references in value and gradient; dispatch; compilation for CUDA."""

from __future__ import annotations

import functools
import importlib
import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scoredistill.camera import ring
from scoredistill.kernels import backend, team
from scoredistill.kernels.composite import composite
from scoredistill.kernels.hashgrid import GridLayout, encode, input_gradient
from scoredistill.kernels.march import Samples, march
from scoredistill.kernels.perceptron import perceptron, uses_warp
from scoredistill.recipes.presets import PRESETS
from scoredistill.render.volume import render_rays
from scoredistill.scenes.nerf import NerfConfig

FOLDER = Path(backend.__file__).with_name("warp")
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if "@wp.kernel" in path.read_text())
CPU_ONLY = {"perceptron_native"}  # on a GPU, torch's matrix products are faster
DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
SIZES = [0, 1, 7, 1000]
LAYOUT = GridLayout(levels=4, coarsest=3, finest=40, table=2**11)  # 64 and 729 dense entries, then hashed ones


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def both(
    function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]
) -> list[tuple[Sequence[Tensor], Sequence[Tensor]]]:
    """Outputs, and gradients of a random linear combination of them, by the reference and by warp."""
    found = []
    for choice in ("torch", "warp"):
        leaves = [value.detach().clone().requires_grad_() for value in inputs]
        with backend.using(choice):
            outputs = function(*leaves)
        weighted = [(output * noise_like(output)).sum() for output in outputs if output.is_floating_point()]
        found.append((outputs, torch.autograd.grad(sum(weighted, torch.zeros(()).to(inputs[0])), leaves)))
    return found


def noise_like(values: Tensor) -> Tensor:
    return torch.randn(values.shape, generator=rng(9)).to(values)


def assert_same(reference: Tensor, fast: Tensor, rel: float = 1e-5) -> None:
    """Maximum error `rel` relative to the largest element, half of that in L2, and the same direction."""
    assert fast.shape == reference.shape
    assert fast.dtype == reference.dtype
    if not reference.is_floating_point():
        assert torch.equal(fast, reference)
        return
    fast, reference = fast.double(), reference.double()
    size = reference.norm()
    if not size:
        assert not fast.norm()
        return
    assert (fast - reference).abs().max() <= rel * reference.abs().max()
    assert (fast - reference).norm() <= rel / 2 * size
    assert (fast * reference).sum() >= (1 - 1e-9) * size * fast.norm()


def assert_equivalent(function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], rel: float = 1e-5) -> None:
    reference, fast = both(function, inputs)
    for one, other in zip([*reference[0], *reference[1]], [*fast[0], *fast[1]], strict=True):
        assert_same(one.detach(), other.detach(), rel)


def points_and_table(count: int, device: str) -> tuple[Tensor, Tensor]:
    points = torch.rand(count, 3, generator=rng()) * 1.2 - 0.1  # some are outside the unit cube
    corners = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.3], [1 / 3, 2 / 3, 1.0]])
    points[: len(corners)] = corners[:count]
    table = torch.randn(sum(LAYOUT.sizes), 2, generator=rng(1))
    return points.to(device), table.to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("active", [4, 2, 0])
def test_hash_grid_equals_reference(count: int, active: int, device: str) -> None:
    if count and not active:
        with backend.using("warp"):
            assert not encode(*points_and_table(count, device), LAYOUT, 0).any()
        return
    if active:
        assert_equivalent(lambda x, v: [encode(x, v, LAYOUT, active)], points_and_table(count, device))


def test_hash_grid_at_paper_size_equals_reference() -> None:
    layout = GridLayout(levels=16, coarsest=16, finest=2048, table=2**14)
    table = torch.randn(sum(layout.sizes), 2, generator=rng(1))
    assert_equivalent(lambda x, v: [encode(x, v, layout, 16)], [torch.rand(300, 3, generator=rng()), table], rel=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [1, 20, 1100])
@pytest.mark.parametrize("active", [4, 2])
def test_second_derivatives_of_the_hash_grid_equal_reference(
    count: int, active: int, device: str, caplog: pytest.LogCaptureFixture
) -> None:
    """For input gradients (analytic normals) and table gradients, without falling back to the reference."""
    backend.warn_once.cache_clear()

    def gradients(of: Sequence[int], *inputs: Tensor) -> list[Tensor]:
        encoded = encode(*inputs, LAYOUT, active)
        return list(torch.autograd.grad((encoded**3).sum(), [inputs[k] for k in of], create_graph=True))

    def points_gradient(points: Tensor, table: Tensor, grad_output: Tensor) -> list[Tensor]:
        return [input_gradient(points, table, grad_output, LAYOUT, active)]

    values = points_and_table(count, device)
    with caplog.at_level(logging.WARNING):
        for of in ([0], [1], [0, 1]):
            assert_equivalent(functools.partial(gradients, of), values, rel=1e-4)
        assert_equivalent(points_gradient, [*values, noise_like(encode(*values, LAYOUT, active))], rel=1e-4)
    assert not caplog.records


def test_fallback_to_the_reference_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Second derivatives of compositing are computed by torch."""
    backend.warn_once.cache_clear()
    samples = random_samples([3, 0, 5], "cpu")
    values = [torch.rand(8, generator=rng()), torch.rand(8, 3, generator=rng(1))]

    def gradient(density: Tensor, albedo: Tensor) -> list[Tensor]:
        loss = (composite(density, albedo, samples, 3).albedo ** 2).sum()
        return list(torch.autograd.grad(loss, [density, albedo], create_graph=True))

    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert_equivalent(gradient, values, rel=1e-4)
    assert sum("second derivatives" in record.message for record in caplog.records) == 1


def rays(device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Rays of two small images, most of which meet a ball of occupied cells."""
    origins, directions = (vectors.reshape(-1, 3).to(device) for vectors in ring(2, 16).rays())
    axis = torch.linspace(-1, 1, 16)
    distance = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2
    return origins, directions, (distance < 0.5).to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("jittered", [False, True])
@pytest.mark.parametrize("count", [0, 1, 7, 512])
def test_marching_equals_reference(count: int, jittered: bool, device: str) -> None:
    origins, directions, occupied = rays(device)
    shift = torch.rand(len(origins), generator=rng()).to(device) if jittered else None
    found = []
    for choice in ("torch", "warp"):
        with backend.using(choice):
            part = slice(200, 200 + count) if count < 512 else slice(None)
            part_shift = None if shift is None else shift[part]
            found.append(march(origins[part], directions[part], occupied, 1.0, 0.037, part_shift))
    for reference, fast in zip(*(vars(samples).values() for samples in found), strict=True):
        assert_same(reference, fast)
    assert len(found[0]) > 5 * count - 10


@pytest.mark.parametrize("device", DEVICES)
def test_marching_through_empty_space_or_past_the_box_gives_no_samples(device: str) -> None:
    origins, directions, occupied = rays(device)
    with backend.using("warp"):
        assert len(march(origins, directions, torch.zeros_like(occupied), 1.0, 0.1)) == 0
        assert len(march(origins, -directions, occupied, 1.0, 0.1)) == 0  # the box is behind all rays


def random_samples(counts: Sequence[int], device: str) -> Samples:
    """Packed samples of rays with the given counts."""
    ray = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts, dtype=torch.long))
    z = 2 + torch.rand(len(ray), generator=rng(2)).sort().values
    return Samples(*(values.to(device) for values in (ray, z, 0.01 + 0.05 * torch.rand(len(ray), generator=rng(3)))))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("counts", [[], [0], [1], [0, 3, 0, 0, 5, 1, 0], [7] * 1000])
@pytest.mark.parametrize("largest_density", [1.0, 30.0])
def test_compositing_equals_reference(counts: list[int], largest_density: float, device: str) -> None:
    samples = random_samples(counts, device)
    density = (largest_density * torch.rand(len(samples), generator=rng())).to(device)
    albedo = torch.rand(len(samples), 3, generator=rng(1)).to(device)

    def fields(density: Tensor, albedo: Tensor) -> list[Tensor]:
        return list(vars(composite(density, albedo, samples, len(counts))).values())

    assert_equivalent(fields, [density, albedo], rel=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(0, 12, 32, 1), (1, 12, 32, 3), (7, 3, 4, 4), (5000, 12, 32, 3), (100, 32, 64, 1)])
def test_perceptron_equals_reference(shape: tuple[int, int, int, int], device: str) -> None:
    points, inputs, hidden, outputs = shape
    shapes = ((points, inputs), (hidden, inputs), (outputs, hidden))
    values = [torch.randn(*size, generator=rng(i)).to(device) for i, size in enumerate(shapes)]
    assert_equivalent(lambda *leaves: [perceptron(*leaves)], values)


@pytest.mark.parametrize("machine", ["x86_64", "another"])
def test_results_do_not_depend_on_the_number_of_threads(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients are bit-identical, in OpenMP's threads and in those of the pool that replaces them."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    team.available.cache_clear()
    points, table = points_and_table(9000, "cpu")
    samples = random_samples([9] * 1000, "cpu")
    hidden, output = torch.randn(32, 8, generator=rng(4)), torch.randn(3, 32, generator=rng(5))
    origins, directions, occupied = rays("cpu")

    def everything() -> list[Tensor]:
        x, v, a = points.clone().requires_grad_(), table.clone().requires_grad_(), hidden.clone().requires_grad_()
        encoded = encode(x, v, LAYOUT, 4)
        albedo = perceptron(encoded, a, output)
        composed = composite(albedo[:, 0].abs(), albedo, samples, 1000)
        loss = (composed.albedo**2).sum() + composed.depth.sum() + composed.z_variance.sum()
        marched = march(origins, directions, occupied, 1.0, 0.037)
        to_points = input_gradient(x, v, encoded.detach(), LAYOUT, 4)
        second = torch.autograd.grad(to_points.square().sum(), (x, v))
        first = torch.autograd.grad(loss, (x, v, a))
        return [encoded, composed.weight, to_points, *second, *first, *vars(marched).values()]

    with backend.using("warp"):
        found = []
        for threads in (1, 2, 3):
            monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
            found.append(everything())
    team.available.cache_clear()
    for one, two, three in zip(*found, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


@pytest.mark.parametrize(("count", "threads"), [(1, 4), (5000, 4), (100_000, 3), (4096, 1)])
def test_slices_cover_the_indices(count: int, threads: int) -> None:
    for grain in (None, 1000):
        slices = backend.slices(count, threads, grain)
        assert [i for begin, end in slices for i in range(begin, end)] == list(range(count))
        assert len(slices) <= (threads if grain is None else -(-count // grain))


@pytest.mark.parametrize("normals_at", ["surface", "samples"])
def test_rendered_rays_equal_reference(normals_at: str) -> None:
    """`render_rays` of a soft ball with both backends."""

    class Ball:
        def evaluate(self, points: Tensor) -> tuple[Tensor, Tensor]:
            return 20 * torch.relu(0.6 - points.norm(dim=-1)), torch.sigmoid(points)

        def normal(self, points: Tensor) -> Tensor:
            return torch.nn.functional.normalize(points, dim=-1)

    origins, directions, occupied = rays("cpu")
    found = []
    for choice in ("torch", "warp"):
        with backend.using(choice):
            samples = march(origins, directions, occupied, 1.0, 0.05)
            found.append(render_rays(Ball(), origins, directions, samples, normals_at=normals_at))  # type: ignore[arg-type]
    for reference, fast in zip(*(vars(colors).values() for colors in found), strict=True):
        assert_same(reference, fast, rel=1e-4)


def test_the_official_recipe_runs_on_kernels(caplog: pytest.LogCaptureFixture) -> None:
    """Analytic normals at every sample, a random lamp, all regularizers: torch's image and gradients, by kernels alone.

    Image to 1e-5 and gradients to 1e-4 of their norms: rounding may turn a ReLU on at one of 64 units of a few thousand
    points.
    """
    backend.warn_once.cache_clear()
    recipe = PRESETS["paper"]()
    assert isinstance(recipe.scene, NerfConfig)
    light = replace(recipe.scene.lambert, after=0, albedo_share=0.0, textureless_share=0.0)
    small = replace(recipe.scene.grid, table=2**12)
    scene = replace(recipe.scene, grid=small, first_levels=small.levels, lambert=light, tile=40).build(
        rng=rng(), steps=1, resolution=8
    )
    cameras = recipe.views.cameras(1, rng(3), resolution=8)
    found = []
    for choice in ("torch", "warp"):
        scene.zero_grad()
        with backend.using(choice), caplog.at_level(logging.WARNING):
            frame = scene.render(cameras, torch.ones(3), rng(1))
            (noise_like(frame.rgb) * frame.rgb).sum().add(scene.regularizer(frame, cameras, 0.2)).backward()
        grads = {name: value.grad for name, value in scene.named_parameters() if value.grad is not None}
        found.append({"image": frame.rgb.detach()} | grads)
    assert not caplog.records
    for network in (scene.field.density_mlp, scene.field.albedo_mlp):
        assert uses_warp(torch.zeros(1, scene.field.layout.width), *network.parameters())
    assert len(found[0]) == 6
    for name, expected in found[0].items():
        assert (found[1][name] - expected).norm() <= (1e-5 if name == "image" else 1e-4) * expected.norm()


def test_using_takes_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "torch")
    assert not backend.use_warp(torch.zeros(1))
    with backend.using("auto"):
        assert backend.use_warp(torch.zeros(1))
        with backend.using("torch"):
            assert not backend.use_warp(torch.zeros(1))
    monkeypatch.setenv(backend.VARIABLE, "fast")
    with pytest.raises(ValueError, match="must be one of auto, torch, warp"):
        backend.use_warp(torch.zeros(1))


def test_fallback_for_other_dtypes_and_devices_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    backend.warn_once.cache_clear()
    with backend.using("auto"), caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert not backend.use_warp(torch.zeros(1, dtype=torch.float64))
            assert not backend.use_warp(torch.zeros(1, device="meta"))
    assert [record.message.split(": ")[1] for record in caplog.records] == [
        "warp's kernels are for float32, not torch.float64",
        "warp has no kernels for meta",
    ]
    with backend.using("warp"), pytest.raises(ValueError, match="no kernels for meta"):
        backend.use_warp(torch.zeros(1, device="meta"))


@pytest.mark.parametrize("name", [name for name in MODULES if name not in CPU_ONLY])
def test_kernels_compile_for_old_and_new_gpus(name: str, tmp_path: Path) -> None:
    """sm_75 (Turing) and sm_90 (Hopper). No GPU is needed: the warp wheel includes the compiler NVRTC."""
    assert not backend.unavailable(torch.device("cpu"))
    import warp as wp

    if not {75, 90} <= set(wp.get_cuda_supported_archs()):
        pytest.skip("this platform's warp wheel has no NVRTC for sm_75 and sm_90")
    module = importlib.import_module(f"scoredistill.kernels.warp.{name}")
    files = wp.compile_aot_module(module, arch=[75, 90], module_dir=tmp_path, use_ptx=False)
    assert sorted(path.suffixes[-2:] for path in files) == [[".sm75", ".cubin"], [".sm90", ".cubin"]]
    assert all(path.read_bytes()[:4] == b"\x7fELF" for path in files)
