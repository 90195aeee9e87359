"""The media benchmarks: sampling against OpenCV, as apps like this one use it, and discovery against a bare walk.

Both sides of a comparison run in turn in one process, so that what else the machine does hits both alike.
"""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image

from captioner.cli.bench.report import Report
from captioner.cli.bench.timing import alternate, ratio
from captioner.errors import CaptionerError
from captioner.media.discover import discover
from captioner.media.sample import sample
from captioner.values import SamplePlan

FRAME_SIZE = 336


@dataclass(frozen=True)
class ClipRecipe:
    """A clip to encode, with the encoder's own B-frames."""

    name: str
    filename: str
    size: tuple[int, int]
    seconds: int
    fps: int
    codec: str
    options: dict[str, str]


CLIPS = (
    ClipRecipe("5 s 720p H.264", "h264-720p-5s.mp4", (1280, 720), 5, 25, "libx264", {"preset": "veryfast", "g": "75"}),
    ClipRecipe("60 s 1080p H.264", "h264-1080p-60s.mp4", (1920, 1080), 60, 24, "libx264", {"preset": "veryfast"}),
    ClipRecipe(
        "60 s 1080p HEVC",
        "hevc-1080p-60s.mp4",
        (1920, 1080),
        60,
        24,
        "libx265",
        {"preset": "superfast", "x265-params": "log-level=0"},
    ),
)
# (clip, frames to sample, how many times less CPU than OpenCV it is to take)
COMPARISONS = ((0, 16, 8.0), (1, 32, 3.5), (1, 128, 10.0), (2, 32, 3.5), (2, 128, 10.0))
MAX_THREADS_RATIO = 1.2
MAX_DISCOVERY_RATIO = 3.5


def bench_sample(folder: Path | None = None, repeats: int = 3, as_json: bool = False) -> None:
    """Print CPU seconds of OpenCV and of sample(), and how long two clips in two threads take compared to one.

    folder: keeps the clips for the next time; None makes them anew. Raises CaptionerError without OpenCV.
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
    """How many times as long as one clip do two take, one a thread; only a machine with two idle cores can tell."""
    plan = SamplePlan(max_frames=32, min_frames=32, frame_size=FRAME_SIZE)
    with ThreadPoolExecutor(2) as threads:
        runs = [lambda count=count: list(threads.map(sample, [path] * count, [plan] * count)) for count in (1, 2)]
        one, two = alternate(runs, max(3, repeats), time.perf_counter)
    return {
        "one_clip_s": round(statistics.median(one), 3),
        "two_clips_s": round(statistics.median(two), 3),
        "ratio": round(ratio(one, two), 2),
        "target": MAX_THREADS_RATIO,
    }


def bench_discovery(
    num_files: int = 50_000,
    num_folders: int = 500,
    num_captions: int = 30_000,
    repeats: int = 7,
    as_json: bool = False,
) -> None:
    """Print how long discover() takes compared to a walk that only reads names, over a folder made for it."""
    with tempfile.TemporaryDirectory(prefix="bench-discovery-") as name:
        root = Path(name)
        _make_tree(root, num_files, num_folders, num_captions)
        report = Report(("what", "ms", "ratio", "target"), as_json)
        found = discover(root, recursive=True).items
        if len(found) != num_files or sum(item.has_caption for item in found) != num_captions:
            raise CaptionerError("discovery did not find the files that were made for it")
        del found
        runs = (lambda: _walk(name, []), lambda: _walk(name, [], ask_size=True), lambda: discover(root, recursive=True))
        walk, *others = alternate(runs, repeats, time.perf_counter)
        report.add("names", round(1000 * statistics.median(walk), 1), 1.0, "")
        targets = (("names and sizes", ""), ("discover", MAX_DISCOVERY_RATIO))
        for (what, target), seconds in zip(targets, others, strict=True):
            report.add(what, round(1000 * statistics.median(seconds), 1), round(ratio(walk, seconds), 2), target)
        report.end(num_files=num_files, num_folders=num_folders, num_captions=num_captions)


def _walk(folder: str, names: list[str], ask_size: bool = False) -> None:
    """The least that a recursive listing can do; with the sizes of media files, the least that discovery must do."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _walk(entry.path, names, ask_size)
            else:
                names.append(entry.name)
                if ask_size and entry.name[-1] == "4":
                    entry.stat()


