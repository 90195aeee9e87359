"""How all tabs are wired: events with our defaults, errors as toasts, and updates that send only what changed."""

import functools
import html
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

import gradio as gr
from gradio.events import Dependency

from captioner.errors import CaptionerError
from captioner.ui import scripts

P = ParamSpec("P")
T = TypeVar("T")
Pulse = Callable[..., str]
Trigger = Callable[..., Dependency]  # such as `button.click`
TriggerMode = Literal["once", "multiple", "always_last"]

# For events that carry data. While an answer is awaited, Gradio's default "once" drops further events, and
# "always_last" sends the last one with the data of the first.
KEEP_EVERY_EVENT: TriggerMode = "multiple"


def _listen(
    event: Trigger | Sequence[Trigger],
    handler: Callable[..., Any] | None,
    inputs: Any = None,
    outputs: Any = None,
    *,
    queue: bool,
    js: str | None = None,
    mode: TriggerMode | None = None,
) -> Dependency:
    register: Trigger = event if callable(event) else functools.partial(gr.on, event)
    quiet = functools.partial(register, show_progress="hidden", api_visibility="private")
    return quiet(handler, inputs, outputs, js=js, trigger_mode=mode, queue=queue)


# Call a handler at an event, or at each of several; if it is None, only `js` runs, in the browser.
on_action = functools.partial(_listen, queue=True)  # for what a user does: toasts need Gradio's queue
in_background = functools.partial(_listen, queue=False)  # for what runs every second, and JavaScript alone


def errors_as_toasts(handler: Callable[P, T]) -> Callable[P, T]:
    """Return the handler, wrapped to show each CaptionerError as a toast."""

    @functools.wraps(handler)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return handler(*args, **kwargs)
        except CaptionerError as error:
            raise gr.Error(html.escape(str(error)), title="Error", print_exception=False) from None

    return wrapper


def only_changed(cursor: str, values: Sequence[Any]) -> str:
    """Return the values that changed as JSON text {"cursor": ..., "values": {index: value}}, or "" if none did.

    `cursor` is the one returned before: a checksum of each value that the browser tab shows, kept by the tab.
    """
    before = cursor.split()
    now = [f"{zlib.crc32(repr(value).encode('utf-8', 'backslashreplace')):08x}" for value in values]
    if len(before) != len(now):
        before = [""] * len(now)
    changed = {i: value for i, value in enumerate(values) if before[i] != now[i]}
    return json.dumps({"cursor": " ".join(now), "values": changed}) if changed else ""


def keep_up_to_date(
    triggers: Sequence[Trigger],
    refreshing: Sequence[Dependency],
    render: Callable[..., Sequence[Any]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    tick: Trigger | None = None,
) -> Pulse:
    """Call `render(*inputs)` at the triggers and after the `refreshing` events, and set the outputs that changed.

    Return the function that does it. At each `tick` the page asks the route `pulse` to call it, which costs the server
    a fourth of an event of Gradio's.

    The values travel as one text, which JavaScript distributes to the outputs: Gradio's server would rebuild the
    component of each output, which costs ten times as much as `render`.
    """
    cursor, changed = gr.Textbox("", visible="hidden"), gr.Textbox("", visible="hidden")

    def pulse(cursor: str, *values: Any) -> str:
        return only_changed(cursor, [_as_sent(o, v) for o, v in zip(outputs, render(*values), strict=True)])

    in_background(triggers, pulse, [cursor, *inputs], changed)
    if tick:
        in_background(tick, None, [cursor, *inputs], changed, js=scripts.call("wiring.js", "pulse"))
    for event in refreshing:
        in_background(event.then, pulse, [cursor, *inputs], changed)
    distribute = scripts.call("wiring.js", "distribute", len(outputs) + 1)
    in_background(changed.change, None, changed, [cursor, *outputs], js=distribute, mode=KEEP_EVERY_EVENT)
    return pulse


def _as_sent(output: gr.components.Component, value: Any) -> Any:
    """Return the value as Gradio's server would send it: a gr.HTML's own properties are nested in "props"."""
    if not isinstance(output, gr.HTML) or not isinstance(value, dict):
        return value
    known = {name: v for name, v in value.items() if name in ("__type__", "value", "visible")}
    return known | {"props": {name: v for name, v in value.items() if name not in known}}
