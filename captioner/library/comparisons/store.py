"""Comparisons on the disk: one JSON file each in the state folder, apart from the captions of the files."""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from captioner.config.json_file import read_json
from captioner.errors import JobError, StateError
from captioner.library.comparisons.comparison import Comparison, from_json, to_json
from captioner.system.files import write_private

log = logging.getLogger(__name__)

FOLDER = "comparisons"  # in the state folder
DELETED = "deleted"  # the ending of a file whose comparison can be restored
LOCK_TIMEOUT_S = 20.0
MAX_BYTES = 100_000_000
MAX_DELETED = 20  # of those that are deleted, the newest can be restored


class ComparisonStore:
    """Any thread and several processes may use it at once: each change reads the file again, under one lock.

    A change is on the disk when its method returns. Methods raise StateError, and JobError for an unknown number.
    """

    def __init__(self, state: Path) -> None:
        """state: the state folder."""
        self._folder = state / FOLDER

    def numbers(self) -> list[int]:
        """Return the numbers of all comparisons, the newest first."""
        return self._numbers("json")

    def newest(self, count: int) -> list[Comparison]:
        """Return the newest comparisons; one that cannot be read is left out."""
        found: list[Comparison] = []
        for number in self.numbers():
            if len(found) == count:
                break
            try:
                found.append(self.get(number))
            except (StateError, JobError) as error:
                log.warning("%s", error)
        return found

    def get(self, number: int | None = None) -> Comparison:
        """Return a comparison, or the newest one."""
        if number is None:
            number = next(iter(self.numbers()), 0)
        if not number:
            raise JobError("there is no comparison yet; make one with: captioner compare FOLDER")
        path = self._path(number)
        try:
            return from_json(read_json(path, MAX_BYTES))
        except FileNotFoundError:
            raise JobError(f"there is no comparison {number}") from None
        except OSError as error:
            raise StateError(f"cannot read the comparison {path}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StateError(f"the comparison {path} is damaged ({error}); remove it") from None

    def create(self, comparison: Comparison) -> Comparison:
        """Keep a new comparison, which gets the next number, and return it with that."""
        with self._locked():
            taken = [*self.numbers(), *self._numbers(DELETED)]
            numbered = replace(comparison, number=max(taken, default=0) + 1)
            self._write(numbered)
        return numbered

    def change(self, number: int, change: Callable[[Comparison], Comparison]) -> Comparison:
        """Replace a comparison by what `change` makes of it, and return that. What `change` raises changes nothing."""
        with self._locked():
            changed = change(self.get(number))
            self._write(changed)
        return changed

    def delete(self, number: int) -> None:
        """Take a comparison, which may be damaged, out of the list. Only the latest deleted ones can be restored."""
        with self._locked():
            self._rename(number, "json", DELETED)
            for old in self._numbers(DELETED)[MAX_DELETED:]:
                self._path(old, DELETED).unlink(missing_ok=True)

    def restore(self, number: int) -> None:
        """Put a deleted comparison back into the list."""
        with self._locked():
            self._rename(number, DELETED, "json")

    def _path(self, number: int, ending: str = "json") -> Path:
        return self._folder / f"{number}.{ending}"

    def _numbers(self, ending: str) -> list[int]:
        with contextlib.suppress(OSError):
            found = self._folder.glob(f"*.{ending}")
            return sorted((int(path.stem) for path in found if path.stem.isdecimal()), reverse=True)
        return []

    def _rename(self, number: int, ending: str, new_ending: str) -> None:
        try:
            self._path(number, ending).rename(self._path(number, new_ending))
        except FileNotFoundError:
            what = "deleted comparison" if ending == DELETED else "comparison"
            raise JobError(f"there is no {what} {number}") from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            lock = FileLock(self._folder / "changing.lock", timeout=LOCK_TIMEOUT_S, mode=0o600)
            with lock:
                yield
        except Timeout:
            raise StateError(f"another program keeps {self._folder} locked; try again") from None
        except (OSError, NotImplementedError) as error:
            raise StateError(f"cannot use the folder {self._folder}: {error}") from None

    def _write(self, comparison: Comparison) -> None:
        path = self._path(comparison.number)
        try:
            write_private(path, json.dumps(to_json(comparison)).encode())
        except OSError as error:
            raise StateError(f"cannot write the comparison {path}: {error.strerror}") from None
