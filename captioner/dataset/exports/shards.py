"""WebDataset shards: tar files that hold each media file with its caption."""

import io
import json
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from captioner.dataset.exports.entries import Entry, LeftOut
from captioner.dataset.exports.placement import new_folder, unreadable
from captioner.values import MediaItem

MAX_SHARD_FILES, MAX_SHARD_BYTES = 10_000, 1_000_000_000


def write_shards(
    to: Path, media_folders: set[Path], entries: Iterable[Entry | LeftOut], left_out: list[LeftOut]
) -> int:
    """Write the folder of shards and return the number of samples. Raise CaptionerError.

    A sample is <key>.mp4, <key>.txt with the caption, and <key>.json with the name of the file and the caption. Its
    key is a number, since readers cut a name at its first dot (webdataset issue 237). The media of a shard have one
    extension, since the library `datasets` reads no others.
    """
    count = 0
    shards: dict[str, _Shard] = {}
    with new_folder(to, media_folders) as folder:
        try:
            for entry in entries:
                if isinstance(entry, Entry) and (problem := unreadable(entry.item.path)):
                    entry = LeftOut(entry.item.name, problem)
                if isinstance(entry, LeftOut):
                    left_out.append(entry)
                    continue
                ending = entry.item.filename.rpartition(".")[2].lower()
                shard = shards.get(ending)
                if shard is None or shard.is_full:
                    shard = shards[ending] = _Shard(folder, ending, shard)
                shard.add(f"{count:08}", entry)
                count += 1
        finally:
            for each in shards.values():
                each.close()
    return count


class _Shard:
    def __init__(self, folder: Path, ending: str, before: "_Shard | None") -> None:
        """before: the full shard of the same media, which is closed."""
        if before:
            before.close()
        self._number: int = before._number + 1 if before else 0
        self._ending, self._num_files = ending, 0
        path = folder / f"{ending}-{self._number:05}.tar"
        self._tar = tarfile.open(path, "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115

    @property
    def is_full(self) -> bool:
        """True if the next sample belongs into another shard."""
        return self._num_files >= MAX_SHARD_FILES or self._tar.offset >= MAX_SHARD_BYTES

    def add(self, key: str, entry: Entry) -> None:
        """Add a sample. Raise OSError."""
        item = entry.item
        with open(item.path, "rb") as file:
            self._add(f"{key}.{self._ending}", item, file, os.fstat(file.fileno()).st_size)
        about = json.dumps({"file_name": item.name, "text": entry.caption})
        for ending, text in {"txt": entry.caption, "json": about}.items():
            data = text.encode()
            self._add(f"{key}.{ending}", item, io.BytesIO(data), len(data))
        self._num_files += 1

    def _add(self, name: str, item: MediaItem, content: IO[bytes], num_bytes: int) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mtime = num_bytes, int(item.modified_s)
        self._tar.addfile(member, content)

    def close(self) -> None:
        """Complete the file."""
        self._tar.close()
