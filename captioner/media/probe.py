"""Probing: the size, duration, frame rate and codec of a media file."""

from pathlib import Path

from captioner.media.discover import check_file
from captioner.media.picture import display_size, open_picture, read_timeline
from captioner.media.video import VideoFile
from captioner.values import MediaInfo, MediaKind


def probe(path: Path, kind: MediaKind | None = None) -> MediaInfo:
    """Describe a file, of the kind of its extension by default. Raises MediaError, whose one line lacks the path."""
    if check_file(path, kind) == "video":
        with VideoFile(path) as video:
            width, height = video.size
            num_frames = len(video.times)
            return MediaInfo(width, height, video.duration_s, video.fps, num_frames, video.rotation, video.codec)
    with open_picture(path) as image:
        width, height = display_size(image)
        timeline = read_timeline(image)
        codec = (image.format or "").lower()
        return MediaInfo(width, height, timeline.duration_ms / 1000, timeline.fps, len(timeline.starts_ms), 0, codec)
