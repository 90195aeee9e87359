"""Reads the captions of which statistics are made: of a folder, or those that a job wrote."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from captioner.captions.encoding import decode
from captioner.captions.files import caption_root_of
from captioner.captions.job_captions import captions_by, jobs_in
from captioner.captions.store import CaptionStore
from captioner.dataset.statistics.corpus import SHOWN_EVERY
from captioner.errors import CaptionError, JobError
from captioner.media.facts import Progress
from captioner.system.database import path_text
from captioner.values import MediaItem


class CaptionText(NamedTuple):
    """A caption. name: of its media file. job: the number of the job that wrote it last, or 0."""

    name: str
    text: str
    is_clip: bool
    modified_s: float  # POSIX time
    job: int = 0


class Captions(NamedTuple):
    """The captions of a set. unreadable: (name, reason)."""

    found: list[CaptionText]
    num_empty: int
    unreadable: list[tuple[str, str]]


def read_captions(
    folder: Path,
    items: Sequence[MediaItem],
    store: CaptionStore,
    progress: Progress = lambda what, done, total: None,
) -> Captions:
    """Read the captions of files of a folder; files without one are left out. Raise StateError."""
    jobs = jobs_in(store.database, caption_root_of(items[0]) if items else folder)
    found, num_empty, unreadable = [], 0, []
    for number, item in enumerate(items):
        if number % SHOWN_EVERY == 0:
            progress("captions", number, len(items))
        path = item.caption_path
        try:
            modified_s = os.stat(path).st_mtime  # noqa: PTH116 - a call for each of many files
            text = decode(store.files.read(path), store.encoding).body
        except OSError:
            continue
        except CaptionError as error:
            unreadable.append((item.name, str(error)))
            continue
        if text:
            job = jobs.get(path_text(path), 0) if jobs else 0
            found.append(CaptionText(item.name, text, item.kind == "video", modified_s, job))
        num_empty += not text
    return Captions(found, num_empty, unreadable)


def read_job(store: CaptionStore, job: int) -> Captions:
    """Return the captions that a job wrote, as it wrote them. Raise JobError if there are none, and StateError."""
    rows = captions_by(store.database, job)
    if not rows:
        raise JobError(f"job {job} wrote no captions; see `captioner history`")
    folder = os.path.commonpath([path.parent for path, _, _ in rows])
    return Captions(
        [CaptionText(path.relative_to(folder).as_posix(), text, True, time_s, job) for path, text, time_s in rows],
        0,
        [],
    )
