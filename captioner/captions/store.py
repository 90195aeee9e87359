"""Reads and writes the caption files beside the media; the database keeps their earlier texts and origins."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from captioner.captions.batches import change_many, edited, replacement
from captioner.captions.changes import CaptionFiles, Change, ChangeLog
from captioner.captions.encoding import AUTO, Decoded, check_certain, decode, encode
from captioner.captions.file_marks import FileMarks
from captioner.captions.history import HistoryEntry, earlier_texts
from captioner.captions.lines import on_core, retype
from captioner.captions.operations import RUNS, interrupt_running
from captioner.captions.ownership import Origin, Ownership, digest
from captioner.captions.provenance import Made, Provenance, captions_made, finish
from captioner.captions.text import Decoration, is_blank
from captioner.captions.undo import Undone, undo_operation
from captioner.captions.unwritten import UnwrittenCaptions
from captioner.captions.written import CHANGED_OUTSIDE, CHANGED_SINCE, SkipReason, Written
from captioner.errors import CaptionError
from captioner.system.database import Database, path_text, text_path
from captioner.system.roots import EVERYWHERE, Roots
from captioner.values import Caption, ExistingPolicy, MediaItem


class CaptionStore:
    """Reads and writes caption files. What it writes is UTF-8 without BOM, since trainers read that.

    A text in another encoding becomes UTF-8 when it is changed. If its encoding is a guess (see `Decoded`), it is
    changed only with the user's consent. encoding: what the user says that captions are in which are not UTF-8.
    Every text that is replaced or deleted is first committed to the database, so nothing is lost. Files are replaced
    whole, through the folder `scratch` if it is on the same filesystem; a symbolic link is replaced by a file, and its
    target stays. No file outside of `roots` is read or changed. Any thread may call; changes are made one at a time.
    `operation` is the id of a row in the table operations. Methods raise CaptionError if a caption file cannot be used,
    and StateError if the database cannot.
    """

    def __init__(self, database: Database, scratch: Path, roots: Roots = EVERYWHERE) -> None:
        self.database, self.roots, self.files = database, roots, CaptionFiles(roots, scratch)
        self._log = log = ChangeLog(database, self.files)
        self.ownership, self.unwritten = Ownership(database), UnwrittenCaptions(database, self.files)
        self.marks, self.encoding = FileMarks(database), AUTO
        self.take_refused, self.make_changes, self.record_made = log.take_refused, log.make, log.record_made

    def settle(self, operation: int | None = None) -> dict[Path, bool]:
        """Complete or drop the changes that were under way when the program ended; return whether each was made.

        Without an operation, call it before anything else is written: it then also ends what was cut short.
        """
        if operation is None:
            interrupt_running(self.database)
        return self._log.settle(operation)

    def read(self, caption_path: Path) -> str:
        """Return the visible text of the file, or "". It may be a guess."""
        return self._decode(self.files.read(caption_path)).body

    def read_file(self, caption_path: Path) -> bytes:
        """Return the bytes of the file; b"" if it holds no visible text."""
        data = self.files.read(caption_path) or b""
        return data if self._decode(data).body else b""

    def read_certain(self, caption_path: Path) -> str:
        """Return the visible text of the file, or "". Raise CaptionError if it is a guess."""
        decoded = self._decode(self.files.read(caption_path))
        check_certain(caption_path, decoded)
        return decoded.body

    def read_with_origin(self, caption_path: Path, expected_digest: bytes | None) -> tuple[Decoded, bool]:
        """Return the text, and whether another program changed it. expected_digest: `Ownership.digest_of` the file."""
        data = self.files.read(caption_path)
        return self._decode(data), _changed_outside(data, expected_digest)

    def skip_reason(self, item: MediaItem, policy: ExistingPolicy, consent: bool = False) -> SkipReason | None:
        """Return why a model should leave the item alone; None if it should caption it now.

        Raises CaptionError if its text would be added to one whose encoding is a guess.
        """
        return self._skip_reason(item.caption_path, self.files.read(item.caption_path), policy, consent)

    def needs(self, item: MediaItem, policy: ExistingPolicy) -> bool:
        """Return whether a job would caption the item; one whose caption cannot be read will fail."""
        try:
            return self.skip_reason(item, policy) is None
        except CaptionError:
            return False

    def write(
        self,
        item: MediaItem,
        caption: Caption,
        policy: ExistingPolicy,
        operation: int | None = None,
        decoration: Decoration = Decoration(),
        consent: bool = False,
    ) -> Written:
        """Write a model's caption, cleaned and decorated, if the policy still allows it.

        Under "skip", a text that appeared meanwhile is kept; "prefix" and "append" put the new text before or after the
        old one, whose lines and fields stay. An approved text is always kept; one changed outside is, unless the user
        gave `consent` for this file. Raises CaptionError for an empty output, or if text would be added to a guess.
        """
        [result] = self.write_made([finish(item, caption, operation, decoration)], policy, consent)
        if isinstance(result, CaptionError):
            raise result
        return result

    def write_made(self, made: Sequence[Made], policy: ExistingPolicy, consent: bool) -> list[Written | CaptionError]:
        """Like `write`, for captions of different files, cleaned and decorated already, in two transactions for all.

        The CaptionError of a caption is returned instead of raised.
        """
        with self._log.lock:
            planned = [self._planned(each, policy, consent) for each in made]
            problems = iter(self._log.put([change for _, change in planned if change]))
        return [(change and next(problems)) or result for result, change in planned]

    def save(
        self,
        caption_path: Path,
        text: str,
        origin: Origin = "hand",
        operation: int | None = None,
        consent: bool = False,
    ) -> str:
        """Write a person's text and return it. A blank one leaves an empty file.

        The white space around the text in the file stays, and so do its line breaks if `text` has only "\\n". Raises
        CaptionError if the encoding of the file is a guess, unless the user gave `consent` to replace it.
        """
        text = "" if is_blank(text) else text.strip()
        with self._log.lock:
            old = self.files.read(caption_path)
            before = self._decode(old)
            if not consent:
                check_certain(caption_path, before)
            if text and before.body:
                text = on_core(before.text, lambda core: retype(core, text))
            self._put(Change(caption_path, old, encode(text, before.text), origin, operation))
        return text.strip()

    def delete(self, caption_path: Path, origin: Origin = "delete", operation: int | None = None) -> bool:
        """Delete the file and keep its text in the history. Return False if there was no file."""
        with self._log.lock:
            old = self.files.read(caption_path)
            if old is not None:
                self._put(Change(caption_path, old, None, origin, operation))
        return old is not None

    def restore(self, caption_path: Path, change: int) -> str:
        """Put back what the file held before a change, byte for byte, and return its text.

        That may also be no file. change: the id of a HistoryEntry, or `last_change`. Raises CaptionError if unknown.
        """
        sql = "SELECT before FROM caption_changes WHERE id = ? AND caption_path = ? AND made = 1"
        rows = self.database.rows(sql, (change, path_text(caption_path)))
        if not rows:
            raise CaptionError(f"{caption_path} has no earlier text number {change}")
        before = rows[0]["before"]
        with self._log.lock:
            now = self.files.read(caption_path)
            if now is not None or before is not None:
                self._put(Change(caption_path, now, before, "restore"))
        return self._decode(before).body

    def last_change(self, caption_path: Path) -> int | None:
        """Return the id of the latest change, for `restore`; None if this program never changed the file."""
        sql = "SELECT max(id) AS id FROM caption_changes WHERE caption_path = ? AND made = 1"
        return self.database.rows(sql, (path_text(caption_path),))[0]["id"]

    def last_changed_s(self, caption_path: Path) -> float:
        """Return when this program last changed the file (POSIX time); 0 if it never did."""
        sql = "SELECT max(changed_at_s) FROM caption_changes WHERE caption_path = ? AND made = 1"
        return self.database.rows(sql, (path_text(caption_path),))[0][0] or 0.0

    def rewrite(self, paths: Iterable[Path], edit: Callable[[str], str | None], operation: int) -> dict[Path, str]:
        """Edit each file that has a text. `edit` gets the text without the white space around it, and returns the new
        one, None to delete the file, or raises CaptionError to leave it alone; another error ends the work.

        Return for each file "changed", "same", or the reason why it was left alone.
        """
        return change_many(self._log, paths, lambda path: self._edited(path, edit, operation))

    def put_texts(self, texts: Mapping[Path, str], operation: int, overwrite: bool = False) -> dict[Path, str]:
        """Write a text into each file; a file that has another one is left alone unless `overwrite`.

        Return what `rewrite` returns.
        """

        def put(path: Path) -> Change | str:
            return self._edited(path, lambda before: replacement(before, texts[path], overwrite), operation, True)

        return change_many(self._log, texts, put)

    def rehearse(self, caption_path: Path, edit: Callable[[str], str | None]) -> tuple[str, str, bool] | str:
        """Return what `rewrite` would do: (text before, text after or "", whether another program changed the text), or
        else "same" or the reason why the file would be left alone.
        """
        change = self._edited(caption_path, edit, None)
        if isinstance(change, str):
            return change
        changed_outside = _changed_outside(change.before, self.ownership.digest_of(caption_path))
        return self._decode(change.before).body, self._decode(change.after).body, changed_outside

    def undo(self, operation: int) -> Undone:
        """Put back every file that the operation changed, byte for byte, and delete the files that it made.

        Files that were changed since or are approved are kept. A second undo does nothing. The undo is an operation
        itself, and undoing it redoes this one. Raises JobError for an unknown operation.
        """
        return undo_operation(self.database, self._log, self.ownership, operation)

    def changed_by(self, operation: int) -> list[Path]:
        """Return the caption files that all runs of an operation changed."""
        sql = f"{RUNS} SELECT DISTINCT caption_path FROM caption_changes WHERE operation IN runs AND made = 1"
        return [text_path(row["caption_path"]) for row in self.database.rows(sql, (operation,))]

    def approve(self, caption_paths: Iterable[Path], on: bool = True) -> int:
        """Protect captions, but no blank ones, from jobs and bulk edits, or stop protecting them; return how many."""
        if not on:
            return self.ownership.unapprove(caption_paths)
        with self._log.lock:
            texts = {path: data for path in caption_paths if (data := self.read_file(path))}
            self.ownership.approve(texts)
        return len(texts)

    def history(self, caption_path: Path) -> list[HistoryEntry]:
        """Return all earlier texts of the file, the latest first."""
        return [entry for entry in self.changes(caption_path) if entry.text]

    def changes(self, caption_path: Path) -> list[HistoryEntry]:
        """Return what each change of the file replaced, the latest first; the text is "" if that was nothing."""
        return earlier_texts(self.database, caption_path, self._decode)

    def provenance(self, caption_path: Path) -> list[Provenance]:
        """Return every caption that a model made for the file, the latest first; those only tried come last."""
        return captions_made(self.database, caption_path)

    def _decode(self, data: bytes | None) -> Decoded:
        return decode(data, self.encoding)

    def _skip_reason(
        self, path: Path, data: bytes | None, policy: ExistingPolicy, consent: bool, replaces: str | None = None
    ) -> SkipReason | None:
        existing = self._decode(data)
        if replaces not in (None, existing.body):
            return CHANGED_SINCE
        if not existing.body:
            return None
        if self.ownership.is_approved(path):
            return "approved"
        if policy == "skip":
            return "has a caption"
        if not consent and _changed_outside(data, self.ownership.digest_of(path)):
            return CHANGED_OUTSIDE
        if policy != "overwrite":
            check_certain(path, existing)
        return None

    def _planned(
        self, made: Made, policy: ExistingPolicy, consent: bool
    ) -> tuple[Written | CaptionError, Change | None]:
        """Return the result of writing a caption, and the change of its file; None if the file is left alone."""
        text, path = made.caption.text, made.item.caption_path
        try:
            old = self.files.read(path)
            existing = self._decode(old)
            if reason := self._skip_reason(path, old, policy, consent, made.replaces):
                if made.replaces is None:
                    self.record_made(made, "kept")
                return Written(existing.body, "kept", reason), None
            if existing.body and policy in ("prefix", "append"):
                text = on_core(existing.text, lambda old: made.joined(old, policy == "prefix"))
            change = Change(path, old, encode(text, existing.text), "job", made.operation, made)
            return Written(text.strip(), "written", flaw=made.flaw), change
        except CaptionError as error:
            return error, None

    def _put(self, change: Change) -> None:
        [problem] = self._log.put([change])
        if problem:
            raise problem

    def _edited(
        self, path: Path, edit: Callable[[str], str | None], operation: int | None, may_be_blank: bool = False
    ) -> Change | str:
        try:
            old = self.files.read(path)
            before = self._decode(old)
            if not before.body and not may_be_blank:
                return "no caption"
            return "approved" if self.ownership.is_approved(path) else edited(path, old, before, edit, operation)
        except CaptionError as error:
            return str(error)


def _changed_outside(data: bytes | None, expected_digest: bytes | None) -> bool:
    return expected_digest is not None and digest(data or b"") != expected_digest and bool(decode(data).body)
