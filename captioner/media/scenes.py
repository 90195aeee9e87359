"""The scenes of a clip, found by PySceneDetect, which is an optional package."""

import functools
import itertools
from pathlib import Path

from av.video.reformatter import Interpolation

from captioner.errors import MediaError, SettingsError
from captioner.media.geometry import FrameScaler
from captioner.media.spans import SHORTEST_S, Span
from captioner.media.video import VideoFile

LONGEST_SIDE = 256  # pixels of the frames that are compared
MISSING = "windows scenes needs PySceneDetect: pip install scenedetect-headless, or give seconds such as --windows 10"


def is_installed() -> bool:
    """Return whether PySceneDetect can be used."""
    try:
        import scenedetect  # noqa: F401
    except ImportError:  # also without OpenCV
        return False
    return True


def check_installed() -> None:
    """Raise SettingsError that says how to install PySceneDetect if it cannot be used."""
    if not is_installed():
        raise SettingsError(MISSING)


def find_scenes(path: Path) -> tuple[Span, ...]:
    """Return the scenes of a clip in seconds from its first frame, without gaps. Raise MediaError."""
    cuts_s, duration_s = _measure(path)
    edges = [0.0, *(cut_s for cut_s in cuts_s if SHORTEST_S <= cut_s <= duration_s - SHORTEST_S), duration_s]
    return tuple(itertools.pairwise(edges))


def find_cuts(path: Path) -> tuple[float, ...] | None:
    """Return the times of the cuts of a clip in seconds from its first frame; None without PySceneDetect."""
    return _measure(path)[0] if is_installed() else None


def _measure(path: Path) -> tuple[tuple[float, ...], float]:
    try:
        stat = path.stat()
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}") from None
    return _decode(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=256)  # a clip is asked about several times: for its windows, and for a second try
def _decode(path: Path, mtime_ns: int, size_bytes: int) -> tuple[tuple[float, ...], float]:
    """Return the times of the cuts of a clip, and its length, in seconds. Raise MediaError.

    Decodes all of it. Times are those of the frames, not counted from a frame rate, which may vary. The detector keeps
    the thresholds of PySceneDetect: lower ones take the keyframes of surveillance clips for cuts.
    """
    try:
        from scenedetect import AdaptiveDetector, FrameTimecode
    except ImportError:
        raise MediaError(MISSING) from None
    detector = AdaptiveDetector(min_scene_len=round(1000 * SHORTEST_S))  # frames are numbered in ms
    cuts_s: list[float] = []
    with VideoFile(path) as video:
        width, height = video.size
        scale = min(1.0, LONGEST_SIDE / max(width, height))
        small = max(1, round(width * scale)), max(1, round(height * scale))
        scaler = FrameScaler(video.geometry, *small, Interpolation.AREA, video.stated_tags)
        first = video.times[0]
        for tick, frame in video.frames():
            time_ms = max(0, round(float((tick - first) * video.time_base) * 1000))
            pixels = scaler(frame)[..., ::-1].copy()  # BGR
            cuts_s += [cut.seconds for cut in detector.process_frame(FrameTimecode(time_ms, 1000.0), pixels)]
        return tuple(cuts_s), video.duration_s
