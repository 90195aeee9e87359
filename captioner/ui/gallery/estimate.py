"""The tooltip of the Caption button: how much work a job over the selected files would be."""

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable

from captioner.errors import CaptionerError, PromptError
from captioner.library.counts import Counts
from captioner.services import Services

BUDGET_S = 1.0
KEPT_ESTIMATES = 8
MAX_WAITING = 4  # viewers that wait for an estimate block a thread each; further viewers get none


class Estimator:
    """Estimates a job; all browsers share the results. Any thread may call."""

    def __init__(self, services: Services, names: Callable[[str], list[str]]) -> None:
        """`names` returns the files that the button captions for a value of the grid; it may raise JobError."""
        self._services, self._names = services, names
        self._estimating = threading.Lock()
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        self._estimates: OrderedDict[str, str] = OrderedDict()  # the newest last

    def key(self, counts: Counts, busy: bool) -> str:
        """Return a text that changes with all that an estimate depends on but the selection; "" for no estimate."""
        if not counts.total or busy:
            return ""
        settings = self._services.settings
        try:
            prompts: object = self._services.prompts.list()
        except PromptError as error:  # the button shows this error when pressed
            prompts = str(error)
        state = (self._services.library.scan.id, counts, settings, prompts)
        return f"{zlib.crc32(repr(state).encode('utf-8', 'replace')):08x}"

    def estimate(self, key: str, selection: str) -> str:
        """Return the estimate in one line, or "" if too many viewers wait for theirs. `key` is that of `key()`."""
        if not key:
            return ""
        key += f" {zlib.crc32(selection.encode()):08x}"
        if key in self._estimates or not self._waiting.acquire(blocking=False):
            return self._estimates.get(key, "")
        try:
            with self._estimating:
                if key not in self._estimates:
                    self._estimates[key] = self._summary(selection)
                    if len(self._estimates) > KEPT_ESTIMATES:
                        self._estimates.popitem(last=False)
                return self._estimates[key]
        finally:
            self._waiting.release()

    def _summary(self, selection: str) -> str:
        try:
            return self._services.estimate(self._names(selection), BUDGET_S).summary()
        except CaptionerError as error:  # the button shows this error when pressed
            return str(error)
