"""Work on the open folder that the Dataset tab shows: one at a time, in a thread, for all browsers."""

import threading
from collections.abc import Callable
from typing import Any

from captioner.errors import CaptionerError, JobError
from captioner.formatting import sendable, sentence
from captioner.services import Services


class FolderWork:
    """Any thread may call."""

    def __init__(self, services: Services, name: str) -> None:
        """name: of the thread, and of the work in the error if it runs already."""
        self._services, self._name, self._lock = services, name, threading.Lock()
        self._busy = self._error = ""  # what it does now, and why it ended
        self._done, self._total = 0, 0

    def view(self) -> dict[str, Any]:
        """Return how far the work is, as JSON can hold it."""
        return {
            "folder": sendable(str(self._services.library.folder or "")),
            "busy": self._busy,
            "done": self._done,
            "total": self._total,
            "error": sendable(sentence(self._error)) if self._error else "",
        }

    def _run(self, what: str, act: Callable[[], None]) -> None:
        """Start to act in a thread. Raise JobError if no folder is open or the work runs already."""
        if self._services.library.folder is None:
            raise JobError("open a folder first")
        with self._lock:
            if self._busy:
                raise JobError(f"{self._name} is running already")
            self._busy, self._error, self._done, self._total = what, "", 0, 0
        threading.Thread(target=self._carry_out, args=(act,), name=self._name, daemon=True).start()

    def _carry_out(self, act: Callable[[], None]) -> None:
        try:
            act()
        except CaptionerError as error:
            self._error = str(error)
        finally:
            self._busy = ""

    def _show(self, what: str, done: int, total: int) -> None:
        self._busy, self._done, self._total = f"Reading {what}", done, total
