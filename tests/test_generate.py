"""Runs from Python: equal to the command line's, shown in a notebook, exported."""

from __future__ import annotations

import base64
import io
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow
from tiny import PROMPT

from scoredistill import distill_image, generate
from scoredistill.cli import main
from scoredistill.methods.sdi import SDI
from scoredistill.recipes.presets import PRESETS, recipe_of
from scoredistill.recipes.recipe import changed

pytestmark = pytest.mark.usefixtures("toy_presets")


def test_a_run_from_python_is_that_of_the_command_line(prior: str, tmp_path: Path) -> None:
    assert (
        main(["generate", PROMPT, "--prior", prior, "--steps", "3", "--scale", "2", "--out", str(tmp_path / "a")]) == 0
    )
    records: list[int] = []
    settings = {"prior": prior, "steps": 3, "scale": 2.0}
    result = generate(PROMPT, **settings, out=tmp_path / "b", progress=lambda each: records.append(each["step"]))
    assert (tmp_path / "a" / "mesh.glb").read_bytes() == (tmp_path / "b" / "mesh.glb").read_bytes()
    assert (tmp_path / "a" / "config.yaml").read_text() == (tmp_path / "b" / "config.yaml").read_text()
    assert result.folder == tmp_path / "b"
    assert result.metrics == json.loads((tmp_path / "b" / "metrics.json").read_text())
    assert records == sorted(records)
    assert len(records) == 3
    in_memory = generate(PROMPT, **settings, progress=False)
    weights, saved = in_memory.scene.state_dict(), result.scene.state_dict()
    assert all(torch.equal(weights[name], saved[name]) for name in weights)


def test_a_changed_preset_does_not_change_an_older_folder(
    prior: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`resume`, `render` and `export` take every setting from the folder."""
    before, after = tmp_path / "before", tmp_path / "after"
    assert main(["generate", PROMPT, "--prior", prior, "--steps", "3", "--out", str(before)]) == 0
    shutil.copytree(before, after)

    def finish(folder: Path) -> None:
        assert main(["resume", str(folder), "--steps", "5"]) == 0
        assert main(["render", str(folder), "--frames", "2", "--resolution", "16"]) == 0
        assert main(["export", str(folder), "--format", "obj"]) == 0

    finish(before)
    edited = changed(PRESETS["fast"](PROMPT, prior=prior), "scene.samples", 7)
    monkeypatch.setitem(PRESETS, "fast", lambda *args, **choices: edited)
    monkeypatch.setattr(SDI, "TOYBOX", {"scale": 99.0})
    finish(after)
    for name in ("config.yaml", "mesh.glb", "mesh.obj", "preview.png", "turntable.mp4"):
        assert (before / name).read_bytes() == (after / name).read_bytes(), name


def test_without_a_folder_nothing_is_written(
    prior: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = generate(PROMPT, prior=prior, steps=2, progress=False)
    assert result.folder is None
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""
    assert result.render([0.0, 180.0], resolution=16).shape == (2, 3, 16, 16)
    result.export(tmp_path / "toy.ply")
    assert (tmp_path / "toy.ply").stat().st_size > 100
    with pytest.raises(ValueError, match="names no format"):
        result.export("toy.stl")


def test_images_are_shown_in_a_notebook_with_their_prompt_escaped(prior: str) -> None:
    result = distill_image(PROMPT, prior=prior, count=3, steps=2, progress=False)
    result = replace(result, recipe=changed(result.recipe, "prompt.text", "a red <b>car</b>"))
    assert result.render([0.0]).shape == (3, 3, 64, 64)
    assert result.image.size[0] >= 2 * 64
    html = result._repr_html_()
    assert "<b>" not in html
    assert "a red &lt;b&gt;car" in html
    source = Sources(html).sources[0]
    shown = Pillow.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/png;base64,"))))
    assert shown.tobytes() == result.image.tobytes()


class Sources(HTMLParser):
    """The sources of the images of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name == "src"]


def test_settings_are_named_short_or_by_their_path() -> None:
    recipe = recipe_of(PROMPT, "fast", {"method": "sds", "scale": 5.0, "scene__samples": 24, "seed": 7})
    assert (recipe.method.scale, recipe.scene.samples, recipe.training.seed) == (5.0, 24, 7)  # type: ignore[attr-defined]
    for settings, message in (
        ({"stepz": 3}, "unknown setting 'stepz'; .*steps"),
        ({"scene__sample": 3}, "sample"),
        ({"steps": 0}, "steps must be"),
        ({"method": "sdx"}, "unknown method 'sdx'"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe_of(PROMPT, "fast", settings)
    with pytest.raises(ValueError, match=r"unknown preset 'fats'; .*fast"):
        generate(PROMPT, preset="fats")
