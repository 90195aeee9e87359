"""The facts of media files, such as size and duration, kept in the database so that a folder is probed once."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path
from typing import Protocol

from captioner.errors import MediaError
from captioner.media.sandbox import WORKERS
from captioner.system.database import Database, escape_surrogates, path_text
from captioner.values import MediaInfo

Facts = MediaInfo | str  # a text: why the file cannot be read
Progress = Callable[[str, int, int], None]  # called with (what is read, files done, files in all)
WRITTEN_AT_ONCE = 100


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

    def read(
        self, folder: Path, files: Sequence[SizedFile], progress: Progress = lambda what, done, total: None
    ) -> dict[str, Facts]:
        """Return the facts of each file by name, probing those that are new or changed. Raise StateError."""
        known = self._known(folder)
        facts: dict[str, Facts] = {}
        missing = []
        for file in files:
            row = known.get(escape_surrogates(file.name))
            if row and row[:2] == (file.size_bytes, file.modified_s):
                facts[file.name] = MediaInfo(*json.loads(row[2]))
            else:
                missing.append(file)
        progress("media", len(facts), len(files))
        probed = self._probed(folder, missing)
        while some := list(itertools.islice(probed, WRITTEN_AT_ONCE)):
            facts |= {file.name: found for file, found in some}
            self._keep(folder, {file: found for file, found in some if isinstance(found, MediaInfo)})
            progress("media", len(facts), len(files))
        return facts

    def rates(self, folder: Path, files: Sequence[SizedFile]) -> dict[str, float]:
        """Return the frames per second of each clip that can be read. Raise StateError."""
        return {name: facts.fps for name, facts in self.read(folder, files).items() if isinstance(facts, MediaInfo)}

    def _known(self, folder: Path) -> dict[str, tuple[int, float, str]]:
        sql = "SELECT name, size_bytes, modified_s, info_json FROM media_facts WHERE folder = ?"
        return {row[0]: (row[1], row[2], row[3]) for row in self._database.rows(sql, (path_text(folder),))}

    def _keep(self, folder: Path, found: Mapping[SizedFile, MediaInfo]) -> None:
        sql = "INSERT OR REPLACE INTO media_facts (folder, name, size_bytes, modified_s, info_json) VALUES (?,?,?,?,?)"
        rows = [
            (path_text(folder), escape_surrogates(file.name), file.size_bytes, file.modified_s, json.dumps(astuple(i)))
            for file, i in found.items()
        ]
        with self._database.transaction() as connection:
            connection.executemany(sql, rows)

    def _probed(self, folder: Path, files: Sequence[SizedFile]) -> Iterator[tuple[SizedFile, Facts]]:
        """Probe files, as many at once as the sandbox has workers."""

        def describe(file: SizedFile) -> Facts:
            try:
                return self._probe(folder / file.name)
            except MediaError as error:
                return str(error)

        with ThreadPoolExecutor(WORKERS, "media facts") as pool:
            yield from zip(files, pool.map(describe, files), strict=True)
