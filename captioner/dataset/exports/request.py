"""The request for an export, and its result."""

from dataclasses import dataclass, field
from pathlib import Path

from captioner.dataset.exports.entries import LeftOut
from captioner.dataset.targets import NO_TARGET, Target


@dataclass
class Exported:
    """The result of an export. `files` were written; `left_out` files are not in them."""

    count: int = 0
    files: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Request:
    """A request to export. `to`: a file for the lists, or a folder, in which a list gets the name of its format."""

    file_format: str
    to: Path
    trainer: str = "none"
    target: Target = NO_TARGET
    overwrite: bool = False
    caption_extension: str = ".txt"
