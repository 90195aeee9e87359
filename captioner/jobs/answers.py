"""What a job asks the model about its items, and what becomes of the answers."""

from dataclasses import replace

from captioner.captions.store import CaptionStore
from captioner.jobs.flights import Flight
from captioner.jobs.job import Job
from captioner.jobs.outcomes import Outcomes
from captioner.jobs.saving import CaptionWriter
from captioner.jobs.second_tries import SecondTries
from captioner.jobs.throughput import Meter
from captioner.jobs.windows import Windows
from captioner.values import Caption, CaptionRequest, MediaItem


class Answers:
    """Used by the thread that runs the job. Methods raise what `CaptionWriter` raises."""

    def __init__(self, job: Job, store: CaptionStore, outcomes: Outcomes, writer: CaptionWriter) -> None:
        self.meter = Meter()
        self._job, self._store, self._outcomes, self._writer = job, store, outcomes, writer
        self._second_tries = SecondTries(job.retry_cut, job.target.caption_form)
        self._windows = Windows(job, store, outcomes)

    def request(self, item: MediaItem) -> CaptionRequest:
        """Return what to ask next about an item. Raise CaptionError if its old caption cannot be read for certain."""
        options = self._second_tries.options(item.name, self._job.options)
        notes = (self._windows.note(item.name), self._second_tries.note(item.name))
        request = self._job.request(item, self._store.read_certain, options, *notes)
        return replace(request, plan=self._windows.plan(item.name), within=self._store.roots.within)

    def wants_more(self, flight: Flight, caption: Caption, may_ask: bool) -> bool:
        """Count an answer, and return whether the same replica should be asked about the item once more.

        may_ask: the job is not ending. If not, `take` the answer.
        """
        name = flight.item.name
        if may_ask and self._second_tries.wants(name, caption):
            self.meter.add(caption)
            self._outcomes.progress(flight.item, flight.path, caption.num_tokens)
            return True
        self.meter.add(caption, is_second=self._second_tries.first_of(name) is not None)
        return False

    def take(self, flight: Flight, caption: Caption, replica: str) -> bool:
        """Write the best answer about an item; or return True if it has to wait for other windows of its clip."""
        item, caption = flight.item, self._second_tries.better(flight.item.name, caption)
        if self._windows.wants(item, caption, flight.stamp):
            return True
        self._writer.write(item, caption, replica, self._windows.finish(item, flight.stamp))
        return False

    def fail(self, flight: Flight, reason: str) -> bool:
        """Record a failure, or take the caption of the first try if only the second one failed. See `take`."""
        name = flight.item.name
        if first := self._second_tries.first_of(name):
            return self.take(flight, first, "")
        self._outcomes.failed(flight.item, f"{self._windows.where(name)}{reason}")
        self._windows.forget(name)
        return False

    def show(self, item: MediaItem, caption: Caption) -> None:
        """Emit the answer of a job that saves nothing."""
        form = self._job.target.caption_form
        if text := form.clean(caption.text, caption.facts):
            self._outcomes.tried(item, form.decorate(text, self._job.decoration), caption)
        else:
            self._outcomes.failed(item, "the model returned an empty caption")
