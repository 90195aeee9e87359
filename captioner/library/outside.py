"""Finds what other programs change in the captions of the files that viewers have on their screens."""

import os
from collections.abc import Iterable
from pathlib import Path

from captioner.library.open_folder import OpenFolder

Stamp = tuple[int, ...]  # of a caption file, different after each change; empty if there is none


class OutsideChanges:
    """Any thread may call. A file is read only if it was changed since the call before, or at the first call."""

    def __init__(self, open_folder: OpenFolder) -> None:
        self._open = open_folder
        self._scan, self._stamps = "", dict[int, Stamp]()

    def find(self, scan: str, positions: Iterable[int]) -> list[dict]:
        """Return the rows (`FileStates.row`) of those files whose captions are different now; [] for another scan."""
        items = self._open.scan.items if scan == self._open.scan.id else ()
        stamps = {position: _stamp(items[position].caption_path) for position in positions if position < len(items)}
        with self._open.current():
            if scan != self._open.scan.id:
                return []
            if scan != self._scan:
                self._scan, self._stamps = scan, {}
            files = self._open.files
            known = {
                position: self._stamps.get(position, () if position not in files.captioned else None)
                for position in stamps
            }
            self._stamps |= stamps
            changed = [position for position, stamp in stamps.items() if stamp != known[position]]
            return [files.row(position) for position in changed if files.reread(position)]


def _stamp(path: Path) -> Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116 - as often as a screen has files
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
