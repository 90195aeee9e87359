"""Previews an edit of many captions of the open folder, and applies it as one operation that can be undone."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from captioner.captions.edit import BulkEdit
from captioner.captions.operations import begin_operation, end_operation
from captioner.errors import CaptionerError, JobError
from captioner.library.library import Library
from captioner.system.database import Database

PREVIEWED = 100


@dataclass(frozen=True)
class Preview:
    """The effect of an edit. skipped: the number of captions by reason, such as "approved" or "would be empty"."""

    changed: tuple[tuple[str, str, str], ...]  # (name, text before, text after) of the first changes
    num_changed: int
    num_same: int
    skipped: dict[str, int]
    changed_outside: frozenset[str]  # names of the captions to change that another program changed


@dataclass(frozen=True)
class BulkDone:
    """The result of an edit. skipped: the number of captions by reason; an error in writing is a reason, too."""

    operation: int
    num_changed: int
    num_same: int
    skipped: dict[str, int]


def preview(library: Library, names: Collection[str], edit: BulkEdit, limit: int = PREVIEWED) -> Preview:
    """Return what the edit would do to these files, with at most `limit` changes. Raise JobError and StateError."""
    changed: list[tuple[str, str, str]] = []
    outcomes: Counter[str] = Counter()
    changed_outside: set[str] = set()
    with edit.ready() as apply:
        for item in library.lookup.items(names):
            outcome = library.captions.rehearse(item.caption_path, apply)
            if isinstance(outcome, str):
                outcomes[outcome] += 1
                continue
            outcomes["changed"] += 1
            before, after, is_changed_outside = outcome
            if is_changed_outside:
                changed_outside.add(item.name)
            if len(changed) < limit:
                changed.append((item.name, before, after))
    return Preview(tuple(changed), *_counts(outcomes), frozenset(changed_outside))


def bulk_edit(database: Database, library: Library, names: Collection[str], edit: BulkEdit) -> BulkDone:
    """Edit the captions of these files, as they are on disk now, in one operation.

    Raises JobError and StateError; captions that were changed before the error can be undone.
    """
    items = library.lookup.items(names)
    if not items:
        raise JobError("nothing to change: no file is selected, or its folder is no longer open")
    paths = [item.caption_path for item in items]
    with edit.ready() as apply:  # before the operation begins, since the pattern may be wrong
        with database.transaction() as connection:
            folder = library.folder or items[0].folder
            operation = begin_operation(connection, "bulk", edit.title(), folder, len(items))
        try:
            outcomes = Counter(library.captions.rewrite(paths, apply, operation).values())
        except CaptionerError as error:
            end_operation(database, operation, "failed", str(error))
            raise
        finally:
            library.edits.refresh(paths)
    end_operation(database, operation, "done")
    return BulkDone(operation, *_counts(outcomes))


def _counts(outcomes: Counter[str]) -> tuple[int, int, dict[str, int]]:
    """Return (number of changed captions, number of unchanged ones, the other outcomes)."""
    rest = dict(outcomes)
    return rest.pop("changed", 0), rest.pop("same", 0), rest
