"""Reads a media file through every door of the app that reads one."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from captioner.errors import MediaError
from captioner.media.discover import discover
from captioner.media.probe import probe
from captioner.media.sample import sample
from captioner.media.thumbnail import Thumbnail, make_thumbnail
from captioner.values import MediaItem, SamplePlan

PLAN = SamplePlan(max_frames=8)
NOT_A_VIDEO = "not a readable video (damaged, cut off, or another kind of file)"
NOT_A_PICTURE = "not a readable picture (damaged, cut off, or another kind of file)"


def item_of(path: Path) -> MediaItem:
    """Return the item that a scan of the file's folder finds for it."""
    return next(item for item in discover(path.parent).items if item.filename == path.name)


def thumbnail_pixels(thumbnail: Thumbnail) -> np.ndarray:
    """Return the RGB pixels (height, width, 3) of a thumbnail."""
    return np.asarray(Image.open(io.BytesIO(thumbnail.data)))


def through_all_doors(path: Path) -> set[str]:
    """Return the reasons why the file was refused; "" for a door that read it."""
    item = item_of(path)
    reasons = {
        _reason(read) for read in (lambda: sample(path, PLAN), lambda: probe(path), lambda: make_thumbnail(item))
    }
    assert not any("\n" in reason or str(path.parent) in reason for reason in reasons)
    return reasons


def _reason(read: Callable[[], object]) -> str:
    try:
        read()
    except MediaError as error:
        return str(error)
    return ""
