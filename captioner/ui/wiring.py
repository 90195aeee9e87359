"""What all tabs share in the way they are wired: event options, errors as toasts, sending only what changed."""

import functools
import html
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from captioner.errors import CaptionerError

ACTION = {"api_visibility": "private", "show_progress": "hidden"}  # queued, as toasts need the queue
PLUMBING = ACTION | {"queue": False}  # for what runs every second, and what the browser does alone
# For events that carry data. One that comes before the answer to the last is dropped by Gradio's mode "once", and sent
# with the data of the last by "always_last".
EACH = {"trigger_mode": "multiple"}

# A list in HTML whose entries carry `data-pick` fires the event `pick` with that value as `id`.
PICK_JS = """element.addEventListener('click', event => {
  const hit = event.target.closest('[data-pick]');
  if (hit) trigger('pick', {id: hit.dataset.pick});
})"""

# The cursor moves on with the values that it stands for: should one text of news be overtaken by the next, which began
# from the same cursor, nothing is lost.
DEAL_JS = """news => {
  const {cursor, values} = JSON.parse(news || '{"values": {}}'), dealt = Array(%d).fill({__type__: 'update'});
  if (cursor !== undefined) dealt[0] = cursor;
  for (const [index, value] of Object.entries(values)) dealt[Number(index) + 1] = value;
  return dealt;
}"""


def shown(handler: Callable) -> Callable:
    """The handler with its CaptionerErrors shown as toasts."""

    @functools.wraps(handler)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except CaptionerError as error:
            raise gr.Error(html.escape(str(error)), title="Error", print_exception=False) from None

    return wrapper


def only_changed(cursor: str, values: Sequence[Any]) -> str:
    """News for a tab, as JSON text {"cursor": ..., "values": {index: value}}; "" when there are none.

    `cursor`, of the news before, says what the tab shows already: one checksum a value. It lives in the tab, so any
    number of tabs need no state here, and what a tab shows stays untouched while nothing changes: nothing jumps, no
    focus is lost.
    """
    before = cursor.split()
    now = [f"{zlib.crc32(repr(value).encode('utf-8', 'backslashreplace')):08x}" for value in values]
    if len(before) != len(now):
        before = [""] * len(now)
    changed = {i: value for i, value in enumerate(values) if before[i] != now[i]}
    return json.dumps({"cursor": " ".join(now), "values": changed}) if changed else ""


def keep_up_to_date(
    triggers: Sequence[Any],
    refreshing: Sequence[Any],
    render: Callable[..., Sequence[Any]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
) -> None:
    """Call `render(*inputs)` at the triggers and after the `refreshing` events, and set the outputs that changed.

    The values travel as one text, and the browser deals them out: for an output that a handler of Gradio's updates or
    skips, its server builds the component anew, which for twenty outputs costs ten times what `render` does.
    """
    cursor, news = gr.Textbox("", visible="hidden"), gr.Textbox("", visible="hidden")

    def pulse(cursor: str, *values: Any) -> str:
        return only_changed(cursor, [_as_sent(o, v) for o, v in zip(outputs, render(*values), strict=True)])

    gr.on(triggers, pulse, [cursor, *inputs], news, **PLUMBING)
    for event in refreshing:
        event.then(pulse, [cursor, *inputs], news, **PLUMBING)
    deal = DEAL_JS % (len(outputs) + 1)
    news.change(None, news, [cursor, *outputs], js=deal, trigger_mode="multiple", **PLUMBING)


def _as_sent(output: gr.components.Component, value: Any) -> Any:
    """As Gradio's server would send it: a gr.HTML's own properties stand apart from those of all components."""
    if not isinstance(output, gr.HTML) or not isinstance(value, dict):
        return value
    known = {name: v for name, v in value.items() if name in ("__type__", "value", "visible")}
    return known | {"props": {name: v for name, v in value.items() if name not in known}}
