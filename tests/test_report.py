"""Rows and tables, with a judge that reads the answer from the first pixel."""

import json
import math

import pytest
import torch

from scoredistill.camera import ring
from scoredistill.evaluate import report
from scoredistill.evaluate.judge import Judge, plain
from scoredistill.evaluate.judge_network import JudgeNetwork, Shape
from scoredistill.toybox import captions

WORDS = ("a purple snowman", "a purple snowman, side view", "a purple cat", "a red snowman")


class Oracle(Judge):
    """Recognizes in an image the caption whose index is encoded in its first pixel."""

    def image_features(self, rgb: torch.Tensor) -> torch.Tensor:
        index = (rgb[:, 0, 0, 0] * 10).round().long()
        return self.text_features(WORDS)[index]


@pytest.fixture
def oracle() -> Oracle:
    torch.manual_seed(0)
    network = JudgeNetwork(Shape(len(captions.VOCABULARY), captions.CONTEXT))
    network.log_scale.data.fill_(math.log(100))
    return Oracle(network)


def images(*indices: int) -> torch.Tensor:
    rgb = torch.rand(len(indices), 3, 16, 16, generator=torch.Generator().manual_seed(2))
    rgb[:, 0, 0, 0] = torch.tensor(indices) / 10
    return rgb


def ball(count: int) -> torch.Tensor:
    opacity = torch.zeros(count, 1, 16, 16)
    opacity[..., 4:12, 4:12] = 1
    return opacity


def test_a_perfect_run(oracle: Oracle) -> None:
    row = report.evaluate_views(oracle, images(0, 0, 0), ball(3), "a purple snowman")
    assert row["similarity"] == pytest.approx(1, abs=1e-5)
    assert (row["kind_right"], row["color_right"], row["retrieval"]) == (1, 1, 1)
    assert (row["seen_as"], row["views"]) == ("a purple snowman", 3)
    assert (row["diverged"], row["reason"]) == (False, "")
    assert row["sharpness"] > 0


def test_wrong_views_are_counted(oracle: Oracle) -> None:
    row = report.evaluate_views(oracle, images(0, 0, 2, 3), ball(4), "a purple snowman")
    assert (row["kind_right"], row["color_right"], row["retrieval"]) == (0.75, 0.75, 0.5)


def test_the_table_by_view_word(oracle: Oracle) -> None:
    # front, side, back, side: the second and the fourth are recognized as side views, the third as a cat
    row = report.evaluate_views(oracle, images(0, 1, 2, 1), ball(4), "a purple snowman", ring(4, 16))
    assert list(row["by_view"]) == ["front view", "side view", "back view"]
    assert row["by_view"]["side view"] == {"views": 2, "kind_right": 1, "color_right": 1, "view_right": 1}
    assert row["by_view"]["back view"]["kind_right"] == 0
    assert row["kind_right"] == 0.75
    json.dumps(row)


def test_a_diverged_run_has_a_row(oracle: Oracle) -> None:
    row = report.evaluate_views(oracle, images(0, 0) * float("nan"), ball(2), "a purple snowman")
    assert (row["diverged"], row["reason"]) == (True, "not finite")
    json.dumps(row, allow_nan=False)
    assert report.evaluate_views(oracle, images(0), torch.zeros(1, 1, 16, 16), WORDS[0])["reason"] == "empty"


def test_given_captions_replace_the_plain_captions(oracle: Oracle) -> None:
    row = report.evaluate_views(oracle, images(2, 2), None, "a purple snowman", others=["a red snowman"])
    assert row["retrieval"] in (0, 1)
    closer = oracle.retrieval(images(2), ["a purple snowman", "a red snowman"])[0]
    assert row["retrieval"] == float(closer == "a purple snowman")


def test_expected_kind_and_color_of_a_prompt() -> None:
    assert report.expected("a small purple snowman with a green hat") == ("snowman", "purple")
    assert report.expected("a strawberry") == ("strawberry", "red")
    with pytest.raises(ValueError, match="names none"):
        report.expected("a purple")


def test_other_captions_exclude_the_meaning_of_the_prompt() -> None:
    others = report.other_captions("a small purple snowman with a green hat")
    assert len(others) == len(set(others)) == 299
    assert plain("snowman", "purple") not in others


def test_summary_is_mean_and_sample_sd_by_method() -> None:
    rows = [
        {"method": "sdi", "kind_right": 1.0, "diverged": False},
        {"method": "sds", "kind_right": 0.5, "diverged": True},
        {"method": "sdi", "kind_right": 0.5, "diverged": False},
    ]
    sdi, sds = report.summarize(rows)
    assert (sdi["method"], sdi["runs"]) == ("sdi", 2)
    assert sdi["kind_right"]["mean"] == 0.75
    assert sdi["kind_right"]["sd"] == pytest.approx(math.sqrt(0.125))
    assert sds["kind_right"] == {"mean": 0.5, "sd": None}
    assert sds["diverged"]["mean"] == 1
    assert "retrieval" not in sdi


def test_markdown() -> None:
    rows = [
        {"method": "sdi", "runs": 2, "kind_right": {"mean": 0.75, "sd": 0.25}},
        {"method": "sds", "runs": 1, "kind_right": {"mean": 0.5, "sd": None}},
    ]
    assert report.markdown(rows, digits=2) == (
        "| method | runs | kind_right |\n|---|---|---|\n| sdi | 2 | 0.75 ± 0.25 |\n| sds | 1 | 0.50 |\n"
    )
    assert report.markdown([]) == ""


def test_distances_of_a_set_to_itself(oracle: Oracle) -> None:
    rgb = images(0, 1, 2, 3)
    distances = report.set_distances(oracle, rgb, rgb)
    assert distances["frechet"].value == pytest.approx(0, abs=1e-4)
    assert distances["kernel"].value < 0  # unbiased: a set is nearer to itself than to a fresh one
    assert (distances["frechet"].count, distances["frechet"].other) == (4, 4)
