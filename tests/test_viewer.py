"""Runs in the browser: the picture is the scene's own render, a watched run keeps its bits, nobody else gets in."""

from __future__ import annotations

import html
import io
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zstandard
from PIL import Image
from test_folder import same
from tiny import PROMPT, fast
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from scoredistill.camera import Cameras
from scoredistill.cli import main
from scoredistill.cli.signals import Signals
from scoredistill.export.glb import pack
from scoredistill.export.images import normal_image, png
from scoredistill.recipes.build import background_color, build, build_scene
from scoredistill.recipes.recipe import Recipe, changed
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.journal import record
from scoredistill.runs.log import Record
from scoredistill.runs.renders import ELEVATION_DEG, render_views, ring_cameras
from scoredistill.viewer import picture
from scoredistill.viewer import viewer as viewers
from scoredistill.viewer.live import Live
from scoredistill.viewer.mesh import read_mesh
from scoredistill.viewer.server import HOST, from_this_machine, local_server, stop
from scoredistill.viewer.viewer import Viewer
from scoredistill.viewer.watch import Watch

pytestmark = pytest.mark.usefixtures("toy_presets")

HOSTILE = "<img src=//x.example/y onerror=alert(1)> **bold** [a](//x.example)"
SIZE = 16
FINE = 256  # the height of a picture at rest, unless a page chooses another


def tiny_recipe(prior: str, scene: str = "nerf", prompt: str = PROMPT) -> Recipe:
    recipe = fast(prompt, scene=scene, prior=prior)
    sizes = {"training.steps": 4, "training.batch": 1, "training.resolution": SIZE, "training.save_every": 1}
    for name, value in (sizes | {"method.steps_per_unit": 2.0, "output.preview_every": 0}).items():
        recipe = changed(recipe, name, value)
    return recipe


@pytest.fixture
def server() -> Iterator[Any]:
    found = local_server(None, "test")
    yield found
    stop(found)


def page(server: Any, origin: str | None = "") -> ClientConnection:
    """A connection as the page of a browser opens it; by default the page is the server's own."""
    import viser

    place = f"{HOST}:{server.get_port()}"
    origin = f"http://{place}" if origin == "" else origin
    protocols: Any = [f"viser-v{viser.__version__}"]
    return connect(f"ws://{place}", origin=origin, subprotocols=protocols, max_size=None)  # type: ignore[arg-type]


def arriving(connection: ClientConnection) -> Iterator[dict[str, Any]]:
    """All messages of the server, as they come."""
    while True:
        content = connection.recv(timeout=60)
        assert isinstance(content, bytes)
        packed = int.from_bytes(content[8:16], "little")
        yield from msgspec.msgpack.decode(zstandard.decompress(content[16 : 16 + packed]))["messages"]


def message(connection: ClientConnection, wanted: str) -> dict[str, Any]:
    """The next message of this type."""
    return next(each for each in arriving(connection) if each["type"] == wanted)


def background(connection: ClientConnection) -> np.ndarray:
    """The next picture [H W 3] that the server sends."""
    while not (content := message(connection, "BackgroundImageMessage")["rgb_data"]):
        pass  # the reset of a new server
    return np.asarray(Image.open(io.BytesIO(content)))


def look(connection: ClientConnection, cameras: Cameras) -> None:
    """Move the camera of the page."""
    import viser

    c2w = cameras.c2w[0].double().numpy()
    about = {
        "type": "ViewerCameraMessage",
        "wxyz": viser.transforms.SO3.from_matrix(c2w[:3, :3]).wxyz.tolist(),
        "position": c2w[:3, 3].tolist(),
        "fov": float(cameras.fov[0]),
        "near": 0.01,
        "far": 1000.0,
        "image_height": 300,
        "image_width": 300,
        "look_at": [0.0, 0.0, 0.0],
        "up_direction": [0.0, 1.0, 0.0],
    }
    connection.send(msgspec.msgpack.encode(about))


