"""The page's JavaScript: ES modules beside the Python that uses them, and how the page and its components load them.

The version in their address changes whenever a module does, so browsers can keep them and never mix two versions.
"""

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import HTTPException, Response
from gradio import routes
from jinja2 import FunctionLoader

FOLDER = Path(__file__).parent
ROUTE = "/scripts/{version}/{path:path}"
HEAD = FOLDER / "head.js"  # not a module, but part of the page
LOGIN = "config.get('auth_required')"  # in Gradio's template: the page is the login form
BELOW_PAGE = "gradio_api/vcs/scripts"  # without a leading slash: below a root path it begins with that
# What the first files on the screen are drawn with.
_EARLY = ("early", "listing", "files", "tiles", "tile", "empty", "say")
FIRST = (*(f"gallery/{name}.js" for name in _EARLY), "common.js")
FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}

# Clicks and inputs that arrive before the module are kept and dispatched again. A click on anything but a plain button
# already had its effect, such as to check a box.
_START = """const early = [], keep = event => early.push(event), types = ['click', 'input', 'change'];
types.forEach(type => element.addEventListener(type, keep));
import(new URL(%(address)s, document.baseURI)).then(module => {
  module.%(function)s({element, props, trigger, watch}); // fires %(events)s
  types.forEach(type => element.removeEventListener(type, keep));
  for (const event of early) {
    if (event.type === 'click' && !event.target.closest('button:not([popovertarget])')) continue;
    event.target.dispatchEvent(new event.constructor(event.type, event));
  }
});"""
_CALL = "(...values) => import(new URL(%s, document.baseURI)).then(module => module.%s(%s...values))"


@functools.cache
def modules() -> Mapping[str, bytes]:
    """Return all modules by their path below this folder, such as "gallery/grid.js"."""
    return {
        path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in sorted(FOLDER.rglob("*.js")) if path != HEAD
    }


@functools.cache
def current_version() -> str:
    """Return a checksum over all modules."""
    return hashlib.sha256(repr(modules()).encode()).hexdigest()[:12]


def address(module: str) -> str:
    """Return the address of a module relative to that of the page. Raise KeyError if there is no such module."""
    modules()[module]
    return f"{BELOW_PAGE}/{current_version()}/{module}"


def on_load(module: str, function: str = "start", events: Sequence[str] = ()) -> str:
    """Return the `js_on_load` of a gr.HTML that calls a function of a module once.

    The function gets {element, props, trigger, watch}. Gradio offers a custom event only if this text names it, so
    `events` must name all that the module fires.
    """
    names = ", ".join(f"'{event}'" for event in events) or "nothing"
    return _START % {"address": json.dumps(address(module)), "function": function, "events": names}


def component(
    name: str, elem_id: str, events: Sequence[str], properties: Mapping[str, Any], elem_classes: str | None = None
) -> gr.HTML:
    """Return a component that `<name>.html` draws and `<name>.js` runs, which fires the events."""
    text = (FOLDER / f"{name}.html").read_text(encoding="utf-8")
    template = re.sub(r">\s+<", "><", text).strip()  # whitespace between tags would become nodes
    shared = functools.partial(gr.HTML, apply_default_css=False, elem_id=elem_id, elem_classes=elem_classes)
    return shared("", html_template=template, js_on_load=on_load(f"{name}.js", events=events), **properties)


def call(module: str, function: str, *arguments: Any) -> str:
    """Return the `js` of an event that calls a function of a module with `arguments` and then the input values."""
    given = "".join(f"{json.dumps(argument)}, " for argument in arguments)
    return _CALL % (json.dumps(address(module)), function, given)


def preload_links() -> str:
    """Return HTML for the head: the browser fetches all modules while Gradio's own scripts still load."""
    later = [name for name in modules() if name not in FIRST]
    links = [f'<link rel="modulepreload" href="{address(name)}">' for name in FIRST]
    links += [f'<link rel="modulepreload" href="{address(name)}" fetchpriority="low">' for name in later]
    return "".join(links)


def early_start() -> str:
    """Return HTML for the head: the first files are drawn while Gradio's own scripts still load."""
    return f'<script type="module">import {{ start }} from "./{address(FIRST[0])}"; start();</script>'


def add_head(preloads: str) -> None:
    """Put HEAD and the links `preloads` into the page that Gradio serves, and HEAD alone in place of its login form.

    Gradio adds `launch(head=...)` when its own scripts run, half a second later, and not to the form.
    """
    style = (FOLDER / "server/login.css").read_text("utf-8")
    form = f'<link rel="stylesheet" href="theme.css"><style>{style}</style>'
    environment = routes.templates.env
    original = environment.loader
    if original is None or isinstance(original, FunctionLoader):
        return

    def load(name: str) -> tuple[str, str | None, Any]:
        text, path, is_current = original.get_source(environment, name)
        script = f"<script>{{% raw %}}{HEAD.read_text('utf-8')}{{% endraw %}}</script>"
        links = f"{{% if not {LOGIN} %}}{preloads}{{% else %}}{form}{{% endif %}}"
        text = text.replace("</head>", f"{script}{links}</head>", 1)
        text = re.sub('<script type="module".*?</script>', rf"{{% if not {LOGIN} %}}\g<0>{{% endif %}}", text, count=1)
        return text.replace('href="/manifest.json"', 'href="manifest.json"'), path, is_current  # below a root path

    environment.loader = FunctionLoader(load)


def serve(version: str, path: str) -> Response:
    """Answer ROUTE. Raise HTTPException for another version, which a page from before an update asks for."""
    text = modules().get(path)
    if text is None or version != current_version():
        raise HTTPException(404, "no such script; reload the page")
    return Response(text, media_type="text/javascript", headers=FOR_EVER)
