"""Building blocks of the app's own routes: response headers, ETags, JSON, and worker threads."""

import contextlib
import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread
from fastapi import HTTPException, Request, Response
from fastapi.responses import FileResponse
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

# Other sites must not embed these responses, and browsers must not guess their type.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}

CACHE_A_DAY = {"Cache-Control": "private, max-age=86400"}  # an id always means the same file

P = ParamSpec("P")
T = TypeVar("T")


def with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """Return a `send` that adds the headers to the response, unless it has them already."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = MutableHeaders(scope=message)
            for name, value in headers.items():
                present.setdefault(name, value)
        await send(message)

    return send_with_headers


class PrivateRoute(APIRoute):
    """A route whose responses, errors included, carry HEADERS unless they set others."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().handle(scope, receive, with_headers(send, HEADERS))


class HeldFileResponse(FileResponse):
    """A file, or the part of it that the Range header asks for. held: closed once it is sent, see `pinned`."""

    def __init__(
        self, held: contextlib.ExitStack, path: Path, media_type: str, filename: str, status: os.stat_result
    ) -> None:
        super().__init__(
            path, 200, CACHE_A_DAY, media_type, filename=filename, stat_result=status, content_disposition_type="inline"
        )
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


class Workers:
    """Up to `count` threads apart from Gradio's shared ones, and a queue for them that needs no thread."""

    def __init__(self, count: int) -> None:
        self._turns = anyio.Semaphore(count)
        self._threads = anyio.CapacityLimiter(count)

    async def run(self, request: Request, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of `work` from one of the threads. Raise HTTPException 499 if the client left meanwhile."""
        async with self._turns:
            if await request.is_disconnected():
                raise HTTPException(499)
            return await anyio.to_thread.run_sync(functools.partial(work, *args, **kwargs), limiter=self._threads)


def matches_etag(request: Request, etag: str) -> bool:
    """Return whether the browser already has the version with this ETag."""
    known = request.headers.get("if-none-match", "").split(",")
    return etag.removeprefix("W/") in (tag.strip().removeprefix("W/") for tag in known)


def json_response(value: Any) -> Response:
    """Return a response with the value as JSON."""
    return Response(to_json(value), media_type="application/json")


def to_json(value: Any) -> bytes:
    """Return the value as JSON in ASCII. orjson and Starlette's JSONResponse fail at names that are not UTF-8."""
    return json.dumps(value, separators=(",", ":")).encode()
