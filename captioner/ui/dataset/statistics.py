"""The statistics of the open folder that the Dataset tab shows."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from captioner.dataset.lint.listing import captioned_files
from captioner.dataset.statistics.by_settings import statistics_options
from captioner.dataset.statistics.compare import compare
from captioner.dataset.statistics.corpus import build_corpus
from captioner.dataset.statistics.folder import Captions, read_captions, read_job
from captioner.dataset.statistics.groups import Group
from captioner.dataset.statistics.rows import Section, captions_behind, difference_section, sections, summary
from captioner.dataset.statistics.statistics import Statistics, count_captions
from captioner.errors import JobError
from captioner.formatting import plural, printable, sendable
from captioner.services import Services
from captioner.ui.dataset.work import FolderWork
from captioner.ui.gallery.grid import to_ranges

Plot = dict[str, Any]  # as Gradio's native plots take it, without pandas
Against = int | Path | None  # the captions to compare with: those that a job wrote, or those of a folder
JOBS_LISTED = 30


@dataclass(frozen=True)
class Counted:
    """The statistics of one folder. facts: (label, text), about the whole set."""

    number: int
    folder: Path
    found: Statistics
    tables: list[Section]
    facts: list[tuple[str, str]]
    ended_s: float  # POSIX time


class FolderStatistics(FolderWork):
    """Any thread may call."""

    def __init__(self, services: Services) -> None:
        super().__init__(services, "a count")
        self._number = 0
        self._counted: Counted | None = None

    def start(self, against: Against = None) -> None:
        """Count the captions of the open folder in a thread, and compare them. Raise JobError."""
        self._run("Reading captions", lambda: self._count(against))

    def jobs(self) -> list[tuple[int, str, float]]:
        """Return (number, title, POSIX time) of the jobs that changed captions in the open folder, the latest first."""
        folder, known = self._services.library.folder, self._services.jobs.journal.recent(JOBS_LISTED)
        of_folder = (each for each in known if each.kind == "job" and each.folder == folder and each.done)
        return [(each.id, sendable(each.title), each.created_at_s) for each in of_folder]

    def view(self) -> dict[str, Any]:
        """Return what the tab shows but for the tables, as JSON can hold it."""
        counted = self._counted
        is_shown = counted is not None and counted.folder == self._services.library.folder
        return super().view() | {"result": _about(counted) if counted and is_shown else None}

    def tables(self, number: int) -> list[dict[str, Any]]:
        """Return the tables of a count; none if there is a newer one."""
        counted = self._of(number)
        return [_table(each) for each in counted.tables] if counted else []

    def files(self, number: int, section: str, row: int) -> dict[str, str]:
        """Return the scan and the positions of the files behind a row in the gallery, and what an edit finds."""
        counted, scan = self._of(number), self._services.library.scan
        if counted is None or counted.folder != scan.folder:
            return {"scan": "", "ids": "", "find": ""}
        chosen = next(each for each in counted.tables if each.name == section).rows[row]
        names = (counted.found.captions[i].name for i in captions_behind(counted.found, chosen))
        ids = sorted(scan.positions[name] for name in names if name in scan.positions)
        return {"scan": scan.id, "ids": to_ranges(ids), "find": sendable(chosen.edit)}

    def lengths(self, number: int) -> Plot | None:
        """Return the number of captions by their words."""
        counted = self._of(number)
        groups = counted.found.by_length if counted else ()
        return _plot("bar", "nominal", [[each.title, len(each.captions)] for each in groups]) if groups else None

    def times(self, number: int) -> Plot | None:
        """Return the mean number of words by the time of the files; None if there is but one time."""
        counted = self._of(number)
        groups = [each for each in counted.found.by_time if each.title[0].isdigit()] if counted else []
        if len(groups) < 2:
            return None
        return _plot("line", "temporal", [[_milliseconds(each), round(each.num_words, 1)] for each in groups])

    def _of(self, number: int) -> Counted | None:
        counted = self._counted
        return counted if counted and counted.number == number else None

    def _count(self, against: Against) -> None:
        services = self._services
        scan = services.library.scan
        if scan.folder is None:
            raise JobError("open a folder first")
        others = None if against is None else self._read(against, scan.recursive)
        captions = read_captions(scan.folder, scan.items, services.captions, self._show)
        found = count_captions(captions, statistics_options(services.settings), self._show)
        tables, facts = sections(found), summary(found)
        if captions.unreadable:
            facts.insert(1, ("not read", plural(len(captions.unreadable), "caption")))
        if others:
            table = difference_section(found, compare(found.corpus, build_corpus([each.text for each in others.found])))
            name = against.name or str(against) if isinstance(against, Path) else f"job {against}"
            about = plural(len(table.rows), "difference") if table.rows else "no difference that could not be chance"
            facts.append((f"beside {plural(len(others.found), 'caption')} of {sendable(name)}", about))
            tables.insert(0, table)
        self._number += 1
        self._counted = Counted(self._number, scan.folder, found, tables, facts, time.time())

    def _read(self, against: int | Path, recursive: bool) -> Captions:
        services = self._services
        if isinstance(against, int):
            if against not in (number for number, *_ in self.jobs()):
                raise JobError(f"job {against} captioned no file of this folder")
            return read_job(services.captions, against)
        folder = services.roots.resolve(against)
        items, _ = captioned_files(folder, services.listing_options(recursive), services.roots.escapes)
        return read_captions(folder, items, services.captions, self._show)


def _about(counted: Counted) -> dict[str, Any]:
    return {
        "number": counted.number,
        "captions": len(counted.found.captions),
        "facts": counted.facts,
        "ended_s": counted.ended_s,
    }


def _table(section: Section) -> dict[str, Any]:
    rows = [
        (_shown(row.text), row.captions, round(row.share, 4), _shown(row.detail), bool(row.edit))
        for row in section.rows
    ]
    return {"name": section.name, "title": section.title, "note": section.note, "rows": rows}


def _shown(text: str) -> str:
    return printable(sendable(text))


def _plot(mark: str, kind: str, data: list[list[Any]]) -> Plot:
    columns, kinds = ["words" if mark == "bar" else "time", "captions" if mark == "bar" else "words"], {}
    kinds = dict(zip(columns, (kind, "quantitative"), strict=True))
    return {"columns": columns, "data": data, "datatypes": kinds, "mark": mark}


def _milliseconds(group: Group) -> float:
    return datetime.strptime(f"{group.title}-01"[:10], "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000
