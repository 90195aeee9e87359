"""What all routes of the page's own share: Gradio's login, headers, and threads apart from those of the handlers."""

import functools
import inspect
import json
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread
from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

# Another site must not show these in its own pages, nor a browser guess what they are.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}

Given = ParamSpec("Given")
Made = TypeVar("Made")


async def is_let_in(request: Request) -> bool:
    """Whether Gradio would let him in; the same check as its own `login_check`, which cannot be imported.

    Its attributes are undocumented: with a Gradio that lacks them everything fails, and nothing goes without a login.
    """
    app = request.app
    if app.auth is None and app.auth_dependency is None:
        return True
    if app.auth_dependency is not None:
        user = app.auth_dependency(request)
        user = await user if inspect.isawaitable(user) else user
    else:
        names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
        user = app.tokens.get(next((request.cookies[name] for name in names if name in request.cookies), None))
    return user is not None


async def require_login(request: Request) -> None:
    if not await is_let_in(request):
        raise HTTPException(401, "log in first")


class GuardedRoute(APIRoute):
    """Puts HEADERS on every answer that does not say otherwise, errors included."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await super().handle(scope, receive, send_with_headers)


class Workers:
    """Up to `count` threads apart from the shared ones, and a queue before them that costs no thread.

    Who has gone away by the time it is his turn, as when a gallery is scrolled on, is passed over.
    """

    def __init__(self, count: int) -> None:
        self._turns = anyio.Semaphore(count)
        self._threads = anyio.CapacityLimiter(count)

    async def run(
        self, request: Request, work: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs
    ) -> Made:
        async with self._turns:
            if await request.is_disconnected():
                raise HTTPException(499)
            return await anyio.to_thread.run_sync(functools.partial(work, *args, **kwargs), limiter=self._threads)


def has_version(request: Request, etag: str) -> bool:
    """Whether the browser has this version."""
    known = request.headers.get("if-none-match", "").split(",")
    return etag.removeprefix("W/") in (tag.strip().removeprefix("W/") for tag in known)


def json_answer(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")


def to_json(value: Any) -> bytes:
    """Names that are no valid text travel as escapes, at which orjson and Starlette's JSONResponse fail."""
    return json.dumps(value, separators=(",", ":")).encode()
