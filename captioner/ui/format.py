"""Texts and HTML that several parts of the page share."""

import html
from collections.abc import Iterable

from captioner.formatting import sendable, sentence, size
from captioner.system.devices import CUDA_MISSING

TOY_WORLD = (
    "The demo model knows only a toy world of moving colored shapes and calls everything else a shape too: "
    "it is there to try the app, not to caption real footage."
)


def isolated(name: str) -> str:
    """Return a name that is safe within other text: it cannot change the direction of that text."""
    return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"


def escape(text: object) -> str:
    """Return the text escaped for HTML, including quoted attributes; lone surrogates become "?"."""
    return html.escape(sendable(str(text)))


def definitions(rows: Iterable[tuple[str, str]]) -> str:
    """Return the rows of a <dl> as HTML."""
    return "".join(f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>" for term, text in rows)


def notices(demo: bool, cuda_missing: bool) -> str:
    """Return the warnings above the tabs as HTML."""
    texts = [sentence(CUDA_MISSING)] * cuda_missing + [TOY_WORLD] * demo
    return "".join(f'<p class="notice">{escape(text)}</p>' for text in texts)


def loading_text(model: str, bytes_done: int, bytes_total: int) -> str:
    """Return how far the download of a model is, or that it loads if `bytes_total` is 0."""
    if bytes_total:
        return f"Downloading {model}: {size(bytes_done)} of {size(bytes_total)}"
    return f"Loading {model}…"
