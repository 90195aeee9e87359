"""Remembers the folders opened last, in one small JSON file."""

import json
import logging
import threading
from pathlib import Path

from captioner.config.json_file import read_json
from captioner.system.replacing import write_atomic

log = logging.getLogger(__name__)

KEPT_FOLDERS = 10


class RecentFolders:
    """The folders opened last. Errors in reading or writing the file are only logged. Any thread may call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def paths(self) -> list[Path]:
        """Return the folders, the latest first."""
        try:
            names = read_json(self._path)
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            log.warning("cannot read %s: %s", self._path, error)
            return []
        valid = isinstance(names, list) and all(isinstance(name, str) for name in names)
        return [Path(name) for name in names][:KEPT_FOLDERS] if valid else []

    def add(self, folder: Path) -> None:
        """Put a folder first, and forget the oldest of more than KEPT_FOLDERS."""
        with self._lock:
            before = self.paths()
            folders = [folder, *(other for other in before if other != folder)][:KEPT_FOLDERS]
            if folders == before:
                return
            try:
                # ASCII escapes, since a name may hold lone surrogates, which UTF-8 cannot encode.
                write_atomic(self._path, (json.dumps([str(f) for f in folders], indent=2) + "\n").encode("ascii"))
            except OSError as error:
                log.warning("cannot write %s: %s", self._path, error.strerror)
