"""Undoes a whole operation, byte for byte."""

from dataclasses import dataclass, replace
from pathlib import Path

from captioner.captions.changes import Change, ChangeLog
from captioner.captions.files import CaptionFiles
from captioner.captions.operations import RUNS, begin_operation, end_operation, mark_undone, operation_info, resumed_as
from captioner.captions.ownership import Ownership
from captioner.errors import CaptionError, JobError
from captioner.formatting import plural
from captioner.system.database import Database, text_path

CHANGED_AT_ONCE = 100  # captions that share two transactions


@dataclass(frozen=True)
class Undone:
    """The result of an undo. `kept` lists the files that were left as they are, with the reasons."""

    restored: int
    kept: tuple[tuple[Path, str], ...]


def undo_operation(database: Database, log: ChangeLog, ownership: Ownership, operation: int) -> Undone:
    """See CaptionStore.undo."""
    undone = operation_info(database, operation)
    if (later := resumed_as(database, operation)) is not None:
        raise JobError(f"job {operation} was resumed as job {later}, which is undone together with it; undo that")
    reversals = _reversals(database, operation)
    number, restored, kept = 0, 0, []
    for start in range(0, len(reversals), CHANGED_AT_ONCE):
        with log.lock:
            wanted, refused = _sort_out(reversals[start : start + CHANGED_AT_ONCE], log.files, ownership)
            if wanted and not number:
                with database.transaction() as connection:
                    title, total = f"Undo of {undone.title}", len(reversals)
                    number = begin_operation(connection, "undo", title, undone.folder, total, undoes=operation)
            problems = log.make([replace(change, operation=number) for change in wanted])
        kept += refused
        kept += [(change.path, str(problem)) for change, problem in zip(wanted, problems, strict=True) if problem]
        restored += problems.count(None)
    if restored or not kept:
        with database.transaction() as connection:
            mark_undone(connection, operation)
    if number:
        end_operation(database, number, "done", f"kept {plural(len(kept), 'caption')}" if kept else "")
    return Undone(restored, tuple(kept))


def _reversals(database: Database, operation: int) -> list[Change]:
    """Return for each file the change from what the operation left there to what was there before it.

    Where something else changed the file between two runs of a job, that is what was there before it.
    """
    sql = "SELECT caption_path, before, after FROM caption_changes WHERE operation IN runs AND made = 1 ORDER BY id"
    before: dict[str, bytes | None] = {}
    after: dict[str, bytes | None] = {}
    for key, old, new in database.rows(RUNS + sql, (operation,)):
        if key not in after or after[key] != old:
            before[key] = old
        after[key] = new
    return [Change(text_path(key), after[key], before[key], "undo") for key in after]


def _sort_out(
    reversals: list[Change], files: CaptionFiles, ownership: Ownership
) -> tuple[list[Change], list[tuple[Path, str]]]:
    """Return (changes to make, files to keep with the reasons); files that are as before are in neither."""
    wanted, kept = [], []
    for change in reversals:
        try:
            now = files.read(change.path)
        except CaptionError as error:
            kept.append((change.path, str(error)))
            continue
        if now == change.after:
            continue
        if now != change.before:
            kept.append((change.path, "changed since"))
        elif ownership.is_approved(change.path):
            kept.append((change.path, "approved"))
        else:
            wanted.append(change)
    return wanted, kept
