"""Replaces a file as safely as its file system allows."""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from pathlib import Path
from typing import Literal

Refused = Literal["chmod", "fsync", "rename"]

# How file systems refuse what they do not offer: FAT, exFAT, NTFS, network drives, FUSE, buckets mounted as folders.
_NAMES = "EPERM EACCES EEXIST EXDEV EINVAL ENOSYS ENOTSUP EOPNOTSUPP EBUSY EMLINK ENOTTY EBADF"
REFUSALS = {getattr(errno, name) for name in _NAMES.split(" ") if hasattr(errno, name)}
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_FLAGS = os.O_WRONLY | os.O_CREAT | _NO_LINKS


def write_atomic(path: Path, data: bytes, scratch: Path | None = None, is_durable: bool = True) -> tuple[Refused, ...]:
    """Replace the content of `path`, so that a crash leaves the old or the new one; keep permissions. Raise OSError.

    Return what the file system refused. Without "rename", the file is written in place, so a crash may leave the
    beginning of the new content. A link is never written through, and never while the disk is full.
    scratch: folder to write the data to first, if it is on the same file system. is_durable: also survive a power cut.
    """
    folders = [path.parent]
    with contextlib.suppress(OSError):
        if scratch is not None and scratch.stat().st_dev == path.parent.stat().st_dev:
            folders.insert(0, scratch)  # may fail all the same: two mounts of one file system have the same st_dev
    for folder in folders:
        try:
            return _write_via(folder, path, data, is_durable)
        except OSError as error:
            if error.errno not in REFUSALS:
                raise
            problem = error
    try:
        return "rename", *_write_in_place(path, data, is_durable)
    except OSError as error:
        raise (problem if error.errno in REFUSALS else error) from None


def temporary_start(path: Path) -> str:
    """Return how the names of the temporary files for a file begin."""
    name = path.name
    if len(name) > 40:  # the longest name that folders can hold leaves no room for more
        name = f"{name[:24]}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"
    return f".{name}."


def flush_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, so that they survive a power cut, where the system can do so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_via(folder: Path, path: Path, data: bytes, is_durable: bool) -> tuple[Refused, ...]:
    temporary = folder / f"{temporary_start(path)}{os.getpid()}-{secrets.randbelow(10**12)}.tmp"
    mode = None
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
    try:
        descriptor = os.open(temporary, _FLAGS | os.O_EXCL, 0o666 if mode is None else mode)
        refused = _write(descriptor, data, is_durable)
        if mode is not None and mode != stat.S_IMODE(temporary.stat().st_mode):
            try:
                temporary.chmod(mode)
            except OSError:
                refused = ("chmod", *refused)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return refused


def _write_in_place(path: Path, data: bytes, is_durable: bool) -> tuple[Refused, ...]:
    """Write over a file without an interval in which it is empty, if possible. Put the old content back on failure."""
    before = _read(path) if os.path.lexists(path) else None
    for flags in (_FLAGS, _FLAGS | os.O_TRUNC):  # a bucket can only be written from the beginning
        try:
            return _write(os.open(path, flags, 0o666), data, is_durable)
        except OSError as error:
            problem = error
            if error.errno not in REFUSALS:
                break
    with contextlib.suppress(OSError):
        if before is None:
            path.unlink()
        elif _read(path) != before:
            _write(os.open(path, _FLAGS), before, is_durable)
    raise problem


def _read(path: Path) -> bytes:
    with open(os.open(path, os.O_RDONLY | _NO_LINKS), "rb") as file:
        return file.read()


def _write(descriptor: int, data: bytes, is_durable: bool) -> tuple[Refused, ...]:
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        if os.fstat(descriptor).st_size > len(data):
            file.truncate()
        try:
            if is_durable:
                os.fsync(descriptor)
        except OSError as error:
            if error.errno not in REFUSALS:
                raise
            return ("fsync",)
    return ()
