"""Files of weights as a prior: what is damaged, or something else, is one line that names the file and the way out."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file
from tiny import SHAPE, prior_file

from scoredistill.files import check_digest, digest
from scoredistill.priors.load import describe_prior, load_prior
from scoredistill.priors.toybox import WEIGHTS, ToyboxPrior, load
from scoredistill.priors.toybox.prior import save as save_toybox
from scoredistill.priors.toybox.unet import UNet
from scoredistill.priors.weight_files import opened, read_weights

SMALL = save({"a": torch.ones(2, 3), "b": torch.zeros(4)}, {"format": "pt"})
HEADER = int.from_bytes(SMALL[:8], "little")


def complaint(path: Path) -> str:
    """The line of a file that is no prior, the same from its header and from the whole."""
    with pytest.raises(ValueError) as error:
        load_prior(str(path))
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"", "is empty: copy or download it again"),
        ("a.safetensors", SMALL[:4], "no safetensors file, or is damaged or cut off"),
        ("a.safetensors", SMALL[:40], "no safetensors file, or is damaged or cut off"),
        ("a.safetensors", SMALL[:-1], "no safetensors file, or is damaged or cut off"),
        ("a.safetensors", b"\xff" * 7 + b"\x7f" + b"{}", "no safetensors file, or is damaged or cut off"),
        ("a.safetensors", (2**40).to_bytes(8, "little") + b"{}", "no safetensors file, or is damaged or cut off"),
        ("a.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        ("a.safetensors", b"PK\x03\x04" + b"\x00" * 60, "a pickle, which can run code and is never opened"),
        ("a.ckpt", b"\x80\x02cos\nsystem\n", "a pickle, which can run code and is never opened"),
        ("a.pt", b"PK\x03\x04" + b"\x00" * 60, "a pickle, which can run code and is never opened"),
        ("a.bin", b"anything", "a pickle, which can run code and is never opened"),
        ("a.png", b"\x89PNG\r\n", "no safetensors file, or is damaged or cut off"),
    ],
)
def test_damaged_files_and_other_formats(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    assert message in complaint(written(tmp_path / name, content))


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    assert "is a pipe, not a regular file" in complaint(tmp_path / "pipe.safetensors")
    assert "is a device, not a regular file" in complaint(Path("/dev/zero"))
    assert "is a folder, not a regular file" in complaint(tmp_path / "folder.safetensors")
    assert "there is no file" in complaint(tmp_path / "none.ckpt")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("lora_unet_down.lora_up.weight",), "is a LoRA file: name the model it was made for as --prior"),
        (("unet.down_blocks.0.to_q.lora_A.weight",), "is a LoRA file"),
        (("unet.to_q.lora.up.weight",), "is a LoRA file"),
        (("transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight",), "is a LoRA file"),
        (("first_stage_model.decoder.conv_in.weight",), "is an autoencoder (VAE) alone"),
        (("encoder.conv_in.weight", "decoder.conv_in.weight"), "is an autoencoder (VAE) alone"),
        (("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"), "is the network of a model in the layout"),
        (("text_model.embeddings.position_ids",), "is a text encoder alone"),
        (("control_model.time_embed.0.weight",), "is a ControlNet"),
        (("model.diffusion_model.double_blocks.0.img_attn.qkv.weight",), "is a transformer (FLUX, SD3 ...)"),
        (("emb_params",), "is an embedding of textual inversion"),
        (("model.diffusion_model.input_blocks.0.0.weight",), "holds no whole Stable Diffusion"),
        (("x",), "holds tensors of an unknown kind"),
    ],
)
def test_the_error_says_what_a_file_holds(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save_file({name: torch.zeros(4, 4, 3, 3) for name in names}, path)
    assert message in complaint(path)
    assert "--prior takes the weights of a Toybox prior, Stable Diffusion" in complaint(path)


@given(st.integers(0, 8 * (8 + HEADER) - 1))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_a_bit_flipped_in_a_header_is_one_line_or_a_readable_file(bit: int) -> None:
    check_read(bytes([byte ^ (1 << bit % 8) if index == bit // 8 else byte for index, byte in enumerate(SMALL)]))


@given(st.integers(0, len(SMALL) - 1), st.binary(max_size=64))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_a_cut_or_overwritten_file_is_one_line(cut: int, rest: bytes) -> None:
    check_read(SMALL[:cut] + rest)


numbers = st.one_of(st.integers(), st.floats(), st.none(), st.text(max_size=3))
values = st.recursive(numbers, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "F8_E4M3", "none"]) | values,
        "shape": st.lists(st.integers(-1, 2**63), max_size=3) | values,
        "data_offsets": st.lists(st.integers(-1, 2**64), max_size=3) | values,
    }
)
headers = st.dictionaries(st.sampled_from(["a", "b", "__metadata__", "../x"]), entries | values, max_size=3)


@given(headers | values, st.binary(max_size=40))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_any_header_is_one_line_or_a_readable_file(header: object, data: bytes) -> None:
    text = json.dumps(header).encode()
    check_read(len(text).to_bytes(8, "little") + text + data)


def check_read(content: bytes) -> None:
    """The content as a file is read, or ValueError in one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "a.safetensors", content)
        try:
            read_weights(path)
            with opened(path) as file:
                file.metadata()
        except ValueError as error:
            assert "\n" not in str(error)
            assert str(path) in str(error)


