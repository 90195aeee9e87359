"""What becomes of the items of a run: counted, told to the viewers as events, and kept by the recorder."""

import logging
from typing import Any

from captioner.captions.store import Written
from captioner.errors import StateError
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemDone, ItemFailed, ItemGivenBack, ItemProgress, ItemSkipped, ItemStarted, ItemTried
from captioner.jobs.job import Recorder
from captioner.values import Caption, MediaItem

log = logging.getLogger(__name__)


class Ledger:
    """Of one run; used by its thread. A recorder that cannot write costs no caption, so it is no reason to stop."""

    def __init__(self, job: int, event_log: EventLog, recorder: Recorder | None) -> None:
        self.counts = {"done": 0, "skipped": 0, "failed": 0}
        self._job, self._log, self._recorder = job, event_log, recorder

    def started(self, item: MediaItem, replica: str) -> None:
        self._record("started", item, replica)
        self._log.append(ItemStarted(**self._about(item), replica=replica))

    def progress(self, item: MediaItem, num_tokens: int) -> None:
        self._log.append(ItemProgress(**self._about(item), tokens=num_tokens))

    def done(self, item: MediaItem, written: Written, caption: Caption, replica: str) -> None:
        self._record("done", item, written, replica)
        self.counts["done"] += 1
        self._log.append(
            ItemDone(
                **self._about(item),
                caption=written.text,
                tokens=caption.num_tokens,
                seconds=round(caption.seconds, 3),
                replica=replica,
                warning=caption.warning,
            )
        )

    def tried(self, item: MediaItem, text: str, caption: Caption) -> None:
        self.counts["done"] += 1
        about = {"tokens": caption.num_tokens, "seconds": round(caption.seconds, 3)}
        self._log.append(ItemTried(**self._about(item), caption=text, **about, made=caption))

    def skipped(self, item: MediaItem, reason: str) -> None:
        self._record("skipped", item, reason)
        self.counts["skipped"] += 1
        self._log.append(ItemSkipped(**self._about(item), reason=reason))

    def failed(self, item: MediaItem, reason: str) -> None:
        self._record("failed", item, reason)
        self.unreached(item, reason)

    def unreached(self, item: MediaItem, reason: str) -> None:
        """The job failed before its turn came. For the recorder it is waiting still: nothing is wrong with it."""
        self.counts["failed"] += 1
        self._log.append(ItemFailed(**self._about(item), reason=reason))

    def given_back(self, item: MediaItem, losses: int) -> None:
        self._record("given_back", item, losses)
        self._log.append(ItemGivenBack(**self._about(item)))

    def _record(self, what: str, item: MediaItem, *about: Any) -> None:
        if self._recorder is None:
            return
        try:
            getattr(self._recorder, what)(item, *about)
        except StateError as error:
            log.warning("%s of %s is not recorded: %s", what, item.name, error)

    def _about(self, item: MediaItem) -> dict[str, Any]:
        return {"job": self._job, "item": item.name, "path": item.path}
