"""Priors with one network: all conditions in one forward pass; counts of evaluations; default precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.priors.parametrization import Prediction, eps_from
from scoredistill.schedule import NoiseSchedule

X = Float[Tensor, "B C h w"]
Time = Float[Tensor, "B"]
Rows = TypeVar("Rows")


def stacked(conditions: Sequence[Rows]) -> Rows:
    """Several conditions of one class concatenated along the batch; fields that are None stay None."""

    def rows(name: str) -> Tensor | None:
        parts = [getattr(condition, name) for condition in conditions]
        return None if parts[0] is None else torch.cat(parts)

    kind: Any = type(conditions[0])
    return kind(**{each.name: rows(each.name) for each in fields(kind)})


def part_of(condition: Rows, rows: slice) -> Rows:
    """Some rows of a condition; fields that are None stay None."""
    parts = {each.name: getattr(condition, each.name) for each in fields(cast(Any, condition))}
    kind: Any = type(condition)
    return kind(**{name: None if part is None else part[rows] for name, part in parts.items()})


class NetworkPrior:
    """A prior with one network `net`; conditions are dataclasses of tensors of B rows.

    `calls` and `rows` count evaluations of the network; `name` is for messages.
    """

    views = 1
    name = ""
    schedule: NoiseSchedule
    prediction: Prediction
    net: Any
    calls = rows = 0

    def eps(self, x_t: X, t: Time, *conditions: Any) -> tuple[Tensor, ...]:
        """Noise predictions for each condition, all in one forward pass.

        ValueError unless the number of images is a multiple of the `views` that are denoised jointly;
        FloatingPointError if the network's output for a finite image is not finite.
        """
        if len(x_t) % self.views:
            raise ValueError(
                f"this prior denoises {self.views} views jointly, got {len(x_t)}: take a multiple of {self.views}"
            )
        self.calls, self.rows = self.calls + 1, self.rows + len(conditions) * len(x_t)
        outputs = self.outputs(x_t, t, conditions)
        if not all(bool(output.isfinite().all()) for output in outputs) and bool(x_t.isfinite().all()):
            raise FloatingPointError(
                f"the output of prior {self.name or type(self).__name__} is not finite (NaN or infinity): its weights "
                "are damaged, or its precision does not suffice: try --prior.dtype float32"
            )
        return tuple(eps_from(self.prediction, output, x_t, t, self.schedule) for output in outputs)

    @cached_property
    def evaluated(self) -> Any:
        """The network of predictions without gradients: `net`, unless a prior prepares a faster copy."""
        return self.net

    def outputs(self, x_t: X, t: Time, conditions: Sequence[Any]) -> Sequence[X]:
        """The prediction of `self.net` for each condition."""
        rows = len(conditions)
        return self.output(self.net, x_t.repeat(rows, 1, 1, 1), t.repeat(rows), stacked(conditions)).chunk(rows)

    def output(self, net: nn.Module, x_t: X, t: Time, condition: Any, view: Float[Tensor, "B E"] | None = None) -> X:
        """The prediction of `net`, which has the structure of `self.net`; a learner also conditions it on `view`."""
        raise NotImplementedError


def fast_dtype(device: torch.device) -> torch.dtype:
    """bf16 if the device has instructions for it, otherwise fp16 on a GPU and float32 on a CPU."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    able = getattr(torch.cpu, "get_capabilities", dict)()  # missing in old versions of torch: float32
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32
