"""Compiling a network: equal outputs with and without a compiler; without one there is one warning."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scoredistill.priors import compiled
from scoredistill.priors.compiled import compile_network
from scoredistill.recipes.build import build_prior
from scoredistill.recipes.recipe import PriorConfig


class Network(nn.Module):
    """Two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enter, self.leave = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(nn.functional.silu(self.enter(x)))


@torch.no_grad()
def answer(net: nn.Module, rows: int) -> Tensor:
    return net(torch.linspace(-1, 1, rows * 48).view(rows, 3, 4, 4))


def test_without_a_compiler_the_network_runs_uncompiled_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", (None, "no-such-compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # nothing compiled by others
    compiled._explain.cache_clear()
    torch._dynamo.reset()
    net = Network()
    expected = [answer(net, rows) for rows in (1, 2)]
    compile_network(net)
    with caplog.at_level(logging.WARNING, logger=compiled.__name__):
        found = [answer(net, rows) for rows in (1, 2)]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    (warning,) = (record.message for record in caplog.records if record.name == compiled.__name__)
    assert "no-such-compiler" in warning


def test_an_error_without_words_is_named_by_its_type(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_name: str) -> None:
        raise AssertionError

    monkeypatch.setattr(torch._dynamo, "lookup_backend", fails)
    compiled._explain.cache_clear()
    net = Network()
    with caplog.at_level(logging.WARNING, logger=compiled.__name__):
        run: Any = compiled._compiled_or_plain(torch.fx.symbolic_trace(net), [])
    assert "AssertionError" in caplog.text
    assert torch.equal(answer(run, 1), answer(net, 1))


def test_a_copy_for_a_learner_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks on the copy, which change between calls, have an effect."""
    compiled_graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        compiled_graphs.append(len(inputs))
        return graph.forward

    monkeypatch.setattr(compiled, "_compiled_or_plain", backend)
    torch._dynamo.reset()
    net = Network()
    compile_network(net)
    again = copy.deepcopy(net)
    for shift in (1.0, 2.0):
        handle = again.enter.register_forward_hook(lambda _net, _inputs, output, shift=shift: output + shift)
        hooked = answer(again, 1)
        handle.remove()
        plain = answer(again, 1)
        assert not torch.equal(hooked, plain)
    assert not compiled_graphs
    torch.testing.assert_close(answer(net, 1), plain)
    assert compiled_graphs


def test_the_flag_reaches_the_network(prior: str) -> None:
    for wanted in (False, True):
        built: Any = build_prior(PriorConfig(prior, compile=wanted))
        assert (built.evaluated._compiled_call_impl is not None) == wanted


WITHOUT_NETWORK = """
import torch
from scoredistill.priors.analytic import AnalyticPrior, gaussian
from scoredistill.schedule import cosine


def make():
    one = gaussian(torch.zeros(3, 8, 8), 1.0)
    return AnalyticPrior(one, one, cosine())
"""


def test_a_prior_without_a_network_cannot_be_compiled(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(WITHOUT_NETWORK)
    with pytest.raises(ValueError, match="has no network `net` to compile"):
        build_prior(PriorConfig(f"{tmp_path / 'mine.py'}:make", compile=True))
