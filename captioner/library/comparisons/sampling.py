"""The files that a comparison is made on: a sample with the kinds, folders and lengths of the whole folder."""

import random
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from captioner.errors import JobError
from captioner.jobs.estimate import MAX_PROBES, spread
from captioner.media.facts import FactsCache
from captioner.values import MediaInfo, MediaItem


def choose_files(folder: Path, items: Sequence[MediaItem], count: int, facts: FactsCache, seed: int) -> list[MediaItem]:
    """Return up to `count` files in a random order: one from each of equal stretches of the files in order.

    They are in order of their kind, then their folder, then their length, which is read of up to MAX_PROBES files.
    Files that cannot be read are left out. Raise JobError if none can be read, and StateError.
    """
    generator = random.Random(seed)
    placed = sorted(items, key=lambda item: (*_place(item), item.name))
    candidates = [placed[number] for number in spread(len(placed), min(len(placed), MAX_PROBES), generator)]
    found = facts.read(folder, candidates)
    lengths = {name: info.duration_s for name, info in found.items() if isinstance(info, MediaInfo)}
    readable = [item for item in candidates if item.name in lengths]
    if not readable:
        raise JobError(f"no clip or image in {folder} can be read" if items else f"no clips or images in {folder}")
    readable.sort(key=lambda item: (*_place(item), lengths[item.name]))
    chosen = [readable[number] for number in spread(len(readable), min(len(readable), count), generator)]
    generator.shuffle(chosen)
    return chosen


def _place(item: MediaItem) -> tuple[str, str]:
    return item.kind, str(PurePosixPath(item.name).parent)