def press(connection: ClientConnection, server: Any, label: str) -> None:
    """Press a button of the page."""
    (button,) = [
        each for each in server.gui._gui_input_handle_from_uuid.values() if getattr(each, "label", "") == label
    ]
    about = {"type": "GuiUpdateMessage", "uuid": button._impl.uuid, "updates": {"value": True}}
    connection.send(msgspec.msgpack.encode(about))


def front(recipe: Recipe) -> Cameras:
    """The first camera of turntables."""
    return ring_cameras(recipe, 1, 64)


@pytest.mark.parametrize("scene", ["nerf", "splats"])
def test_the_picture_is_the_render(prior: str, scene: str) -> None:
    """From the front, and equal to what previews show: colors, normals, opacity."""
    recipe = tiny_recipe(prior, scene)
    field = build_scene(recipe)
    frame = render_views(recipe, field, [0.0], [ELEVATION_DEG], 64)
    expected = {"color": frame.rgb, "normals": normal_image(frame, background_color(recipe)), "opacity": frame.opacity}
    for kind, images in expected.items():
        found = picture.render(recipe, field, front(recipe), kind)
        assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(png(images[0].expand(3, -1, -1))))))
    assert picture.render(recipe, field, front(recipe), "depth").std() > 0


def test_a_page_receives_the_render_of_its_camera(prior: str, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the socket, lossless: the coarse picture at once, the fine one when the camera rests."""
    recipe = tiny_recipe(prior)
    viewer = Viewer(server, recipe, build_scene(recipe), Path("none.glb"))
    with page(server) as connection:
        look(connection, front(recipe))
        monkeypatch.setattr(viewers, "REST", 1e9)  # seconds: it moves for ever
        wait_for(viewer.work)
        assert background(connection).shape == (FINE // viewers.COARSE, FINE // viewers.COARSE, 3)
        while viewer.work():  # the first move of a page may count twice
            background(connection)
        monkeypatch.setattr(viewers, "REST", 0.0)
        wait_for(viewer.work)
        while (image := background(connection)).shape != (FINE, FINE, 3):
            wait_for(viewer.work)
    expected = picture.render(recipe, viewer.scene, ring_cameras(recipe, 1, FINE), "color")
    assert np.abs(image.astype(int) - expected).max() <= 1  # the pose went through a quaternion


def test_splats_are_sent_as_they_are_rendered(prior: str) -> None:
    recipe = tiny_recipe(prior, "splats")
    gaussians = build_scene(recipe).gaussians()
    sent = picture.splats(gaussians)
    assert np.allclose(sent["centers"], gaussians.means.detach().numpy())
    variances = np.linalg.eigvalsh(sent["covariances"])
    assert np.allclose(variances, np.sort(gaussians.stds.detach().numpy() ** 2, -1), rtol=1e-3)
    assert sent["rgbs"].min() >= 0
    assert sent["opacities"].shape == (len(gaussians.means), 1)


def test_only_the_own_page_may_connect(server: Any) -> None:
    """A page of another site in the same browser is refused, and so is a name that only leads to this machine."""
    assert server.get_host() == HOST == "127.0.0.1"
    with page(server, "http://evil.example") as connection, pytest.raises(ConnectionClosed) as closed:
        connection.recv(timeout=60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    with page(server) as connection:
        assert connection.recv(timeout=60)
    assert from_this_machine("localhost:9000", "http://localhost:9000")  # through a tunnel
    assert from_this_machine("127.0.0.1:8080", None)
    assert not from_this_machine("evil.example:8080", "http://evil.example:8080")


def test_a_busy_port_is_one_line_and_the_default_moves_on(server: Any, tmp_path: Path, prior: str, capsys: Any) -> None:
    out = tmp_path / "run"
    port = str(server.get_port())
    flags = ["--steps", "1", "--prior", prior, "--out", str(out)]
    assert main(["image", PROMPT, *flags, "--view", "--port", port]) == 2
    assert f"port {port} of 127.0.0.1 is in use" in capsys.readouterr().err
    assert main(["image", PROMPT, *flags, "--port", port]) == 2
    assert "add --view" in capsys.readouterr().err
    assert not out.exists()
    other = local_server(None, "second")
    assert other.get_port() != server.get_port()
    stop(other)


def test_a_missing_viser_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    assert main(["view", str(tmp_path)]) == 2
    assert 'pip install "scoredistill[view]"' in capsys.readouterr().err


def test_a_hostile_prompt_is_text(prior: str, server: Any) -> None:
    recipe = tiny_recipe(prior, prompt=HOSTILE)
    Viewer(server, recipe, build_scene(recipe), Path("none.glb")).panel.add_details(recipe)
    with page(server) as connection:
        texts = (each["props"]["content"] for each in arriving(connection) if each["type"] == "GuiHtmlMessage")
        contents = list(itertools.islice(texts, 4))
    assert sum(html.escape(HOSTILE) in content for content in contents) == 2  # the title, and among the settings
    assert not any("<img" in content or "<a" in content for content in contents)


def test_a_mesh_that_leads_elsewhere_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "mesh.glb"
    parts: tuple[dict[str, Any], ...] = ({"images": [{"uri": "http://x.example"}]}, {"extensionsUsed": ["KHR_draco"]})
    for about in parts:
        path.write_bytes(pack(about, []))
        assert read_mesh(path) is None
    path.write_bytes(pack({"buffers": [{"byteLength": 0}]}, []))
    assert read_mesh(path) == path.read_bytes()


def run(path: Path, recipe: Recipe, live: Any = None) -> list[int]:
    """Take the steps in a folder, shown by `live(folder, scene, signals)`; returns the steps."""
    folder, parts, signals = RunFolder.create(recipe, path), build(recipe), Signals()
    show = live(folder, parts.scene, signals) if live else lambda entry: None
    steps = []
    for entry in record(folder, parts, signals.stop_requested):
        show(entry)
        steps.append(entry["step"])
    return steps


def test_a_watched_run_keeps_its_bits_and_pauses_and_stops(prior: str, server: Any, tmp_path: Path) -> None:
    """Rendered between steps, paused, and stopped after a step with a checkpoint: as Ctrl-C would at that step."""
    recipe = tiny_recipe(prior)
    assert run(tmp_path / "alone", recipe) == [0, 1, 2, 3]

    with page(server) as connection:

        def live(folder: RunFolder, scene: Any, signals: Signals) -> Any:
            shown = Live(server, folder, scene, signals.request_stop, signals.stop_requested)
            look(connection, front(recipe))
            message(connection, "GuiButtonMessage")

            def between(entry: Record) -> None:
                if entry["step"] == 1:
                    press(connection, server, "Pause")
                    wait_for(lambda: shown.paused)
                    threading.Timer(0.5, press, (connection, server, "Stop")).start()
                shown(entry)

            return between

        assert run(tmp_path / "watched", recipe, live) == [0, 1, 2]
        assert background(connection).any()
    folders = [RunFolder.open(tmp_path / name) for name in ("alone", "watched")]
    assert folders[1].checkpoints()[-1] == 2
    states = [folder.load(index=2) for folder in folders]
    for state in states:
        assert state is not None
    assert same(states[0]["scene"], states[1]["scene"])
    assert same(states[0]["streams"], states[1]["streams"])


def wait_for(condition: Any) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_folder_is_followed_without_a_trace(prior: str, server: Any, tmp_path: Path) -> None:
    """Before its first checkpoint, by its newest one later, and at an older one; nothing is written into it."""
    recipe = tiny_recipe(prior)
    folder, parts = RunFolder.create(recipe, tmp_path / "run"), build(recipe)
    watch = Watch(folder.path, server)
    steps = record(folder, parts)
    for _ in range(3):
        next(steps)
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    watch._refresh()
    assert same(parts.scene.state_dict(), dict(watch.scene.state_dict()))
    watch.viewer.panel.state.value = "step 1"
    watch._refresh()
    assert not same(parts.scene.state_dict(), dict(watch.scene.state_dict()))
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before
    folder.path.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="run is gone"):  # which `run` shows
        watch._refresh()
    assert not folder.path.exists()
