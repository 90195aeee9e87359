"""`bench sample`: sampling frames against OpenCV, which seeks to every frame.

The two run alternately in one process, so that other load on the machine slows both alike.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from captioner.cli.bench.encoded_clips import ClipRecipe, folder_or_temporary, make_clip
from captioner.cli.bench.report import Report, alternate, ratio
from captioner.errors import CaptionerError
from captioner.media.sample import sample
from captioner.values import SamplePlan

FRAME_SIZE = 336

HEVC = {"preset": "superfast", "x265-params": "log-level=0"}

CLIPS = (
    ClipRecipe("5 s 720p H.264", "h264-720p-5s.mp4", (1280, 720), 5, 25, "libx264", {"preset": "veryfast", "g": "75"}),
    ClipRecipe("60 s 1080p H.264", "h264-1080p-60s.mp4", (1920, 1080), 60, 24, "libx264", {"preset": "veryfast"}),
    ClipRecipe("60 s 1080p HEVC", "hevc-1080p-60s.mp4", (1920, 1080), 60, 24, "libx265", HEVC),
)
# (index of the clip, frames to sample, target: OpenCV's CPU seconds / ours)
COMPARISONS = ((0, 16, 8.0), (1, 32, 3.5), (1, 128, 10.0), (2, 32, 3.5), (2, 128, 10.0))
MAX_THREADS_RATIO = 1.2


def bench_sample(folder: Path | None = None, repeats: int = 3, as_json: bool = False) -> None:
    """Print the CPU seconds of OpenCV and of sample(), and the time of two clips in two threads compared with one.

    The clips are kept in `folder` for the next time; None encodes them again. Raises CaptionerError without OpenCV.
    """
    opencv_sample = _opencv_sampler()
    with folder_or_temporary(folder) as clips:
        paths = [make_clip(recipe, clips) for recipe in CLIPS]
        report = Report(("clip", "frames", "OpenCV CPU s", "ours CPU s", "ratio", "target"), as_json)
        for number, num_frames, target in COMPARISONS:
            path = paths[number]
            plan = SamplePlan(max_frames=num_frames, min_frames=num_frames, frame_size=FRAME_SIZE)
            runs = (partial(opencv_sample, path, num_frames), partial(sample, path, plan))
            theirs, ours = alternate(runs, repeats, time.process_time)
            medians = [round(statistics.median(seconds), 3) for seconds in (theirs, ours)]
            report.add(CLIPS[number].name, num_frames, *medians, round(ratio(ours, theirs), 2), target)
        report.end(two_threads=_two_threads(paths[1], repeats))


def _two_threads(path: Path, repeats: int) -> dict[str, float]:
    """Compare two clips in two threads with one clip; valid only on a machine with two idle cores."""
    plan = SamplePlan(max_frames=32, min_frames=32, frame_size=FRAME_SIZE)
    with ThreadPoolExecutor(2) as threads:
        runs = [lambda count=count: list(threads.map(sample, [path] * count, [plan] * count)) for count in (1, 2)]
        one, two = alternate(runs, max(3, repeats), time.perf_counter)
    seconds = {"one_clip_s": round(statistics.median(one), 3), "two_clips_s": round(statistics.median(two), 3)}
    return seconds | {"ratio": round(ratio(one, two), 2), "target": MAX_THREADS_RATIO}


def _opencv_sampler() -> Callable[[Path, int], list[Image.Image]]:
    """Return a function that seeks to each frame, decodes it and scales it. Raises CaptionerError without OpenCV."""
    try:
        import cv2
    except ImportError:
        hint = "install it with: pip install opencv-python-headless"
        raise CaptionerError(f"this benchmark compares with OpenCV; {hint}") from None

    def opencv_sample(path: Path, num_frames: int) -> list[Image.Image]:
        pictures = []
        capture = cv2.VideoCapture(str(path))
        total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        for index in np.linspace(0, total - 1, num_frames, dtype=int):
            capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            was_read, frame = capture.read()
            if not was_read:
                raise CaptionerError(f"OpenCV cannot read frame {index} of {path.name}")
            picture = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            scale = FRAME_SIZE / max(picture.size)
            size = round(picture.width * scale), round(picture.height * scale)
            pictures.append(picture.resize(size, Image.Resampling.LANCZOS))
        capture.release()
        return pictures

    return opencv_sample
