"""The number of files in each state."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """The number of files in each state, and of approved captions and captions changed outside."""

    total: int = 0
    done: int = 0  # captioned, edited ones too
    pending: int = 0
    failed: int = 0
    edited: int = 0
    approved: int = 0
    changed_outside: int = 0  # as far as the captions were read


def count(
    total: int,
    captioned: set[int],
    failed: Collection[int],
    edited: set[int],
    approved: set[int],
    changed_outside: set[int],
) -> Counts:
    """Count files by their positions; takes milliseconds for 50,000 files."""
    done = len(captioned.difference(failed))
    num_edited = len((edited & captioned).difference(failed))
    marked = (len(each & captioned) for each in (approved, changed_outside))
    return Counts(total, done, total - done - len(failed), len(failed), num_edited, *marked)
