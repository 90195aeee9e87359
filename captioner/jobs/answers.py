"""The questions of a job to the model, and what becomes of the answers."""

from dataclasses import replace

from captioner.captions.store import CaptionStore
from captioner.jobs.attempts import Attempt, Attempts, FlawJudge
from captioner.jobs.flights import Flight
from captioner.jobs.job import Job
from captioner.jobs.outcomes import Outcomes
from captioner.jobs.repair import RepairJudge
from captioner.jobs.saving import CaptionWriter, stamp_of
from captioner.jobs.throughput import Meter
from captioner.jobs.windows import Windows
from captioner.media.facts import measured_of
from captioner.values import UNKNOWN_FACTS, Caption, CaptionRequest, Measured, MediaItem

MAX_ROUNDING_S = 1e-5  # of a time of change


class Answers:
    """Used by the thread that runs the job. Methods raise what `CaptionWriter` raises."""

    def __init__(
        self, job: Job, operation: int | None, store: CaptionStore, outcomes: Outcomes, writer: CaptionWriter
    ) -> None:
        self.meter = Meter()
        self._job, self._store, self._outcomes, self._writer = job, store, outcomes, writer
        self._form, trigger = job.target.caption_form, job.decoration.trigger.strip()
        self._repairs = job.repair and RepairJudge(job.repair, self._form, job.decoration, operation, store)
        judge = self._repairs or FlawJudge(job.retry_cut, self._form)
        self._attempts = Attempts(judge, self._form, trigger, job.retry_cut or job.repair is not None)
        self._windows = Windows(job, store, outcomes)

    def skip_reason(self, item: MediaItem) -> str | None:
        """Return why an item should be left alone, or None. Raise CaptionError if its caption cannot be read."""
        reason = self._store.skip_reason(item, self._job.existing, self._job.consent)
        if reason or not self._repairs or self._attempts.num_of(item.name):
            return reason
        if reason_not := self._repairs.begin(item):
            return reason_not
        text, found = self._repairs.old(item.name)
        problems = self._form.problems(text, UNKNOWN_FACTS) if self._form.reminder else []
        self._attempts.begin(item.name, found.rules, [problem.message for problem in problems])
        return None

    def request(self, item: MediaItem) -> CaptionRequest:
        """Return what to ask next about an item. Raise CaptionError if its old caption cannot be read for certain."""
        options = self._attempts.options(item.name, self._job.options)
        notes = (self._windows.note(item.name), self._attempts.note(item.name))
        plan = self._attempts.plan(item.name, self._windows.plan(item.name))
        request = self._job.request(item, self._store.read_certain, plan, options, self._store.roots.within, *notes)
        return replace(request, measured=self._measured(item)) if item.kind == "video" else request

    def _measured(self, item: MediaItem) -> Measured | None:
        """Return what is known of a clip, if it is as it was when the folder was read."""
        size_bytes, modified_ns = stamp_of(item.path) or (-1, 0)
        if size_bytes != item.size_bytes or abs(modified_ns / 1e9 - item.modified_s) > MAX_ROUNDING_S:
            return None
        return self._attempts.measured(item.name) or measured_of(self._store.database, item.scanned_folder, item)

    def wants_more(self, flight: Flight, caption: Caption, may_ask: bool) -> bool:
        """Judge an answer, and return whether the same replica should be asked about the item once more.

        may_ask: the job is not ending. If not, `take` the best answer.
        """
        name = flight.item.name
        self.meter.add(caption, is_second=not self._repairs and self._attempts.num_of(name) > 0)
        self._attempts.add(flight.item, caption)
        if may_ask and self._attempts.wants(name):
            self._outcomes.progress(flight.item, flight.path, caption.num_tokens)
            return True
        return False

    def take(self, flight: Flight, replica: str) -> bool:
        """Write the best answer about an item; or return True if the item has to be asked about again.

        That is so for clips with several windows, and for a repair that ends before its last try.
        """
        if self._repairs and self._attempts.wants(flight.item.name):
            return True
        return self._take(flight, replica)

    def fail(self, flight: Flight, reason: str) -> bool:
        """Record a failure, or take the best answer so far if only a further one failed. See `take`."""
        name = flight.item.name
        if self._attempts.num_of(name):
            return self._take(flight, "")
        self._outcomes.failed(flight.item, f"{self._windows.where(name)}{reason}")
        self._windows.forget(name)
        return False

    def _take(self, flight: Flight, replica: str) -> bool:
        item, num = flight.item, self._attempts.num_of(flight.item.name)
        best = self._attempts.pop_best(item.name)
        if self._repairs:
            self._repair(self._repairs, flight, best, num, replica)
            return False
        if self._windows.wants(item, best.caption, flight.stamp):
            return True
        self._writer.write(item, best.caption, replica, self._windows.finish(item, flight.stamp))
        return False

    def _repair(self, repairs: RepairJudge, flight: Flight, best: Attempt, num: int, replica: str) -> None:
        """Write the best of so many attempts if it is better than the caption that the file has."""
        item, (old, found) = flight.item, repairs.old(flight.item.name)
        if repairs.is_better(item.name, best.judged):
            left = repairs.left(best.judged.faults)
            self._writer.write(item, best.caption, replica, flight.stamp, old, left)
        else:
            reason = f"no better caption in {num} {'try' if num == 1 else 'tries'}"
            self._outcomes.skipped(item, reason, repairs.left(found.rules))
