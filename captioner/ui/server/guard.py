"""What stands before every route, Gradio's own as well as ours: who may ask, from where, how often, and how much.

What the page does not need is not served at all, so a door that a later Gradio adds stays shut.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from captioner.ui.server.options import is_loopback
from captioner.ui.server.workers import is_let_in

API = "/gradio_api"
LOGIN = "/login"
UPLOAD = f"{API}/upload"

# For whom is not logged in yet: the form for it, what it is drawn with, and what the start of the app asks itself.
# Nothing of these tells anything about the folders or the user.
FOR_ANYONE = ("/", LOGIN, "/logout", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt")
FOR_ANYONE += (f"{API}/theme.css", f"{API}/startup-events", f"{API}/login_check")
BELOW_FOR_ANYONE = ("/assets/", "/static/", "/svelte/")

FOR_USERS = ("/config", UPLOAD)
FOR_USERS += tuple(
    f"{API}/{name}"
    for name in ("user", "token", "app_id", "info", "openapi.json", "cancel", "reset", "upload_progress", "mcp")
)
BELOW_FOR_USERS = tuple(f"{API}/{name}/" for name in ("vcs", "queue", "run", "call", "api", "heartbeat", "mcp"))

MAX_BODY_BYTES = 16_000_000  # names of 50,000 files take 5
TRIES, ALL_TRIES, PERIOD_S = 10, 60, 60.0
GETTING = ("GET", "HEAD")

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
# Gradio writes scripts and styles into its page and compiles templates, which rules out a stricter one.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors "
)
HUB = "https://huggingface.co https://*.hf.space"


class Tries:
    """Counts tries to log in. Behind a tunnel or proxy all may seem to come from one address, or from many made up:
    so there is a limit for all together, too. Who is logged in does not notice."""

    def __init__(self, each: int = TRIES, together: int = ALL_TRIES, period_s: float = PERIOD_S) -> None:
        self._each, self._together, self._period_s = each, together, period_s
        self._lock = threading.Lock()
        self._tries: deque[tuple[float, str]] = deque()  # at most `together`

    def add(self, address: str) -> float:
        """Count one before it is looked at, so that many at once are not more; 0, or seconds to wait instead."""
        now_s = time.monotonic()
        with self._lock:
            while self._tries and self._tries[0][0] <= now_s - self._period_s:
                self._tries.popleft()
            own = [at_s for at_s, who in self._tries if who == address]
            full = own if len(own) >= self._each else [at_s for at_s, _ in self._tries]
            if len(own) < self._each and len(full) < self._together:
                self._tries.append((now_s, address))
                return 0.0
            return full[0] + self._period_s - now_s

    def forget(self, address: str) -> None:
        """After a right password."""
        with self._lock:
            self._tries = deque((at_s, who) for at_s, who in self._tries if who != address)


class Body:
    """Receives what one request sends, and no byte more than it announced: whatever else its headers say."""

    def __init__(self, receive: Receive, num_bytes: int) -> None:
        self._receive, self.left_bytes = receive, num_bytes

    async def __call__(self) -> Message:
        message = await self._receive()
        self.left_bytes -= len(message.get("body", b""))
        if self.left_bytes < 0:
            raise HTTPException(413, "more came than was announced")
        return message


class Guard:
    """ASGI middleware; for `launch(app_kwargs={"middleware": [Middleware(Guard, ...)]})`."""

    def __init__(
        self, app: ASGIApp, loopback: bool, framed_by: str = "'self'", upload_room: Callable[[], int] = lambda: 0
    ) -> None:
        """loopback: only this machine's own names are answered, or a site could reach the app under a name of its own.

        framed_by: the sites that may show the page in a frame. upload_room: the bytes that an upload may have now,
        not counting what others have announced and not sent yet.
        """
        self._app, self._loopback, self._upload_room = app, loopback, upload_room
        self._headers = HEADERS | {"Content-Security-Policy": POLICY + framed_by}
        self._tries = Tries()
        self._uploads: set[Body] = set()  # on their way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # a websocket, of which the page has none
            return await send({"type": "websocket.close", "code": 1008})
        request = Request(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(request) or await self._login_refusal(request)
        if refusal is not None:
            return await refusal(scope, receive, send_with_headers)
        path, body = route_path(scope).rstrip("/"), Body(receive, body_bytes(request.headers) or 0)
        if path == LOGIN and scope["method"] == "POST":
            return await self._log_in(request, body, send_with_headers)
        if path == UPLOAD:
            self._uploads.add(body)
        try:
            await self._app(scope, body, send_with_headers)
        finally:
            self._uploads.discard(body)

    def _refusal(self, request: Request) -> Response | None:
        path = route_path(request.scope)
        if self._loopback and not is_loopback(_host_name(request.headers)):
            return answer(400, "this address is not served")
        if is_cross_site(request.method, path, request.headers):
            return answer(403, "refused: the request comes from another site")
        if not is_served(path):
            return answer(404, "not found")
        num_bytes = body_bytes(request.headers)
        if num_bytes is None:
            return answer(411, "the length of what is sent must be given")
        return answer(413, "too much at once") if num_bytes > self._max_bytes(path) else None

    def _max_bytes(self, path: str) -> int:
        if path.rstrip("/") != UPLOAD:
            return MAX_BODY_BYTES
        return self._upload_room() - sum(body.left_bytes for body in self._uploads)

    async def _login_refusal(self, request: Request) -> Response | None:
        if is_for_anyone(route_path(request.scope)) or await is_let_in(request):
            return None
        return answer(401, "log in first")

    async def _log_in(self, request: Request, receive: Receive, send: Send) -> None:
        address = request.client.host if request.client else ""
        wait_s = self._tries.add(address)
        if wait_s:
            refusal = answer(429, "too many tries to log in; wait a minute")
            refusal.headers["Retry-After"] = str(int(wait_s) + 1)
            return await refusal(request.scope, receive, send)

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                self._tries.forget(address)
            await send(message)

        await self._app(request.scope, receive, watch)


def route_path(scope: Scope) -> str:
    """What the router looks at. Not `request.url.path`: in it is the Host, which the client chooses."""
    path, root = scope["path"], scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def body_bytes(headers: Headers) -> int | None:
    """How much a request sends; None where it does not say, or says it in two ways."""
    length = headers.get("content-length", "0")
    is_plain = length.isascii() and length.isdecimal() and len(length) < 20
    return int(length) if is_plain and "transfer-encoding" not in headers else None


def answer(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status)


def is_for_anyone(path: str) -> bool:
    return _is_one_of(path, FOR_ANYONE, BELOW_FOR_ANYONE)


def is_served(path: str) -> bool:
    return is_for_anyone(path) or _is_one_of(path, FOR_USERS, BELOW_FOR_USERS)


def _is_one_of(path: str, names: Iterable[str], below: tuple[str, ...]) -> bool:
    return (path.rstrip("/") or "/") in names or path.startswith(below)


def is_cross_site(method: str, path: str, headers: Headers) -> bool:
    """Whether a page of another site made the browser ask, other than by a link or a frame that shows the whole page.

    Programs send neither of the headers and may ask. A proxy has to pass on the Host that the browser gave.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        shows_page = method in GETTING and path == "/" and headers.get("sec-fetch-mode") == "navigate"
        return site not in ("same-origin", "none") and not shows_page
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def _host_name(headers: Headers) -> str:
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""
