"""Files of the networks that measure results on Toybox: half precision, with facts in the header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scoredistill.files import check_digest, record_digest, replacing

FOLDER = Path(__file__).parents[1] / "weights"


def read(path: Path, what: str, remedy: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The header and the weights, in single precision; ValueError in one line with the remedy if it cannot be read."""
    if not path.is_file():
        raise ValueError(f"no {what} at {path}: {remedy}")
    check_digest(path)
    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, weights
    except SafetensorError as error:
        raise ValueError(f"the {what} at {path} cannot be read ({error}): {remedy}") from None


def write(network: nn.Module, path: Path, header: Mapping[str, str]) -> None:
    """Write the weights in half precision, and enter their sum in `SHA256SUMS` beside them, if there is one."""
    weights = {name: value.detach().cpu().half().contiguous() for name, value in network.state_dict().items()}
    with replacing(path) as part:
        save_file(weights, part, metadata=dict(header))
    record_digest(path)
