"""The server below Gradio: where it listens, and how it reaches itself."""

import errno
import functools
import os
import socket
import time
from types import SimpleNamespace
from typing import Any

import gradio.blocks
import httpx
import uvicorn
from gradio import http_server, networking
from gradio.routes import App

from captioner.ui.server.connections import LimitedProtocol, new_connections

FIRST_PORT, NUM_PORTS = 7860, 100  # tried if no port is given
BACKLOG = 128  # so many are accepted at once, before any limit
SWEEP_TICKS = 10  # uvicorn ticks ten times a second


class Server(http_server.Server):
    """Gradio's server, on sockets that are open already and with limits for connections."""

    def __init__(self, app: App, sockets: list[socket.socket]) -> None:
        self._sockets, self._connections = sockets, new_connections()
        protocol: Any = functools.partial(LimitedProtocol, connections=self._connections)
        # uvicorn's log goes the way of all logs.
        config = uvicorn.Config(app, http=protocol, backlog=BACKLOG, log_config=None, access_log=False, ws="none")
        super().__init__(config)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until the end."""
        super().run(sockets or self._sockets)

    async def on_tick(self, counter: int) -> bool:
        """Do what uvicorn does in each tick, and close slow connections once a second."""
        if counter % SWEEP_TICKS == 0:
            self._connections.close_late(time.monotonic())
        return await super().on_tick(counter)


def start_server(
    app: App, server_name: str | None = None, server_port: int | None = None, **_: object
) -> tuple[str, int, str, Server]:
    """Serve `app` from a thread as Gradio's function of this name does. Raise OSError if that is impossible.

    Return (host, port, address of the page on this machine, server).
    """
    host = (server_name or "127.0.0.1").strip("[]")
    sockets = bind(host, server_port)
    port = sockets[0].getsockname()[1]
    server = Server(app, sockets)
    server.run_in_thread()
    own = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return host, port, f"http://{own}:{port}/", server


def bind(host: str, port: int | None) -> list[socket.socket]:
    """Return sockets that listen on all addresses of a host. port: the first free one from FIRST_PORT if None."""
    if port is not None:
        return _bind(host, port)
    first = int(os.environ.get("GRADIO_SERVER_PORT", FIRST_PORT))
    for candidate in range(first, first + NUM_PORTS):
        try:
            return _bind(host, candidate)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    raise OSError(
        errno.EADDRINUSE, f"the ports from {first} to {first + NUM_PORTS - 1} are in use; give another --port"
    )


def _bind(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    unavailable: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(socket.create_server(address, family=family, backlog=BACKLOG))
        except OSError as error:
            unavailable = error
            if error.errno != errno.EADDRNOTAVAIL:  # as ::1 of localhost on a machine without IPv6
                break
    if unavailable and (not sockets or unavailable.errno != errno.EADDRNOTAVAIL):
        for opened in sockets:
            opened.close()
        raise unavailable
    return sockets


def replace_gradio_server() -> None:
    """Make Gradio start this server, and reach it without the proxies of the environment, whatever these are."""
    http_server.start_server = start_server  # type: ignore[assignment]
    direct = functools.partial(httpx.get, trust_env=False)
    gradio.blocks.httpx = SimpleNamespace(get=direct, URL=httpx.URL)  # type: ignore[assignment]
    networking.url_ok = lambda url: True  # Gradio asks after the request above has succeeded
