"""The middleware before every route, Gradio's and the app's own: checks who asks, from where, how often and how much.

It serves only the paths that the page needs, so a route that a later Gradio adds stays closed.
"""

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from captioner.ui.server.login import LoginLimiter, is_authenticated
from captioner.ui.server.options import is_loopback
from captioner.ui.server.routing import with_headers

API = "/gradio_api"
LOGIN, LOGOUT = "/login", "/logout"
UPLOAD = f"{API}/upload"
REACH = f"{API}/vcs/reach"  # the page asks it whether the addresses that the app sees are those in the browser

# The login form, what it is drawn with, and what the app requests from itself. Nothing about the folders or the user.
PUBLIC_PATHS = (
    "/", LOGIN, LOGOUT, "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", f"{API}/theme.css",
    f"{API}/startup-events", f"{API}/login_check", REACH,
)  # fmt: skip
PUBLIC_PREFIXES = ("/assets/", "/static/", "/svelte/")

_NAMES = ("user", "token", "app_id", "info", "openapi.json", "cancel", "reset", "upload_progress", "mcp")
USER_PATHS = ("/config", UPLOAD, *(f"{API}/{name}" for name in _NAMES))
USER_PREFIXES = tuple(f"{API}/{name}/" for name in ("vcs", "queue", "run", "call", "api", "heartbeat", "mcp"))
NOT_SERVED = (f"{API}/call/v2/",)  # a second way to call functions, which fails at unknown names

MAX_BODY_BYTES = 16_000_000  # the names of 50,000 files take 5 MB
READING = ("GET", "HEAD")
VERSION_HEADER = "X-Page-Version"  # set by the page, so that none from before an update calls functions by number

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
# Gradio puts scripts and styles into its page and compiles templates, which rules out a stricter policy.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors "
)
NO_LOGIN = (
    "this address is not served: without a login the page answers only at 127.0.0.1 and localhost; "
    "to open it under another name, as behind a proxy, start the app with --login NAME:PASSWORD"
)
CROSS_SITE = "refused: the request comes from another site"
WRONG_HOST = (
    "refused: the request comes from another site, or from a proxy that does not pass on the address in the browser; "
    "in that case let it set the Host header, in nginx with: proxy_set_header Host $http_host;"
)
WRONG_SCHEME = (
    "the proxy in front of the app does not say that the page was opened with HTTPS; let it set the header "
    "X-Forwarded-Proto, in nginx with: proxy_set_header X-Forwarded-Proto $scheme;"
)
OUTDATED = "the app was updated; reload the page"
HUB = "https://huggingface.co https://*.hf.space"


class CountedReceive:
    """Receives the body of one request, and no more bytes than it announced."""

    def __init__(self, receive: Receive, num_bytes: int) -> None:
        self._receive, self.left_bytes = receive, num_bytes

    async def __call__(self) -> Message:
        """Return the next message. Raise HTTPException 413 if the body is longer than announced."""
        message = await self._receive()
        self.left_bytes -= len(message.get("body", b""))
        if self.left_bytes < 0:
            raise HTTPException(413, "the body is longer than announced")
        return message


