"""Values -> text and HTML that several parts of the page share. Whatever comes from outside is escaped here."""

import html
import re
from pathlib import Path

from captioner.formatting import sendable, sentence
from captioner.system.devices import CUDA_MISSING

HERE = Path(__file__).parent

TOY_WORLD = (
    "The demo model knows only a toy world of moving colored shapes and calls everything else a shape too: "
    "it is there to try the app, not to caption real footage."
)


def file_text(*names: str) -> str:
    """Files of this folder, one below the other. A page gets no node for the blanks between the tags of HTML."""
    text = "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)
    return re.sub(r">\s+<", "><", text).strip() if names[0].endswith(".html") else text


def isolated(name: str) -> str:
    """A name within other text, whose direction it then cannot change."""
    return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"


def escape(text: object) -> str:
    """For HTML, quoted attributes included. What cannot be sent, such as half a character in a file name, becomes ?."""
    return html.escape(sendable(str(text)))


def notices(demo: bool, cuda_missing: bool) -> str:
    texts = [sentence(CUDA_MISSING)] * cuda_missing + [TOY_WORLD] * demo
    return "".join(f'<p class="notice">{escape(text)}</p>' for text in texts)
