"""Writes the captions of a job, and keeps those that could not be written until the job is resumed."""

from dataclasses import dataclass, replace
from pathlib import Path

from captioner.captions.files import NotWritten
from captioner.captions.provenance import Made, finish
from captioner.captions.store import CaptionStore
from captioner.captions.unwritten import FileStamp, Unwritten
from captioner.captions.written import Written
from captioner.dataset.token_limit import TokenLimit
from captioner.errors import CaptionerError, CaptionError
from captioner.formatting import plural
from captioner.jobs.job import Job
from captioner.jobs.outcomes import Outcomes
from captioner.system.database import escape_surrogates
from captioner.values import Caption, MediaItem

MAX_UNWRITTEN = 3  # in a row: then the job ends, since the rest would be captioned for nothing
WEAKER = {
    "chmod": "no permissions can be set",
    "fsync": "captions may be lost in a power cut",
    "rename": "captions are written over in place",
}


@dataclass(frozen=True)
class _Waiting:
    """A caption that `flush` writes."""

    made: Made
    media: FileStamp
    replica: str
    faults: tuple[str, ...]
    problem: str = ""  # why it cannot be written now


class CaptionWriter:
    """The captions of one job on their way to the disk. Used by the thread that runs the job.

    Captions that arrive together share two transactions, which cost more than all else. Methods raise StateError, and
    CaptionError when several captions in a row could not be written.
    """

    def __init__(self, job: Job, operation: int | None, store: CaptionStore, outcomes: Outcomes) -> None:
        self._job, self._operation, self._store, self._outcomes = job, operation, store, outcomes
        self._num_in_a_row, self._reason, self._noted = 0, "", False
        self._waiting: list[_Waiting] = []
        self._limit = TokenLimit(job.target, job.tokenizer)
        store.take_refused()  # by earlier jobs and edits

    @property
    def problem(self) -> str:
        """The reason in one line why captions were not written, with what to do; "" if all were."""
        num = self._outcomes.num_unwritten
        are = "is" if num == 1 else "are"
        kept = f"{plural(num, 'caption')} could not be written and {are} kept"
        return f"{kept} ({self._reason}); resume the job to write {'it' if num == 1 else 'them'}" if num else ""

    def write(
        self,
        item: MediaItem,
        caption: Caption,
        replica: str,
        media: FileStamp | None,
        replaces: str | None = None,
        faults: tuple[str, ...] = (),
    ) -> None:
        """Let a caption wait for `flush`, or record why it fails. media: the stamp of the media file when it was given
        to the model.

        replaces: the only text that it may replace; None: any. faults: see `ItemDone`.
        """
        now = stamp_of(item.path)
        is_unplugged = now is None and _is_unplugged(item)
        if media is None or (now != media and not is_unplugged):
            self._outcomes.failed(item, "the file was changed while it was captioned; caption it again")
            return
        self._outcomes.measured(item, caption.facts.info)
        try:
            made = finish(item, caption, self._operation, self._job.decoration, self._job.target.caption_form)
            flaw = made.flaw or self._limit.flaw(made.caption.text)
            if flaw or replaces is not None:
                made = replace(made, flaw=flaw, replaces=replaces)
        except CaptionError as error:
            self._outcomes.failed(item, str(error))
            return
        problem = f"the files of {item.folder} are gone; plug in the drive again" if is_unplugged else ""
        self._waiting.append(_Waiting(made, media, replica, faults, problem))

    def flush(self) -> None:
        """Write the captions that wait and record the outcome of each. Raise the first error once all are recorded."""
        waiting, self._waiting = self._waiting, []
        results = iter(self._write_all([each.made for each in waiting if not each.problem]))
        problem = None
        for each in waiting:
            result = NotWritten(each.problem) if each.problem else next(results)
            try:
                if isinstance(result, NotWritten):
                    self._keep(each.made, each.media, str(result))
                elif isinstance(result, CaptionError):
                    self._outcomes.failed(each.made.item, str(result))
                else:
                    self._written(result, each.made, each.replica, each.faults)
            except CaptionerError as error:
                problem = problem or error
        if problem:
            raise problem

    def write_kept(self) -> list[MediaItem]:
        """Write the captions that an earlier job kept. Return their items, but not those to caption again."""
        kept = self._store.unwritten.of(self._operation) if self._operation else {}
        items = [item for item in self._job.items if escape_surrogates(item.name) in kept] if kept else []
        return [item for item in items if self._write_kept(item, kept[escape_surrogates(item.name)])]

    def _write_kept(self, item: MediaItem, kept: Unwritten) -> bool:
        now = stamp_of(item.path)
        is_settled = True
        if now not in (None, kept.media):
            self._store.unwritten.forget(self._operation, item)
            return False
        try:
            if _is_unplugged(item):
                raise NotWritten(f"the files of {item.folder} are gone; plug in the drive again")
            if now is None:
                self._outcomes.failed(item, "no such file; it was moved or deleted")
            else:
                made = kept.made_for(item, self._operation, self._store.files)
                made = replace(made, form=self._job.target.caption_form)
                [result] = self._write_all([made])
                if isinstance(result, CaptionError):
                    raise result
                self._written(result, made)
        except NotWritten as error:
            is_settled = False
            self._not_written(item, str(error))
        except CaptionError as error:
            self._outcomes.skipped(item, str(error))
        if is_settled:
            self._store.unwritten.forget(self._operation, item)
        return True

    def _write_all(self, captions: list[Made]) -> list[Written | CaptionError]:
        return self._store.write_made(captions, self._job.existing, self._job.consent)

    def _written(self, written: Written, made: Made, replica: str = "", faults: tuple[str, ...] = ()) -> None:
        self._num_in_a_row = 0
        if written.reason:
            self._outcomes.skipped(made.item, written.reason)
        else:
            self._outcomes.done(made.item, written.text, made.caption, replica, written.flaw, faults)
        if not self._noted and (refused := self._store.take_refused()):
            self._noted = True
            weaker = ", ".join(WEAKER[what] for what in refused)
            folder = next(iter(refused.values()))
            self._outcomes.note(f"the file system of {folder} does not allow everything: {weaker}")

    def _keep(self, made: Made, media: FileStamp, reason: str) -> None:
        if self._operation is None:  # nothing could be resumed
            self._outcomes.failed(made.item, reason)
            return
        self._store.unwritten.keep(made, media)
        self._not_written(made.item, reason)

    def _not_written(self, item: MediaItem, reason: str) -> None:
        self._outcomes.unwritten(item, reason)
        self._num_in_a_row, self._reason = self._num_in_a_row + 1, reason
        if self._num_in_a_row == MAX_UNWRITTEN:  # not again for those that end while the job does
            raise CaptionError(self.problem)


def _is_unplugged(item: MediaItem) -> bool:
    """Return whether all files of an item's folder are gone, not only its own."""
    try:
        return not item.path.exists() and not any(item.folder.iterdir())
    except OSError:
        return True


def stamp_of(path: Path) -> FileStamp | None:
    """Return (size in bytes, modification time in ns), which differ when the content does; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