class Guard:
    """The ASGI middleware, for `launch(app_kwargs={"middleware": [Middleware(Guard, ...)]})`."""

    def __init__(
        self,
        app: ASGIApp,
        loopback: bool,
        framed_by: str = "'self'",
        upload_room: Callable[[], int] = lambda: 0,
        version: str = "",
    ) -> None:
        """Wrap `app`. framed_by: the sites that may show the page in a frame.

        loopback: answer only requests to this machine's own names, or a site could reach the app under its name and
            a proxy could make others look like users of this machine. A login prevents both.
        upload_room: returns the bytes that an upload may have now, not counting uploads in progress.
        version: the version of the page; requests of pages with another one are refused.
        """
        self._app, self._loopback, self._upload_room, self._version = app, loopback, upload_room, version
        self._headers = HEADERS | {"Content-Security-Policy": POLICY + framed_by}
        self._logins = LoginLimiter()
        self._uploads: set[CountedReceive] = set()  # in progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # a websocket; the page uses none
            return await send({"type": "websocket.close", "code": 1008})
        request = Request(scope)
        send = with_headers(send, self._headers)
        refusal = self._refuse(request)
        if refusal is None and route_path(scope) == REACH:
            refusal = _reach_response(request)
        if refusal is None and not (is_public(route_path(scope)) or await is_authenticated(request)):
            refusal = error_response(401, "log in first")
        if refusal is not None:
            return await refusal(scope, receive, send)
        path, body = route_path(scope).rstrip("/"), CountedReceive(receive, body_bytes(request.headers) or 0)
        if path == LOGIN and scope["method"] == "POST":
            return await self._log_in(request, body, send)
        if path == UPLOAD:
            self._uploads.add(body)
        try:
            await self._app(scope, body, send)
        except ClientDisconnect:
            pass  # nobody waits for an answer, as after a cancelled upload
        finally:
            self._uploads.discard(body)

    def _refuse(self, request: Request) -> Response | None:
        path = route_path(request.scope)
        if self._loopback and not all(is_loopback(_host_name(host)) for host in forwarded_hosts(request.headers)):
            return error_response(400, NO_LOGIN)
        if is_cross_site(request.method, path, request.headers):
            return error_response(403, CROSS_SITE if "sec-fetch-site" in request.headers else WRONG_HOST)
        if not is_served(path):
            return error_response(404, "not found")
        if request.headers.get(VERSION_HEADER, self._version) != self._version:
            outdated = error_response(409, OUTDATED)
            outdated.headers[VERSION_HEADER] = self._version
            return outdated
        num_bytes = body_bytes(request.headers)
        if num_bytes is None:
            return error_response(411, "the Content-Length header is missing or invalid")
        return error_response(413, "the request is too large") if num_bytes > self._max_bytes(path) else None

    def _max_bytes(self, path: str) -> int:
        if path.rstrip("/") != UPLOAD:
            return MAX_BODY_BYTES
        return self._upload_room() - sum(body.left_bytes for body in self._uploads)

    async def _log_in(self, request: Request, receive: Receive, send: Send) -> None:
        address = request.client.host if request.client else ""
        wait_s = self._logins.add(address)
        if wait_s:
            refusal = error_response(429, "too many login attempts; wait a minute")
            refusal.headers["Retry-After"] = str(int(wait_s) + 1)
            return await refusal(request.scope, receive, send)

        async def reset_on_success(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                self._logins.reset(address)
            await send(message)

        await self._app(request.scope, receive, reset_on_success)


def route_path(scope: Scope) -> str:
    """Return the path that the router sees. `request.url.path` contains the Host header, which the client chooses."""
    path, root = scope["path"], scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def body_bytes(headers: Headers) -> int | None:
    """Return the announced length of the body in bytes, or None if it is missing, invalid or ambiguous."""
    length = headers.get("content-length", "0")
    is_plain = length.isascii() and length.isdecimal() and len(length) < 20
    return int(length) if is_plain and "transfer-encoding" not in headers else None


def error_response(status: int, detail: str) -> Response:
    """Return an error in the form of FastAPI's own."""
    return JSONResponse({"detail": detail}, status)


def is_public(path: str) -> bool:
    """Return whether the path is served without a login."""
    return _is_one_of(path, PUBLIC_PATHS, PUBLIC_PREFIXES)


def is_served(path: str) -> bool:
    """Return whether the path is served at all."""
    return is_public(path) or (_is_one_of(path, USER_PATHS, USER_PREFIXES) and not path.startswith(NOT_SERVED))


def _is_one_of(path: str, names: Iterable[str], prefixes: tuple[str, ...]) -> bool:
    return (path.rstrip("/") or "/") in names or path.startswith(prefixes)


def forwarded_hosts(headers: Headers) -> list[str]:
    """Return the hosts that the browser may have asked for: what proxies passed on, and the Host header itself.

    Another site's page can set neither header.
    """
    forwarded = [host.strip() for value in headers.getlist("x-forwarded-host") for host in value.split(",")]
    return [host.lower() for host in (*forwarded, headers.get("host", ""))]


def is_cross_site(method: str, path: str, headers: Headers) -> bool:
    """Return whether another site's page caused the request, other than by a link to the page or a frame with it.

    Programs send neither header and are let through. A proxy must pass on the browser's host, but may leave out its
    port, as Gradio's guide does: only plain HTTP is judged by it, where cookies are the same for all ports, too.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        shows_page = method in READING and path == "/" and headers.get("sec-fetch-mode") == "navigate"
        return site not in ("same-origin", "none") and not shows_page
    origin = headers.get("origin")
    if origin is None:
        return False
    netloc = urlsplit(origin).netloc.lower()
    return not netloc or not {netloc, _host_name(netloc)} & set(forwarded_hosts(headers))


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _reach_response(request: Request) -> Response:
    is_https = request.headers.get("origin", "").startswith("https:")
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip()
    return error_response(400, WRONG_SCHEME) if is_https and scheme == "http" else Response(status_code=204)
