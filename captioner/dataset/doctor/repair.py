"""Repairs what needs no decision of a person: marks, encodings, line breaks, empty files and names of captions."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from captioner.captions.changes import Change
from captioner.captions.encoding import decode
from captioner.captions.operations import begin_operation, end_operation
from captioner.captions.store import CaptionStore
from captioner.dataset.doctor.checks_captions import misnamed_caption
from captioner.dataset.doctor.finding import Finding
from captioner.dataset.doctor.scene import Item, Scene
from captioner.dataset.forms import as_one_line
from captioner.errors import CaptionError

CHANGED_AT_ONCE = 100
RENAMED = "caption-extension"
REPAIRS: dict[str, Callable[[str], str | None]] = {  # of the text; None: the file is deleted
    "caption-empty": lambda text: None,
    "caption-mark": lambda text: text,  # UTF-8 without a mark is written in any case
    "caption-encoding": lambda text: text,
    "caption-lines": as_one_line,
}


@dataclass(frozen=True)
class Repaired:
    """The result of a repair. operation: None if nothing was done. kept: (file, reason) of what was left alone."""

    operation: int | None
    paths: tuple[Path, ...]  # the caption files that were changed, made or deleted
    kept: tuple[tuple[str, str], ...]


def repair(scene: Scene, findings: Iterable[Finding], store: CaptionStore) -> Repaired:
    """Repair the findings that can be, in one operation that can be undone. Raise StateError.

    Captions that are approved, or were changed since the folder was read, are left alone.
    """
    codes = defaultdict(set)
    for finding in findings:
        if finding.can_repair:
            codes[finding.file].add(finding.code)
    plan = _Plan(scene, store)
    for item in scene.items:
        if item.name in codes:
            plan.add(item, codes[item.name])
    return plan.carry_out() if plan.changes else Repaired(None, (), tuple(plan.kept))


class _Plan:
    """The changes of a repair: by caption file, since several media files may share one."""

    def __init__(self, scene: Scene, store: CaptionStore) -> None:
        self._scene, self._store = scene, store
        self.changes: dict[Path, Change] = {}
        self.kept: list[tuple[str, str]] = []
        self._old_names: dict[Path, Path] = {}  # by the new name

    def add(self, item: Item, codes: set[str]) -> None:
        """Plan the repairs of one item's caption."""
        folder, other = self._scene.contents.folder, ""
        if RENAMED in codes:
            other = misnamed_caption(self._scene, item)
        path = folder / (other or item.source)
        if self._store.ownership.is_approved(path):
            self.kept.append((item.name, "approved"))
        elif other:
            self._rename(item, path, folder / (item.stem + self._scene.extension))
        elif item.data is not None:
            text: str | None = decode(item.data, self._store.encoding).text
            for code, change in REPAIRS.items():
                text = change(text) if code in codes and text is not None else text
            self.changes[path] = Change(path, item.data, None if text is None else text.encode(), "bulk")

    def carry_out(self) -> Repaired:
        """Make the changes. A file gets its old name taken away only once it has the new one."""
        title, folder = f"Repair captions for {self._scene.trainer.title}", self._scene.contents.folder
        with self._store.database.transaction() as connection:
            operation = begin_operation(connection, "bulk", title, folder, len(self.changes))
        try:
            done = self._make(list(self.changes.values()), operation)
            old = [(self._old_names[change.path], change.after) for change in done if change.path in self._old_names]
            done += self._make([Change(path, data, None, "bulk") for path, data in old], operation)
        finally:
            end_operation(self._store.database, operation, "done")
        return Repaired(operation, tuple(change.path for change in done), tuple(self.kept))

    def _make(self, changes: Sequence[Change], operation: int) -> list[Change]:
        done = []
        for start in range(0, len(changes), CHANGED_AT_ONCE):
            some = [replace(change, operation=operation) for change in changes[start : start + CHANGED_AT_ONCE]]
            for change, problem in zip(some, self._store.make_changes(some), strict=True):
                if problem:
                    self.kept.append((change.path.name, str(problem)))
                else:
                    done.append(change)
        return done

    def _rename(self, item: Item, old: Path, new: Path) -> None:
        try:
            data = self._store.files.read(old)
        except CaptionError as error:
            self.kept.append((item.name, str(error)))
            return
        if data is not None:
            self.changes[new], self._old_names[new] = Change(new, None, data, "bulk"), old
