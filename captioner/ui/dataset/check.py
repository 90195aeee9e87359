"""The check of the open folder that the Dataset tab shows."""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captioner.dataset.doctor.examine import examine, look_at
from captioner.dataset.doctor.finding import Finding, codes
from captioner.dataset.doctor.repair import repair
from captioner.dataset.doctor.scene import Scene
from captioner.dataset.targets import target as target_named
from captioner.dataset.trainers import trainer as trainer_named
from captioner.errors import JobError
from captioner.formatting import plural, sendable, sentence
from captioner.media.facts import FactsCache
from captioner.services import Services
from captioner.ui.dataset.work import FolderWork
from captioner.ui.gallery.grid import to_ranges

ROWS_AT_ONCE = 200


@dataclass(frozen=True)
class Checked:
    """The findings of one check, by code."""

    number: int
    folder: Path
    trainer: str
    target: str
    num_media: int
    ended_s: float  # POSIX time
    groups: dict[str, list[Finding]] = field(repr=False)


class FolderCheck(FolderWork):
    """Any thread may call. Methods raise JobError if no folder is open or a check runs already."""

    def __init__(self, services: Services) -> None:
        super().__init__(services, "a check")
        self._facts = FactsCache(services.database, services.sandbox.probe)
        self._number = 0
        self._checked: Checked | None = None
        self._repaired: tuple[str, int] = ("", 0)  # the outcome in words, and the operation that can be undone

    def start(self, trainer: str, target: str) -> None:
        """Check the open folder in a thread."""
        self._run("Reading the folder", lambda: self._check(trainer, target))

    def fix(self) -> None:
        """Repair in a thread what is safe, and check the folder again."""
        checked = self._checked
        if checked is None:
            raise JobError("check the folder first")
        self._services.claim()
        self._run("Repairing captions", lambda: self._fix(checked))

    def undo(self) -> None:
        """Undo the latest repair in a thread, and check the folder again."""
        operation, checked = self._repaired[1], self._checked
        if not operation or checked is None:
            raise JobError("there is no repair to undo")
        self._run("Undoing the repair", lambda: self._undo(operation, checked))

    def view(self) -> dict[str, Any]:
        """Return what the tab shows, as JSON can hold it."""
        folder, checked, (text, operation) = self._services.library.folder, self._checked, self._repaired
        return super().view() | {
            "repaired": sendable(text),
            "can_undo": bool(operation),
            "result": _shown(checked) if checked and checked.folder == folder else None,
        }

    def rows(self, number: int, code: str, start: int) -> list[tuple[str, str]]:
        """Return (file, detail) of some findings of a code; none if the folder was checked again since."""
        found = self._group(number, code)[start : start + ROWS_AT_ONCE]
        return [(sendable(each.file), sendable(each.message.partition("; ")[0])) for each in found]

    def files(self, number: int, code: str) -> dict[str, str]:
        """Return the scan and the positions of the files of a code in the gallery, as the grid names them."""
        scan = self._services.library.scan
        names = {each.file for each in self._group(number, code)}
        return {
            "scan": scan.id,
            "ids": to_ranges(sorted(scan.positions[name] for name in names & scan.positions.keys())),
        }

    def _group(self, number: int, code: str) -> list[Finding]:
        checked = self._checked
        return checked.groups.get(code, []) if checked and checked.number == number else []

    def _look(self, trainer: str, target: str) -> tuple[Scene, list[Finding]]:
        scan, services = self._services.library.scan, self._services
        if scan.folder is None:
            raise JobError("open a folder first")
        settings = services.settings.model_copy(update={"target": target})
        scene = look_at(scan.folder, trainer, settings, services.captions, self._facts, scan.recursive, self._show)
        self._busy, self._total = "Checking", 0
        return scene, examine(scene)

    def _check(self, trainer: str, target: str, keep: bool = False) -> None:
        scene, found = self._look(trainer, target)
        groups = defaultdict(list)
        for each in found:
            groups[each.code].append(each)
        self._number += 1
        self._repaired = self._repaired if keep else ("", 0)
        folder, num_media = scene.contents.folder, len(scene.media)
        self._checked = Checked(self._number, folder, trainer, target, num_media, time.time(), dict(groups))

    def _fix(self, checked: Checked) -> None:
        scene, found = self._look(checked.trainer, checked.target)
        self._busy = "Repairing captions"
        done = repair(scene, found, self._services.captions)
        self._services.library.edits.refresh(done.paths)
        kept = f", {len(done.kept):,} left alone" if done.kept else ""
        self._repaired = f"{plural(len(done.paths), 'caption file')} repaired{kept}", done.operation or 0
        self._check(checked.trainer, checked.target, keep=True)

    def _undo(self, operation: int, checked: Checked) -> None:
        undone = self._services.undo(operation)
        self._repaired = f"{plural(undone.restored, 'caption file')} restored", 0
        self._check(checked.trainer, checked.target, keep=True)


def _shown(checked: Checked) -> dict[str, Any]:
    rules, about = trainer_named(checked.trainer, checked.target), codes()
    groups = [
        {
            "code": code,
            "severity": found[0].severity,
            "title": about[code].title,
            "count": len(found),
            "does": f"{rules.title} {rules.rules[code].does}.",
            "fix": sentence(found[0].fix),
            "source": found[0].source,
            "repairs": sum(each.can_repair for each in found),
        }
        for code, found in checked.groups.items()
    ]
    target = target_named(checked.target)
    return {
        "number": checked.number,
        "trainer": checked.trainer,
        "target": checked.target,
        "for": rules.title + (f" and {target.title}" if target.name != "none" else ""),
        "media": checked.num_media,
        "ended_s": checked.ended_s,
        "groups": groups,
    }
