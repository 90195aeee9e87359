"""Changes of many captions, in transactions of a few at a time."""

from collections.abc import Callable, Iterable
from pathlib import Path

from captioner.captions.changes import Change, ChangeLog
from captioner.captions.encoding import HOW_TO_BE_CERTAIN, Decoded, encode
from captioner.captions.lines import on_core, retype, with_line_feeds
from captioner.captions.text import is_blank
from captioner.captions.undo import CHANGED_AT_ONCE
from captioner.errors import CaptionError


def change_many(log: ChangeLog, paths: Iterable[Path], plan: Callable[[Path], Change | str]) -> dict[Path, str]:
    """Make the change that `plan` returns for each file; a text from it is the reason to leave the file alone.

    Return for each file "changed" or the reason why it was left alone.
    """
    results: dict[Path, str] = {}
    paths = list(dict.fromkeys(paths))
    for start in range(0, len(paths), CHANGED_AT_ONCE):
        with log.lock:
            planned = {path: plan(path) for path in paths[start : start + CHANGED_AT_ONCE]}
            changes = [change for change in planned.values() if isinstance(change, Change)]
            problems = log.make(changes)
        results |= {path: reason for path, reason in planned.items() if isinstance(reason, str)}
        for change, problem in zip(changes, problems, strict=True):
            results[change.path] = str(problem) if problem else "changed"
    return results


def edited(
    path: Path, old: bytes | None, before: Decoded, edit: Callable[[str], str | None], operation: int | None
) -> Change | str:
    """Return the change that an edit makes of a file, or why it makes none. Raise what `edit` raises.

    before: the text in `old`, the content of the file. edit: see CaptionStore.rewrite.
    """
    new = edit(before.body)
    if new == before.body:
        return "same"
    if new is None:
        return Change(path, old, None, "bulk", operation)
    if before.doubt:
        return f"{before.doubt}; {HOW_TO_BE_CERTAIN}"
    text = on_core(before.text, lambda _: new)
    return "would be empty" if is_blank(new) else Change(path, old, encode(text, before.text), "bulk", operation)


def replacement(before: str, text: str, overwrite: bool) -> str:
    """Return what to write into a file that holds `before`, with its line breaks. Raise CaptionError if it stays."""
    text = text.strip()
    if with_line_feeds(before) == with_line_feeds(text):
        return before
    if before and not overwrite:
        raise CaptionError("it has another caption; add --overwrite to replace it")
    return retype(before, text)
