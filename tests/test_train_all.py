"""The training of everything in one go, in small: what it trains can be loaded."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from scoredistill.evaluate.part_meter import SEEN, PartMeter
from scoredistill.priors.load import load_prior
from tools.train_all import STAGES, minutes, train_all, words


def test_a_rehearsal_trains_a_prior_from_nothing(tmp_path: Path) -> None:
    flags = argparse.Namespace(minutes=0.01, out=tmp_path, seed=0, views=16, batch=4)
    train_all([stage for stage in STAGES if stage.name == "toybox-prior"], flags)
    load_prior(str(tmp_path / "weights" / "toybox-prior.safetensors"))
    card = (tmp_path / "weights" / "toybox-prior.md").read_text()
    assert re.search(r"\| training \| \d+ steps of 4 images", card)


def test_a_rehearsal_trains_the_part_meter(tmp_path: Path) -> None:
    flags = argparse.Namespace(minutes=0.01, out=tmp_path, seed=0, views=32, batch=4)
    train_all([stage for stage in STAGES if stage.name == "toybox-parts"], flags)
    PartMeter.load(tmp_path / "weights" / "toybox-parts.safetensors")
    card = (tmp_path / "weights" / "toybox-parts.md").read_text()
    assert "The last 8 views are held out" in card
    assert all(f"\n| {part} | 8 |" in card for part in SEEN)


def test_the_shares_divide_the_time_and_name_every_tool() -> None:
    assert abs(sum(stage.share for stage in STAGES) - 1) < 1e-9
    flags = argparse.Namespace(minutes=10, out=Path("x"), seed=0, views=None, batch=None)
    for stage in STAGES:
        assert Path(words(stage, flags)[1]).is_file()
        spent = [float(word) for word in minutes(stage, 2.0)[1::2]]
        assert abs(sum(spent) - 2) < 1e-3
