"""The table styles.toml: how each trainer wants a list of files and captions."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from captioner.errors import CaptionerError
from captioner.values import MediaKind

NO_TRAINER = "none"


@dataclass(frozen=True)
class Style:
    """One row of the table, whose head explains the fields."""

    name: str
    video: str
    image: str
    caption: str
    formats: tuple[str, ...]
    source: str
    set: str = ""
    shape: Literal["rows", "captions", "lists"] = "rows"
    paths: Literal["manifest", "folder", "disk"] = "manifest"
    kinds: tuple[MediaKind, ...] = ("video", "image")
    one_kind: bool = False
    one_stem: bool = False

    def column(self, kind: MediaKind, of_video_target: bool) -> str:
        """Return the column that names a file of this kind."""
        return (of_video_target and self.set) or (self.video if kind == "video" else self.image)


@functools.cache
def styles() -> Mapping[str, Style]:
    """Return the rows of the table by the name of the trainer; "none" is the first."""
    table = tomllib.loads((files(__package__) / "styles.toml").read_text(encoding="utf-8"))
    lists = ("formats", "kinds")
    rows = {name: {**row, **{key: tuple(row[key]) for key in lists if key in row}} for name, row in table.items()}
    return {name: Style(name, **row) for name, row in rows.items()}


def style_of(trainer: str) -> Style:
    """Return the row of a trainer. Raise CaptionerError with the known names."""
    if trainer not in styles():
        raise CaptionerError(f"unknown trainer {trainer}; choose one of {', '.join(styles())}")
    return styles()[trainer]
