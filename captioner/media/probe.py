"""Probing: the size, duration, frame rate and codec of a media file."""

from pathlib import Path

from captioner.media.animation import read_timeline
from captioner.media.content import checked_file
from captioner.media.picture import display_size, open_picture
from captioner.media.video import VideoFile
from captioner.system.pinning import Within
from captioner.values import MediaInfo, MediaKind


def probe(path: Path, kind: MediaKind | None = None, within: Within = None) -> MediaInfo:
    """Describe a file; `kind` defaults to that of its extension. Raises MediaError that does not name the file.

    within: the folders that the file has to be in once links are followed; None: any.
    """
    with checked_file(path, kind, within) as (held, kind):
        return _probe_video(held) if kind == "video" else _probe_picture(held, path.suffix)


def _probe_video(path: Path) -> MediaInfo:
    with VideoFile(path) as video:
        return video.info


def _probe_picture(path: Path, extension: str) -> MediaInfo:
    with open_picture(path, extension) as image:
        width, height = display_size(image)
        timeline = read_timeline(image)
        codec = (image.format or "").lower()
        return MediaInfo(width, height, timeline.duration_ms / 1000, timeline.fps, len(timeline.starts_ms), 0, codec)
