"""Measurements in the files of a scan, and the bits by which viewers filter them."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from captioner.errors import StateError
from captioner.media.facts import measured_in
from captioner.system.database import Database
from captioner.values import Measured, MediaItem

log = logging.getLogger(__name__)

FILTERS: dict[str, Callable[[Measured], bool]] = {
    "static": lambda each: each.camera == ("static",),
    "moving": lambda each: each.camera not in ((), ("static",)),
    "one-shot": lambda each: not each.cuts_s,
    "cuts": lambda each: bool(each.cuts_s),
    "sound": lambda each: each.has_sound is True,
    "silent": lambda each: each.has_sound is False,
    "black": lambda each: bool(each.black_s or each.freezes_s),
}


def measured_of(database: Database, folder: Path, items: Sequence[MediaItem]) -> dict[int, Measured]:
    """Return what is kept for the files by position; none, with a line in the log, if the database cannot be used."""
    try:
        known = measured_in(database, folder, items)
    except StateError as error:
        log.warning("cannot read what was measured: %s", error)
        return {}
    return {i: known[item.name] for i, item in enumerate(items) if item.name in known} if known else {}


def measured_bits(measured: Measured | None) -> int:
    """Return one bit for each of FILTERS that applies; 0 if nothing was measured."""
    return sum(1 << n for n, applies in enumerate(FILTERS.values()) if applies(measured)) if measured else 0
