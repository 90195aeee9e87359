"""How Gradio's events fail: unknown ones are refused, and exceptions are logged instead of printed as tracebacks."""

import asyncio
import logging
import sys
from types import SimpleNamespace
from typing import Any

import gradio as gr
from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from gradio import queueing, route_utils, routes

from captioner.ui.server.routing import to_json

log = logging.getLogger(__name__)

_find_event = route_utils.get_fn


def replace_gradio_failures() -> None:
    """Make Gradio refuse unknown events, and log what it would print."""
    route_utils.get_fn = find_event
    for module in (queueing, route_utils, routes):
        module.traceback = SimpleNamespace(print_exc=log_failure)  # type: ignore[attr-defined]


def find_event(blocks: gr.Blocks, api_name: str | None, body: Any) -> Any:
    """Return the function of an event. Raise HTTPException 404 if there is none in Python."""
    try:
        found = _find_event(blocks, api_name, body)
    except (KeyError, route_utils.FnIndexInferError):
        found = None
    if found is None or found.fn is None:
        raise HTTPException(404, "there is no such event")
    return found


async def refuse_invalid(_: Request, error: Exception) -> Response:
    """Return what is wrong with a request. FastAPI's own answer repeats its values and fails at some of them."""
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    detail = [{key: problem[key] for key in ("type", "loc", "msg")} for problem in problems]
    return Response(to_json({"detail": detail}), 422, media_type="application/json")


def log_failure() -> None:
    """Log the exception that is being handled."""
    error = sys.exc_info()[1]
    if isinstance(error, gr.Error):
        log.warning("a request was refused: %s", error)
    elif not isinstance(error, asyncio.CancelledError):  # the app ends, or the browser is gone
        log.warning("a request failed", exc_info=True)


HANDLERS = {RequestValidationError: refuse_invalid}
