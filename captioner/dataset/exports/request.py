"""The request for an export, and its result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from captioner.dataset.exports.entries import LeftOut
from captioner.dataset.targets import NO_TARGET, Target
from captioner.values import MediaItem

ReadRates = Callable[[Sequence[MediaItem]], Mapping[str, float]]  # names of clips -> frames per second


def no_rates(clips: Sequence[MediaItem]) -> Mapping[str, float]:
    """Return no rates: none is known."""
    return {}


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
    read_rates: ReadRates = no_rates  # only called for a configuration that names the rates of clips