def rewritten(path: Path, out: Path, *, metadata: dict[str, str] | None = None, **tensors: torch.Tensor) -> Path:
    """A copy of Toybox weights with other metadata or other tensors."""
    with opened(path) as file:
        found = file.metadata()
    save_file(load_file(path) | tensors, out, found | (metadata or {}))
    return out


def test_toybox_weights_that_are_not_of_their_shape(tmp_path: Path) -> None:
    path, out = prior_file(tmp_path), tmp_path / "out.safetensors"
    shape = SHAPE.as_dict()
    for change, message in {
        "[]": "of the shape in its header",
        "{": "of the shape in its header",
        json.dumps(shape | {"widths": [16, 16]}): "of the shape in its header",
        json.dumps(shape | {"widths": [16, 16, 32]}): "size mismatch",
        json.dumps(shape | {"text_layers": 10**12}): "text_layers is 1000000000000, expected whole numbers",
        json.dumps(shape | {"blocks": [1] * 1000}): "blocks is",
        json.dumps(shape | {"heads": 0}): "heads is 0",
        json.dumps(shape | {"heads": "two"}): "heads is 'two'",
        json.dumps(shape | {"other": 1}): "other",
    }.items():
        assert message in complaint(rewritten(path, out, metadata={"shape": change}))
    assert "known are: UNet, ViewsUNet, PoseUNet" in complaint(rewritten(path, out, metadata={"network": "Other"}))
    assert "was trained on another vocabulary" in complaint(rewritten(path, out, metadata={"vocabulary": "a b"}))
    with pytest.raises(ValueError, match=f"{out} has no Toybox weights"):
        save_file(load_file(path), out)
        load(out)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    path = prior_file(tmp_path)
    name, tensor = next((name, tensor) for name, tensor in load_file(path).items() if tensor.ndim > 1)
    tensor.view(-1)[1] = value
    message = complaint(rewritten(path, tmp_path / "out.safetensors", **{name: tensor}))
    assert f"holds weights that are not finite, in {name}" in message


def test_output_that_is_not_finite_names_the_prior(tmp_path: Path) -> None:
    """Of a network that overflows; but not for an image that is not finite itself."""
    torch.manual_seed(0)
    net = UNet(SHAPE)
    for weight in net.parameters():
        weight.data.fill_(6e4)
    path = tmp_path / "huge.safetensors"
    save_toybox(path, net)
    prior = load_prior(str(path), dtype=torch.float32)
    assert isinstance(prior, ToyboxPrior)
    x_t, t, words = torch.ones(1, 3, 64, 64), torch.tensor([0.5], dtype=torch.float64), prior.encode_text(["a red car"])
    with pytest.raises(FloatingPointError, match=f"output of prior {path} is not finite"):
        prior.eps(x_t, t, words)
    prior.eps(x_t * float("nan"), t, words)


def test_the_embedded_weights_have_their_sums() -> None:
    """In the format of sha256sum, for every file; the sums are checked at every load."""
    folder = WEIGHTS.parent
    listed = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert listed == {path.name: digest(path) for path in folder.glob("*.safetensors")}
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=False).returncode == 0


def test_a_flipped_bit_in_listed_weights_is_refused(tmp_path: Path) -> None:
    """Finite as they are; saving weights enters their sum."""
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  tiny.safetensors\n{'1' * 64}  other\n")
    path = prior_file(tmp_path)
    check_digest(path)
    assert f"{'1' * 64}  other\n{digest(path)}  tiny.safetensors\n" == (tmp_path / "SHA256SUMS").read_text()
    assert describe_prior(str(path)) == ToyboxPrior.needs
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    assert "is damaged or was changed, by its SHA-256 in SHA256SUMS" in complaint(path)
