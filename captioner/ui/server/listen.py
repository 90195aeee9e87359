"""The server below Gradio: where it listens, and how it reaches itself."""

import errno
import functools
import os
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import gradio.blocks
import httpx
import uvicorn
from gradio import http_server, networking
from gradio.routes import App

from captioner.errors import CaptionerError
from captioner.system.roots import shown_path
from captioner.ui.server.connections import LimitedProtocol, new_connections
from captioner.ui.server.options import MAX_PORT, first_port

NUM_PORTS = 100  # tried if no port is given
BACKLOG = 128  # so many are accepted at once, before any limit
SWEEP_TICKS = 10  # uvicorn ticks ten times a second
UNAVAILABLE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # as ::1 of localhost on a machine without IPv6


class Server(http_server.Server):
    """Gradio's server, on sockets that are open already and with limits for connections."""

    def __init__(self, app: App, sockets: list[socket.socket]) -> None:
        self._sockets, self._connections = sockets, new_connections()
        protocol: Any = functools.partial(LimitedProtocol, connections=self._connections)
        # uvicorn's log goes the way of all logs.
        quiet: Any = {"log_config": None, "access_log": False}
        # workers: given, or a variable would be read as a number
        super().__init__(uvicorn.Config(app, http=protocol, backlog=BACKLOG, ws="none", workers=1, **quiet))

    def run_in_thread(self) -> None:
        """Serve from a thread, and return when it answers. Raise CaptionerError if it cannot start."""
        self.thread = threading.Thread(target=self.run, name="server", daemon=True)
        self.thread.start()
        while not self.started:
            if not self.thread.is_alive():
                raise CaptionerError("the server of the page did not start, for the reason above")
            time.sleep(0.01)

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
    """Serve `app` from a thread as Gradio's function of this name does. Raise CaptionerError if that is impossible.

    Return (host, port, address of the page on this machine, server).
    """
    host = server_name or "127.0.0.1"
    sockets = bind(host, server_port)
    port = sockets[0].getsockname()[1]
    server = Server(app, sockets)
    server.run_in_thread()
    return host, port, f"http://{_own_name(host, sockets)}:{port}/", server


def bind(host: str, port: int | None) -> list[socket.socket]:
    """Return sockets that listen on all addresses of a host; "::" includes all of IPv4. Raise CaptionerError.

    port: the first free one if None, any free one if 0.
    """
    first = first_port(os.environ)
    last = min(first + NUM_PORTS - 1, MAX_PORT)
    try:
        for candidate in [port] if port is not None else range(first, last + 1):
            try:
                return _bind(host, candidate)
            except OSError as error:
                if port is not None or error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
    except (OSError, ValueError) as error:  # ValueError: a name that cannot be one
        raise CaptionerError(f"cannot serve the page: {_problem(error, host, port)}") from None
    advice = "give another --port, or 0 for any free one"
    raise CaptionerError(f"cannot serve the page: the ports from {first} to {last} are in use; {advice}")


def _bind(host: str, port: int) -> list[socket.socket]:
    hosts = ("::", "0.0.0.0") if host == "::" else (host,)
    kind, passive = socket.SOCK_STREAM, socket.AI_PASSIVE
    found = [address for name in hosts for address in socket.getaddrinfo(name, port, type=kind, flags=passive)]
    sockets: list[socket.socket] = []
    unavailable: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            place = (address[0], port, *address[2:])
            sockets.append(socket.create_server(place, family=family, backlog=BACKLOG))
            port = sockets[0].getsockname()[1]  # the same for all addresses, if it was 0
        except OSError as error:
            unavailable = error
            if error.errno not in UNAVAILABLE:
                break
    if unavailable and (not sockets or unavailable.errno not in UNAVAILABLE):
        for opened in sockets:
            opened.close()
        raise unavailable
    return sockets


def _problem(error: OSError | ValueError, host: str, port: int | None) -> str:
    """Return in words why a host and port cannot be used, and what to do."""
    name = shown_path(host)
    if not isinstance(error, OSError) or isinstance(error, socket.gaierror):
        return f"the host {name} is not known; give an address of this machine, or a name without a port, with --host"
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} is in use by another program; give another --port, or none for a free one"
        case errno.EACCES:
            return f"this user may not listen on port {port}; give another --port, from 1024 on"
        case errno.EADDRNOTAVAIL:
            return f"{name} is not an address of this machine; give --listen for all of its addresses"
        case errno.EAFNOSUPPORT:
            return f"this machine has no addresses of the kind of {name}; give another --host, such as 127.0.0.1"
    reason = os.strerror(error.errno) if error.errno else error
    return f"cannot listen on {name}: {reason}; give another --host, such as 127.0.0.1"


def _own_name(host: str, sockets: list[socket.socket]) -> str:
    """Return the host in the address of the page on this machine, which may be without the name localhost."""
    names = [opened.getsockname()[0] for opened in sockets]
    if "0.0.0.0" in names:
        return "127.0.0.1"
    own = "::1" if "::" in names else host
    return f"[{own}]" if ":" in own else own


def replace_gradio_server() -> None:
    """Make Gradio start this server, and reach it without the proxies of the environment, whatever these are."""
    http_server.start_server = start_server  # type: ignore[assignment]
    gradio.blocks.httpx = SimpleNamespace(get=_get, URL=httpx.URL)  # type: ignore[assignment]
    networking.url_ok = lambda url: True  # Gradio asks after the request above has succeeded


def _get(url: str, **options: Any) -> httpx.Response:
    try:
        return httpx.get(url, trust_env=False, **options)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        advice = "give another --host, such as 127.0.0.1"
        raise CaptionerError(f"cannot serve the page: it does not answer at {url}: {error}; {advice}") from None
