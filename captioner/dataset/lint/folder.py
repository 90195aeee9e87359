"""Lints the captions of a folder. What was found in a caption is kept in the database until it or the rules change."""

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from captioner.captions.encoding import decode
from captioner.captions.ownership import digest
from captioner.captions.store import CaptionStore
from captioner.dataset.lint.draft import Draft
from captioner.dataset.lint.finding import Finding, Hit, LintOptions
from captioner.dataset.lint.lint import Linted, draft_of, lint_draft, lint_set, needs_facts
from captioner.errors import CaptionError
from captioner.media.facts import Facts, FactsCache, Progress, measured_in
from captioner.system.database import Database, escape_surrogates, path_text
from captioner.values import Measured, MediaFacts, MediaInfo, MediaItem

SHOWN_EVERY, WRITTEN_AT_ONCE = 500, 2000
NO_HITS = "[]"
Kept = tuple[str, str, list[Hit]]  # what the file and the rules were, text, hits


class FolderLint(NamedTuple):
    """The findings in a folder. unreadable: (name, reason) of captions that could not be read."""

    findings: list[Finding]
    texts: dict[str, str]  # of the captions, by the names of their files
    num_read: int  # captions that were read and checked, since they are new or changed
    unreadable: list[tuple[str, str]]


def lint_items(
    folder: Path,
    items: Sequence[MediaItem],
    options: LintOptions,
    store: CaptionStore,
    media: FactsCache,
    progress: Progress = lambda what, done, total: None,
) -> FolderLint:
    """Lint the captions of files of a folder. Raise StateError.

    Media files are probed only where a caption speaks of sound or has fields, and none is measured: captions are
    compared with what is kept.
    """
    reader = _Reader(folder, options, store, measured_in(store.database, folder, items))
    found: dict[str, Kept] = {}
    new: dict[str, Kept] = {}
    pending = []  # which need the facts of their files
    for number, item in enumerate(items):
        if number % SHOWN_EVERY == 0:
            progress("captions", number, len(items))
        each = reader.read(item)
        if isinstance(each, _Unchecked):
            if item.kind == "video" and needs_facts(each.draft):
                pending.append(each)
            else:
                new[item.name] = each.checked(options)
        elif each:
            found[item.name] = each
    facts = media.read(folder, [each.item for each in pending], progress) if pending else {}
    for each in pending:
        new[each.item.name] = each.with_facts(facts[each.item.name]).checked(options)
    _keep(store.database, folder, new)
    found |= new
    linted = [Linted(item.name, *found[item.name][1:]) for item in items if item.name in found]
    findings = lint_set([each for each in linted if each.text], options)
    texts = {each.name: each.text for each in linted}
    return FolderLint(findings, texts, len(new), reader.unreadable)


class _Unchecked(NamedTuple):
    """A caption that was read since it is new or changed."""

    item: MediaItem
    stamp: str
    draft: Draft

    def with_facts(self, facts: Facts) -> "_Unchecked":
        if not isinstance(facts, MediaInfo):
            return self
        known = MediaFacts(facts.duration_s, has_sound=facts.has_sound, measured=self.draft.facts.measured)
        return self._replace(draft=replace(self.draft, facts=known))

    def checked(self, options: LintOptions) -> Kept:
        return self.stamp, self.draft.text, lint_draft(self.draft, options)


class _Reader:
    """Reads the captions, but takes what is kept of those that did not change."""

    def __init__(
        self, folder: Path, options: LintOptions, store: CaptionStore, measured: Mapping[str, Measured]
    ) -> None:
        self._options, self._store, self._measured = options, store, measured
        self._flaws = store.ownership.flaws_in(folder)
        self._rules = _digest_of_rules(options, store.encoding)
        self._kept = _kept(store.database, folder)
        self.unreadable: list[tuple[str, str]] = []

    def read(self, item: MediaItem) -> Kept | _Unchecked | None:
        """Return the caption of a file, or None if it has none that can be read."""
        path = item.caption_path
        try:
            status = os.stat(path)  # noqa: PTH116 - a call for each of many files
        except OSError:
            return None
        flaw = self._flaws.get(path_text(path), "") if self._flaws else ""
        times = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, item.size_bytes, item.modified_s)
        measured = self._measured.get(item.name)
        stamp = f"{self._rules} {times} {flaw}" + (f" {measured.camera} {measured.cuts_s}" if measured else "")
        kept = self._kept.get(escape_surrogates(item.name))
        if kept and kept[0] == stamp:
            return kept
        try:
            data = self._store.files.read(path)
        except CaptionError as error:
            self.unreadable.append((item.name, str(error)))
            return None
        if flaw and digest(data or b"") != self._store.ownership.digest_of(path):
            flaw = ""  # it was changed since
        text = decode(data, self._store.encoding).body
        facts = MediaFacts(is_still=item.kind == "image", measured=measured)
        return _Unchecked(item, stamp, draft_of(text, self._options, facts, flaw))


def _digest_of_rules(options: LintOptions, encoding: str) -> str:
    parts = (options.key, encoding, _digest_of_code())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@functools.cache
def _digest_of_code() -> str:
    """Return a hash of the tables and the code of the rules, so that what older rules found is not shown."""
    root = Path(str(files("captioner")))
    paths = [root / "marks.py", *(root / "dataset").rglob("*"), *(root / "captions").rglob("*")]
    parts = (path.read_bytes() for path in sorted(paths) if path.suffix in (".py", ".toml"))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _kept(database: Database, folder: Path) -> dict[str, Kept]:
    rows = database.rows("SELECT name, stamp, text, hits_json FROM lint_found WHERE folder = ?", (path_text(folder),))
    return {name: (stamp, text, _hits(hits_json)) for name, stamp, text, hits_json in rows}


def _hits(hits_json: str) -> list[Hit]:
    return [Hit(*hit) for hit in json.loads(hits_json)] if hits_json != NO_HITS else []


def _keep(database: Database, folder: Path, found: Mapping[str, Kept]) -> None:
    sql = "INSERT OR REPLACE INTO lint_found (folder, name, stamp, text, hits_json) VALUES (?, ?, ?, ?, ?)"
    for rows in _batches(path_text(folder), found):
        with database.transaction() as connection:
            connection.executemany(sql, rows)


def _batches(folder: str, found: Mapping[str, Kept]) -> Iterator[list[tuple[str, str, str, str, str]]]:
    rows = [
        (folder, escape_surrogates(name), stamp, escape_surrogates(text), json.dumps(hits) if hits else NO_HITS)
        for name, (stamp, text, hits) in found.items()
    ]
    for start in range(0, len(rows), WRITTEN_AT_ONCE):
        yield rows[start : start + WRITTEN_AT_ONCE]
