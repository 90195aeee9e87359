"""The facts of media files, such as size and duration, kept in the database so that a folder is probed once.

What was measured in a clip is kept with them. Facts are those of a file of this size and time of change.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, fields, replace
from pathlib import Path
from typing import Protocol

from captioner.errors import MediaError
from captioner.media.measure import VERSION
from captioner.media.sandbox import WORKERS
from captioner.system.database import Database, escape_surrogates, path_text
from captioner.values import Measured, MediaInfo, MediaItem, measured_from

Facts = MediaInfo | str  # a text: why the file cannot be read
Progress = Callable[[str, int, int], None]  # called with (what is read, files done, files in all)
WRITTEN_AT_ONCE = 100
NUM_FACTS = len(fields(MediaInfo)) - 1  # but what was measured


Row = tuple[int, float, str]  # size in bytes, time of change, JSON


class SizedFile(Protocol):
    """A file of a folder. name: relative to the folder."""

    @property
    def name(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def modified_s(self) -> float: ...


class FactsCache:
    """Any thread may call. probe: describes a file and raises MediaError, such as `Sandbox.probe`."""

    def __init__(self, database: Database, probe: Callable[[Path], MediaInfo]) -> None:
        self._database, self._probe = database, probe

    def keep(self, folder: Path, found: Mapping[SizedFile, MediaInfo]) -> None:
        """Keep the facts of files. Raise StateError."""
        with self._database.transaction() as connection:
            for file, info in found.items():
                connection.execute(*statement(folder, file, info))

    def read(
        self, folder: Path, files: Sequence[SizedFile], progress: Progress = lambda what, done, total: None
    ) -> dict[str, Facts]:
        """Return the facts of each file by name, probing those that are new or changed. Raise StateError."""
        known = _known(self._database, folder)
        facts: dict[str, Facts] = {}
        missing = []
        for file in files:
            if info := _valid(known.get(escape_surrogates(file.name)), file):
                facts[file.name] = info
            else:
                missing.append(file)
        progress("media", len(facts), len(files))
        probed = self._probed(folder, missing)
        while some := list(itertools.islice(probed, WRITTEN_AT_ONCE)):
            facts |= {file.name: found for file, found in some}
            self.keep(folder, {file: found for file, found in some if isinstance(found, MediaInfo)})
            progress("media", len(facts), len(files))
        return facts

    def rates(self, folder: Path, files: Sequence[SizedFile]) -> dict[str, float]:
        """Return the frames per second of each clip that can be read. Raise StateError."""
        return {name: facts.fps for name, facts in self.read(folder, files).items() if isinstance(facts, MediaInfo)}

    def measure(
        self, folder: Path, items: Sequence[MediaItem], measure: Callable[[MediaItem], MediaInfo]
    ) -> Iterator[tuple[MediaItem, Measured | str]]:
        """Yield what is measured in each clip, or why it cannot be read. Raise StateError.

        measure: measures a clip and raises MediaError, such as `Sandbox.measure`; called for those not yet measured.
        """
        known = measured_in(self._database, folder, items)

        def measured(item: MediaItem) -> Facts:
            try:
                return measure(item)
            except MediaError as error:
                return str(error)

        with ThreadPoolExecutor(WORKERS, "measure") as pool:
            new = pool.map(measured, [item for item in items if item.name not in known])
            for item in items:
                info = known.get(item.name) or next(new)
                if isinstance(info, MediaInfo):
                    self.keep(folder, {item: info})
                    assert info.measured
                    info = info.measured
                yield item, info

    def _probed(self, folder: Path, files: Sequence[SizedFile]) -> Iterator[tuple[SizedFile, Facts]]:
        """Probe files, as many at once as the sandbox has workers."""

        def describe(file: SizedFile) -> Facts:
            try:
                return self._probe(folder / file.name)
            except MediaError as error:
                return str(error)

        with ThreadPoolExecutor(WORKERS, "media facts") as pool:
            yield from zip(files, pool.map(describe, files), strict=True)


def measured_in(database: Database, folder: Path, files: Sequence[SizedFile]) -> dict[str, Measured]:
    """Return what is kept of what was measured in files, by name; no file is read. Raise StateError."""
    known = _known(database, folder)
    found = {file.name: _valid(known.get(escape_surrogates(file.name)), file) for file in files} if known else {}
    return {name: info.measured for name, info in found.items() if info and info.measured}


def measured_of(database: Database, folder: Path, file: SizedFile) -> Measured | None:
    """Return what is kept of what was measured in a file. Raise StateError."""
    sql = "SELECT size_bytes, modified_s, info_json FROM media_facts WHERE folder = ? AND name = ?"
    rows = database.rows(sql, (path_text(folder), escape_surrogates(file.name)))
    info = _valid(tuple(rows[0]), file) if rows else None
    return info.measured if info else None


def _known(database: Database, folder: Path) -> dict[str, Row]:
    sql = "SELECT name, size_bytes, modified_s, info_json FROM media_facts WHERE folder = ?"
    return {row[0]: (row[1], row[2], row[3]) for row in database.rows(sql, (path_text(folder),))}


def statement(folder: Path, file: SizedFile, info: MediaInfo) -> tuple[str, tuple]:
    """Build the statement, with its parameters, that keeps the facts of a file."""
    *facts, _ = astuple(info)
    row = [*facts, [VERSION, asdict(info.measured)]] if info.measured else facts
    sql = "INSERT OR REPLACE INTO media_facts (folder, name, size_bytes, modified_s, info_json) VALUES (?,?,?,?,?)"
    return sql, (path_text(folder), escape_surrogates(file.name), file.size_bytes, file.modified_s, json.dumps(row))


def _valid(row: Row | None, file: SizedFile) -> MediaInfo | None:
    """Return the facts in a row if they are those of the file as it is now."""
    if not row or row[:2] != (file.size_bytes, file.modified_s):
        return None
    values = json.loads(row[2])
    version, kept = values[NUM_FACTS] if len(values) > NUM_FACTS else (0, {})
    info = MediaInfo(*values[:NUM_FACTS])
    return replace(info, measured=measured_from(kept)) if version == VERSION else info
