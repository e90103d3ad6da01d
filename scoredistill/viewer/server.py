"""viser's server on this machine only: other machines and other web pages are refused, and nothing is shared."""

from __future__ import annotations

import contextlib
import io
from typing import Annotated, Any

from scoredistill.config import Range

HOST = "127.0.0.1"
LOCAL = (HOST, "localhost", "[::1]")
"""Names of this machine in the address of a page, as at the near end of a tunnel."""
PORT = 8080
Server = Any  # viser.ViserServer: viser is imported when a page is asked for
Client = Any  # viser.ClientHandle, one open page
Port = Annotated[int, Range(1024, 60_000)]  # viser tries up to 1000 further ports
INSTALL = 'pip install "scoredistill[view]"'


def check_installed() -> None:
    """ValueError in one line with the command that installs viser, where it is missing."""
    try:
        import viser  # noqa: F401
    except ImportError as error:
        raise ValueError(f"a view in the browser needs viser: {INSTALL} ({error})") from None


@contextlib.contextmanager
def quiet() -> Any:
    """Within the context nothing is printed: viser announces its addresses in a box."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def local_server(port: int | None, label: str) -> Server:
    """A running server on `HOST` at `port`, or at a free one from `PORT` on; `label` is the title of its panel.

    ValueError in one line where viser is not installed or the port is in use.
    """
    check_installed()
    import viser
    from viser import _messages

    with quiet():
        server = viser.ViserServer(HOST, PORT if port is None else port, label=label, verbose=False)
    if port not in (None, server.get_port()):
        stop(server)
        raise ValueError(f"port {port} of {HOST} is in use or not allowed: choose another, or leave out --port")
    sockets = server._websock_server
    for message in (_messages.ShareUrlRequest, _messages.ShareUrlDisconnect):  # a tunnel through viser's own host
        sockets.unregister_handler(message)
    server.gui.configure_theme(show_logo=False, show_share_button=False)
    server.gui.main_panel.dock_right()  # beside the picture, not over it

    async def refuse_other_pages(client: Any) -> None:
        connection: Any = sockets._live_connections[client.client_id]
        headers = connection.request.headers
        if not from_this_machine(headers.get("Host", ""), headers.get("Origin")):
            await connection.close(1008, "only pages of this server may connect")

    sockets.on_client_connect(refuse_other_pages)
    return server


def stop(server: Server) -> None:
    """Stop a server without a word."""
    with quiet():
        server.stop()


def address(server: Server) -> str:
    """What to open in the browser."""
    return f"http://{HOST}:{server.get_port()}"


def from_this_machine(host: str, origin: str | None) -> bool:
    """Whether a connection to `host` (NAME:PORT) was opened by this server's own page, or by a program without a page.

    Any page in a browser may try to connect to a local port; its address comes as the origin.
    """
    return host.rpartition(":")[0] in LOCAL and origin in (None, f"http://{host}")
