"""Values -> text and HTML that several parts of the page share. Whatever comes from outside is escaped here."""

import html
import math
import re
from pathlib import Path

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
    return html.escape(str(text).encode("utf-8", "replace").decode())


def clock(seconds: float) -> str:
    """1:05 or 1:02:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(num_bytes: float) -> str:
    """In decimal units: 532 B, 1.2 MB."""
    if num_bytes < 1000:
        return f"{num_bytes:.0f} B"
    power = min(3, int(math.log10(num_bytes)) // 3)
    return f"{num_bytes / 1000**power:.1f} {('KB', 'MB', 'GB')[power - 1]}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def notices(demo: bool, cuda_missing: bool) -> str:
    texts = [CUDA_MISSING[0].upper() + CUDA_MISSING[1:] + "."] * cuda_missing + [TOY_WORLD] * demo
    return "".join(f'<p class="notice">{escape(text)}</p>' for text in texts)
