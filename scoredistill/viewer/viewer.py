"""The pictures of a scene for every browser: coarse while its camera moves, full when it rests.

Nothing is rendered but in `work`, which the owner of the scene calls when the scene is whole.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoredistill.camera import orbit
from scoredistill.contracts import HasGaussians, HasPixels
from scoredistill.recipes.recipe import Recipe
from scoredistill.runs.renders import ELEVATION_DEG
from scoredistill.viewer import picture
from scoredistill.viewer.mesh import read_mesh
from scoredistill.viewer.panel import Panel
from scoredistill.viewer.server import Client, Server

REST = 0.2  # seconds without a move after which the camera rests
COARSE = 4  # how many times smaller the picture of a moving camera is
WIDEST = 4  # width of a picture relative to its height, at most
SPLATS, MESH, IMAGES = "splats", "mesh", "images"


@dataclass
class Browser:
    """One connected page: its camera, when that moved last, and which picture it has."""

    client: Client
    moved: float
    moves: int = 0
    shown: tuple[int, int] | None = None  # version of the scene, moves of the camera
    fine: bool = False

    def move(self) -> None:
        """Take note of a camera that moves."""
        self.moved = time.monotonic()
        self.moves += 1


class Viewer:
    """A scene in the browsers that are connected to a server; `mesh` is a GLB that is shown where it exists."""

    def __init__(self, server: Server, recipe: Recipe, scene: Any, mesh: Path) -> None:
        self.server, self.recipe, self.scene, self.mesh = server, recipe, scene, mesh
        self.version = 0  # of what is to be shown
        self._drawn: tuple[str, int] | None = None  # kind and version of the splats or the mesh in the browsers
        self._node: Any = None
        self._browsers: dict[int, Browser] = {}
        self._wake = threading.Event()
        self.panel = Panel(server, recipe, self.kinds(), self.touch)
        self._set_camera()
        server.on_client_connect(self._connected)
        server.on_client_disconnect(lambda client: self._browsers.pop(client.client_id, None))

    def kinds(self) -> list[str]:
        """What can be shown of the scene now."""
        if isinstance(self.scene, HasPixels):
            return [IMAGES]
        gaussians = [SPLATS] if isinstance(self.scene, HasGaussians) else []
        return [*picture.KINDS, *gaussians, *([MESH] if self.mesh.is_file() else [])]

    def touch(self) -> None:
        """Something else is to be shown: the scene has changed, or another view of it is chosen."""
        self.version += 1
        self._wake.set()

    def work(self) -> bool:
        """Send at most one picture; whether one was due."""
        now = time.monotonic()
        for browser in list(self._browsers.values()):
            fine = now - browser.moved >= REST
            due = (self.version, browser.moves)
            if browser.shown != due or (fine and not browser.fine):
                browser.shown, browser.fine = due, fine
                self._send(browser.client, fine)
                return True
        return False

    def wait(self, seconds: float) -> None:
        """Wait until a camera moves or something else is to be shown, at most so long."""
        self._wake.wait(seconds)
        self._wake.clear()

    def _connected(self, client: Client) -> None:
        browser = Browser(client, time.monotonic())

        @client.camera.on_update
        def _(camera: Any) -> None:
            browser.move()
            self._wake.set()

        self._browsers[client.client_id] = browser
        self._wake.set()

    def _send(self, client: Client, fine: bool) -> None:
        """Render what a browser sees and send it, lossless."""
        kind = self.panel.kind.value
        self._draw(kind)
        pixels = self._pixels(client, kind, fine)
        if client.client_id in self._browsers:  # its page may be closed by now
            client.scene.set_background_image(pixels, format="png")
            client.flush()

    def _pixels(self, client: Client, kind: str, fine: bool) -> picture.Pixels:
        if kind in (SPLATS, MESH):
            return picture.plain(self.recipe)
        camera = client.camera
        height = max(int(self.panel.size.value) // (1 if fine else COARSE), 16)
        width = max(16, round(height * min(max(camera.aspect, 1 / WIDEST), WIDEST)))
        if kind == IMAGES:
            return picture.flat(self.scene.pixels, camera.image_height, camera.image_width)
        c2w = picture.pose(camera.wxyz, camera.position)
        return picture.render(self.recipe, self.scene, picture.camera(c2w, camera.fov, height, width), kind)

    def _draw(self, kind: str) -> None:
        """Have the browsers draw the splats or the mesh themselves, where these are chosen."""
        wanted = (kind, self.version)
        if wanted == self._drawn:
            return
        self._drawn = wanted
        if self._node is not None:
            self._node.remove()
            self._node = None
        scene = self.server.scene
        if kind == SPLATS:
            self._node = scene.add_gaussian_splats("/splats", **picture.splats(self.scene.gaussians()))
        elif kind == MESH and (content := read_mesh(self.mesh)):
            self._node = scene.add_glb("/mesh", content)

    def _set_camera(self) -> None:
        """The view from the front at the elevation of turntables, y up."""
        import torch

        radius, fov_deg = self.recipe.views.middle()
        angles = torch.tensor([[0.0], [ELEVATION_DEG], [fov_deg]]).deg2rad()
        c2w = orbit(angles[0], angles[1], torch.tensor([radius]), angles[2], 1).c2w[0]
        self.server.scene.set_up_direction("+y")
        start = self.server.initial_camera
        start.position, start.look_at, start.up = c2w[:3, 3].numpy(), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0)
        start.fov = float(angles[2])
