"""What all tabs share in the way they are wired: event options, errors as toasts, sending only what changed."""

import functools
import html
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from captioner.errors import CaptionerError

ACTION = {"api_visibility": "private", "show_progress": "hidden"}  # queued, as toasts need the queue
PLUMBING = ACTION | {"queue": False}  # for what runs every second

# A list in HTML whose entries carry `data-pick` fires the event `pick` with that value as `id`.
PICK_JS = """element.addEventListener('click', event => {
  const hit = event.target.closest('[data-pick]');
  if (hit) trigger('pick', {id: hit.dataset.pick});
})"""


def shown(handler: Callable) -> Callable:
    """The handler with its CaptionerErrors shown as toasts."""

    @functools.wraps(handler)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except CaptionerError as error:
            raise gr.Error(html.escape(str(error)), title="Error", print_exception=False) from None

    return wrapper


def only_changed(cursor: str, values: Sequence[Any]) -> list[Any]:
    """[new cursor, outputs]: each output its value, or a skip if `cursor` says that the tab shows it already.

    The cursor is one checksum an output. It lives in the tab, so any number of tabs need no state here, and what a
    tab shows stays untouched while nothing changes: nothing jumps, no focus is lost.
    """
    before = cursor.split()
    now = [f"{zlib.crc32(repr(value).encode('utf-8', 'backslashreplace')):08x}" for value in values]
    if len(before) != len(now):
        before = [""] * len(now)
    return [" ".join(now), *(gr.skip() if old == new else v for old, new, v in zip(before, now, values, strict=True))]
