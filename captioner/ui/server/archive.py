"""The captions of a folder as a zip file."""

import logging
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import IO

from captioner.captions.store import CaptionStore
from captioner.errors import CaptionError
from captioner.values import MediaItem

log = logging.getLogger(__name__)

IN_MEMORY_BYTES = 8_000_000  # a larger zip goes through a temporary file
CHUNK_BYTES = 256 * 1024


def make_zip(items: Iterable[MediaItem], captions: CaptionStore) -> IO[bytes] | None:
    """Return an open temporary file, at its end, with the captions as they are on disk, or None if there are none.

    Captions that cannot be read are logged and left out.
    """
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - closed by read_chunks()
    num_written = 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in items:
            try:
                text = captions.read(item.caption_path)
            except CaptionError as error:
                log.warning("left out of the zip: %s", error)
                continue
            if text:
                archive.writestr(_name_in_zip(item), text)
                num_written += 1
    if num_written:
        return file
    file.close()
    return None


def read_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the whole file in chunks and close it."""
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _name_in_zip(item: MediaItem) -> str:
    """Return the caption's path below the folder, with "_" for backslashes: some programs unpack them as slashes."""
    name = str(PurePosixPath(item.name).parent / item.caption_name)
    return name.encode("utf-8", "backslashreplace").decode().replace("\\", "_")