def _make_tree(root: Path, num_files: int, num_folders: int, num_captions: int) -> None:
    for number in range(num_folders):
        (root / f"folder_{number:03d}").mkdir()
    for number in range(num_files):
        stem = root / f"folder_{number % num_folders:03d}" / f"clip_{number:06d}"
        stem.with_suffix(".mp4").touch()
        if number < num_captions:
            stem.with_suffix(".txt").touch()


# The other side


def _opencv_sampler() -> Callable[[Path, int], list[Image.Image]]:
    """A function that samples by seeking to each frame and scaling it at full size."""
    try:
        import cv2
    except ImportError:
        raise CaptionerError(
            "this benchmark compares with OpenCV, which is not installed: pip install opencv-python-headless"
        ) from None

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


# Clips


@contextlib.contextmanager
def folder_or_temporary(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="bench-sample-") as name:
            yield Path(name)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def make_clip(recipe: ClipRecipe, folder: Path) -> Path:
    """Encode the clip unless it is there. The unfinished file has another name."""
    path = folder / recipe.filename
    if path.exists():
        return path
    unfinished = path.with_suffix(".part.mp4")
    with av.open(unfinished, "w") as container:
        stream = container.add_stream(recipe.codec, rate=recipe.fps, options=recipe.options)
        stream.width, stream.height = recipe.size
        stream.pix_fmt = "yuv420p"
        for frame in _moving_pictures(*recipe.size, recipe.seconds * recipe.fps):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return unfinished.rename(path)


def _moving_pictures(width: int, height: int, num_frames: int) -> Iterator[av.VideoFrame]:
    """A camera that wanders over a textured scene, with things that move through it and the noise of a sensor."""
    random = np.random.default_rng(1)
    margin = 192
    scene = [_texture(random, height + margin, width + margin)]
    scene += [_texture(random, (height + margin) // 2, (width + margin) // 2) for _ in range(2)]
    thing = _texture(random, height // 3, height // 3)
    noise = random.integers(0, 5, (height + 64, width + 64), dtype=np.uint8)
    for number in range(num_frames):
        x = int(margin / 4 * (1 + np.sin(number / 47))) * 2
        y = int(margin / 4 * (1 + np.cos(number / 61))) * 2
        luma = scene[0][y : y + height, x : x + width].copy()
        for speed in (3, 5, 8):
            left = (number * speed + 311 * speed) % (width - thing.shape[1])
            top = int((height - thing.shape[0]) * (0.5 + 0.5 * np.sin(number * speed / 300)))
            luma[top : top + thing.shape[0], left : left + thing.shape[1]] = thing
        down, right = random.integers(0, 64, 2)
        luma += noise[down : down + height, right : right + width]
        chroma = [plane[y // 2 : (y + height) // 2, x // 2 : (x + width) // 2] for plane in scene[1:]]
        planes = np.concatenate([luma.ravel(), *(plane.ravel() for plane in chroma)])
        frame = av.VideoFrame.from_ndarray(planes.reshape(height * 3 // 2, width), format="yuv420p")
        frame.pts = number
        yield frame


def _texture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """uint8 (height, width), 30 to 220, with about as much detail of each size as a photograph."""
    total = np.zeros((height, width), np.float32)
    for cell in (256, 128, 64, 32, 16, 8, 4, 2):
        coarse = random.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
        total += cell * np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    low, high = np.percentile(total, (1, 99))
    return (30 + 190 * np.clip((total - low) / (high - low), 0, 1)).astype(np.uint8)
