"""The claim of one process on a state folder."""

import threading
from collections.abc import Callable
from pathlib import Path

from filelock import BaseFileLock

from captioner.system.files import claim_folder


class FolderClaim:
    """Makes this process the only one that runs jobs on a folder. Any thread may call."""

    def __init__(self, folder: Path, settle: Callable[[], None]) -> None:
        """settle: called once the folder is claimed; if it raises, the claim is given up."""
        self._folder, self._settle = folder, settle
        self._lock = threading.Lock()
        self._claimed: BaseFileLock | None = None

    def take(self) -> None:
        """Claim the folder, unless that was done. Raise StateError while another process uses it."""
        with self._lock:
            if self._claimed:
                return
            claimed = claim_folder(self._folder)
            try:
                self._settle()
            except BaseException:
                claimed.release()
                raise
            self._claimed = claimed

    def release(self) -> None:
        """Let other processes use the folder."""
        if self._claimed:
            self._claimed.release()
