"""Asks the kernel which files of a folder any process uses (Linux)."""

import ctypes
import os
import struct
from pathlib import Path

IN_OPEN = 0x20  # linux/inotify.h
ANY_USE = 0x3E7  # opening, reading, writing, attributes, moving, creating and deleting


class Watch:
    """Records which files of folders any process opens, or uses in other ways."""

    def __init__(self, *folders: Path, uses: int = IN_OPEN) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._file = libc.inotify_init1(os.O_NONBLOCK)
        assert self._file >= 0
        for folder in folders:
            assert libc.inotify_add_watch(self._file, os.fsencode(folder), uses) >= 0

    def opened(self) -> set[str]:
        """Return the names of the files since the last call; "" for the folders themselves."""
        names = set()
        while True:
            try:
                data = os.read(self._file, 65536)
            except BlockingIOError:
                return names
            while data:
                size = struct.unpack_from("I", data, 12)[0]
                names.add(os.fsdecode(data[16 : 16 + size].rstrip(b"\0")))
                data = data[16 + size :]

    def close(self) -> None:
        os.close(self._file)
