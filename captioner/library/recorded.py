"""The records of the files of a scan in the database: marks, scores, and failures in earlier jobs."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from captioner.captions.file_marks import Mark
from captioner.captions.scores import CaptionScores, Score
from captioner.captions.store import CaptionStore
from captioner.errors import StateError
from captioner.jobs.failures import recorded_failures
from captioner.system.database import escape_surrogates, path_text
from captioner.values import MediaItem

log = logging.getLogger(__name__)


def marks_of(captions: CaptionStore, folder: Path, items: Sequence[MediaItem]) -> dict[int, Mark]:
    """Return the marks of the files by position; none, with a line in the log, if the database cannot be used."""
    try:
        marks = captions.marks.under(folder)
    except StateError as error:
        log.warning("cannot read which files are starred or rejected: %s", error)
        return {}
    positions = _positions_by_path(items) if marks else {}
    return {positions[key]: mark for key, mark in marks.items() if key in positions}


def failures_of(captions: CaptionStore, folder: Path, items: Sequence[MediaItem]) -> dict[int, str]:
    """Return why files failed in a job, by position, for those that are as they were then, their captions too."""
    try:
        failures = recorded_failures(captions.database, folder)
        positions = _positions_by_path(items) if failures else {}
        return {
            positions[key]: failure.reason
            for key, failure in failures.items()
            if key in positions and _last_change_s(captions, items[positions[key]]) <= failure.time_s
        }
    except StateError as error:
        log.warning("cannot find out which files have failed: %s", error)
        return {}


def scores_of(captions: CaptionStore, folder: Path, items: Sequence[MediaItem]) -> dict[int, Score]:
    """Return the latest scores of captions by position, also of what they were before. folder: that of the captions."""
    try:
        scores = CaptionScores(captions.database).under(folder)
    except StateError as error:
        log.warning("cannot read the scores of captions: %s", error)
        return {}
    positions = positions_by_caption(items) if scores else {}
    return {positions[key]: score for key, score in scores.items() if key in positions}


def positions_by_caption(items: Sequence[MediaItem]) -> dict[str, int]:
    """Return the positions of the items by the `path_text` of their captions."""
    starts = {folder: path_text(folder / "x")[:-1] for folder in {item.folder for item in items}}
    return {
        starts[item.folder] + name
        if (name := item.caption_name).isascii() and os.sep not in name
        else path_text(item.caption_path): i
        for i, item in enumerate(items)
    }


def caption_size(item: MediaItem) -> int:
    """Return the bytes of a caption file, 0 if there is none."""
    try:
        return os.stat(os.path.join(item.folder, item.caption_name)).st_size  # noqa: PTH116, PTH118 - 50,000 times
    except OSError:
        return 0


def _last_change_s(captions: CaptionStore, item: MediaItem) -> float:
    """Return when a file or its caption was changed last, also by this program, which may have deleted the caption."""
    try:
        written_s = item.caption_path.stat().st_mtime
    except OSError:
        written_s = 0.0
    return max(item.modified_s, written_s, captions.last_changed_s(item.caption_path))


def _positions_by_path(items: Sequence[MediaItem]) -> dict[str, int]:  # by the path_text of the media
    starts = {folder: path_text(folder / "x")[:-1] for folder in {item.folder for item in items}}
    return {starts[item.folder] + escape_surrogates(item.filename): i for i, item in enumerate(items)}
