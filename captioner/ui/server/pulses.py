"""The route that every open page asks once a second what has changed, shared by the pages that show the same."""

import asyncio
import json
import time
from collections.abc import Callable

from fastapi import HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

SHARED_S = 0.5  # an answer may be so old
MAX_SHARED = 256


class SharedPulse:
    """Answers pulses. The same request is computed once for all who send it within SHARED_S."""

    def __init__(self, pulse: Callable[..., str]) -> None:
        self._pulse = pulse
        self._answers: dict[bytes, tuple[float, asyncio.Task[str]]] = {}  # by request; used by the event loop alone

    async def answer(self, request: Request) -> Response:
        """Return what changed for the values in the request, a list in JSON. Raise HTTPException 422 for others."""
        body = await request.body()
        at_s, task = self._answers.get(body, (0.0, None))
        if task is None or time.monotonic() - at_s > SHARED_S:
            task = asyncio.create_task(run_in_threadpool(self._pulse, *parse(body)))
            if len(self._answers) >= MAX_SHARED:
                self._answers.clear()
            self._answers[body] = time.monotonic(), task
        try:
            return Response(await asyncio.shield(task), media_type="application/json")
        except (TypeError, ValueError):  # too few values, or none that the page sends
            raise HTTPException(422, "these are not the values of a page") from None


def parse(body: bytes) -> list[str]:
    """Return the values of a page. Raise HTTPException 422 unless the body is a list of texts and numbers in JSON."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or not all(isinstance(value, str | int | None) for value in values):
        raise HTTPException(422, "a pulse is a list of texts")
    return ["" if value is None else str(value) for value in values]
