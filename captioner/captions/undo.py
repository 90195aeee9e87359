"""Undoes a whole operation, byte for byte."""

from dataclasses import dataclass
from pathlib import Path

from captioner.captions.changes import Change, ChangeLog, read_bytes
from captioner.captions.operations import begin_operation, end_operation, mark_undone, operation_info
from captioner.captions.ownership import Ownership
from captioner.errors import CaptionError
from captioner.formatting import plural
from captioner.system.database import Database, text_path

CHANGED_AT_ONCE = 100  # captions that share two transactions


@dataclass(frozen=True)
class Undone:
    """The result of an undo. `kept` lists the files that were left as they are, with the reasons."""

    restored: int
    kept: tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class _Span:
    """The content of a file before the first and after the last change of an operation."""

    path: Path
    before: bytes | None
    after: bytes | None


def undo_operation(database: Database, log: ChangeLog, ownership: Ownership, operation: int) -> Undone:
    """See CaptionStore.undo."""
    undone = operation_info(database, operation)
    spans = _spans(database, operation)
    number, restored, kept = 0, 0, []
    for start in range(0, len(spans), CHANGED_AT_ONCE):
        with log.lock:
            wanted, refused = _sort_out(spans[start : start + CHANGED_AT_ONCE], ownership)
            if wanted and not number:
                with database.transaction() as connection:
                    title = f"Undo of {undone.title}"
                    number = begin_operation(connection, "undo", title, undone.folder, len(spans), undoes=operation)
            problems = log.make([Change(span.path, span.after, span.before, "undo", number) for span in wanted])
        kept += refused
        kept += [(span.path, str(problem)) for span, problem in zip(wanted, problems, strict=True) if problem]
        restored += problems.count(None)
    if restored or not kept:
        with database.transaction() as connection:
            mark_undone(connection, operation)
    if number:
        with database.transaction() as connection:
            end_operation(connection, number, "done", f"kept {plural(len(kept), 'caption')}" if kept else "")
    return Undone(restored, tuple(kept))


def _spans(database: Database, operation: int) -> list[_Span]:
    rows = database.rows(
        "SELECT caption_path, before, after FROM caption_changes WHERE operation = ? AND made = 1 ORDER BY id",
        (operation,),
    )
    first = {row["caption_path"]: row for row in reversed(rows)}
    last = {row["caption_path"]: row for row in rows}
    return [_Span(text_path(key), first[key]["before"], row["after"]) for key, row in last.items()]


def _sort_out(spans: list[_Span], ownership: Ownership) -> tuple[list[_Span], list[tuple[Path, str]]]:
    """Return (the files to put back, the files to keep with the reasons); files that are as before are in neither."""
    wanted, kept = [], []
    for span in spans:
        try:
            now = read_bytes(span.path)
        except CaptionError as error:
            kept.append((span.path, str(error)))
            continue
        if now == span.before:
            continue
        if now != span.after:
            kept.append((span.path, "changed since"))
        elif ownership.is_approved(span.path):
            kept.append((span.path, "approved"))
        else:
            wanted.append(span)
    return wanted, kept
