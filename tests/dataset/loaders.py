"""Miniature loaders of the trainers, after their documents and sources: what they take from a folder.

They know nothing of the doctor's tables. A loader returns the captions that each file may be trained with and the
seconds of it that are trained; a file that it skips is missing, and what stops it is in `stops`.
"""

import csv
import glob
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av

MUSUBI_IMAGES = [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"]
MUSUBI_VIDEOS = [".mp4", ".webm", ".avi", ".mkv", ".mov", ".flv", ".wmv", ".m4v", ".mpg", ".mpeg"]
AI_TOOLKIT = (".jpg", ".jpeg", ".png", ".webp", ".mp4", ".avi", ".mov", ".webm", ".mkv", ".wmv", ".m4v", ".flv")
ONETRAINER = {
    ".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".avif",
    ".webm", ".mkv", ".flv", ".avi", ".mov", ".wmv", ".mp4", ".mpeg", ".m4v",
}  # fmt: skip
SIMPLETUNER = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tiff", ".mp4", ".mov", ".avi", ".mkv", ".webm")
DIFFSYNTH_IMAGES = ("jpg", "jpeg", "png", "webp", "bmp")
DIFFSYNTH_VIDEOS = ("gif", "mp4", "avi", "mov", "wmv", "mkv", "flv", "webm")
NOT_MEDIA = (".txt", ".npz", ".json", ".parquet", ".bak", ".db")
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm")


@dataclass(frozen=True)
class Rules:
    """The numbers of a target: frames to train, their rate, and the step and remainder of allowed numbers."""

    frames: int = 81
    fps: float = 16
    step: int = 4
    remainder: int = 1


WAN, HUNYUAN, LTX = Rules(), Rules(129, 24), Rules(121, 24, 8)
H3 = Rules(124, 24, 17, 5)


@dataclass
class Loaded:
    """The outcome of a loader."""

    captions: dict[str, list[str]] = field(default_factory=dict)  # by file, relative to the folder
    seconds: dict[str, float] = field(default_factory=dict)  # of each clip that are trained
    speed: dict[str, float] = field(default_factory=dict)  # of each clip as it is trained
    stops: dict[str, str] = field(default_factory=dict)  # the file at which it stops, and with what

    def take(self, name: str, captions: Callable[[], list[str]]) -> None:
        """Take a file with its captions, or stop there."""
        try:
            self.captions[name] = captions()
        except (OSError, ValueError, AssertionError, KeyError) as error:
            self.stops[name] = type(error).__name__


def musubi(folder: Path, rules: Rules, h3: bool = False) -> Loaded:
    """See datasources.py and media_utils.py:58-94: the top folder; images need a caption to be seen, clips to load."""
    loaded = Loaded()
    with_caption = {Path(path).stem for path in glob.glob(f"{glob.escape(str(folder))}/*.txt")}
    for name in _globbed(folder, MUSUBI_IMAGES):
        if Path(name).stem in with_caption and not h3:
            loaded.take(name, lambda name=name: [_utf8(folder, name).strip()])
    for name in _globbed(folder, MUSUBI_VIDEOS):
        num_frames, fps = read_clip(folder / name)
        available = int(num_frames * rules.fps / fps + 0.01) if h3 else num_frames
        if h3 and not 124 <= available <= 345:
            loaded.stops[name] = "without --allow_experimental_duration"
        elif available >= rules.frames:  # frame_extraction head
            loaded.take(name, lambda name=name: [_utf8(folder, name).strip()])
            _train(loaded, name, rules.frames / (rules.fps if h3 else fps), 1 if h3 else rules.fps / fps)
        elif not (folder / name).with_suffix(".txt").exists():
            loaded.stops[name] = "FileNotFoundError"
    return loaded


def diffusion_pipe(folder: Path, rules: Rules, i2v: bool = False) -> Loaded:
    """See utils/dataset.py:620-830: in the top folder all but a few extensions is media; i2v takes clips alone."""
    loaded = Loaded()
    override = folder / "captions.json"
    listed = json.loads(override.read_text("utf-8")) if override.exists() else None
    for path in sorted(folder.glob("*")):
        if not path.is_file() or path.suffix in NOT_MEDIA:
            continue
        if listed is not None:
            captions = listed.get(path.name)
            if captions is not None and not isinstance(captions, list):
                loaded.stops["captions.json"] = "AssertionError"
                continue
            texts = captions
        else:
            caption = path.with_suffix(".txt")
            try:
                texts = [caption.read_text("utf-8").strip()] if caption.exists() else None
            except UnicodeDecodeError:
                loaded.stops[path.name] = "UnicodeDecodeError"
                continue
        if path.suffix not in (*VIDEOS, *MUSUBI_IMAGES) or texts is None:
            loaded.captions[f"skipped {path.name}"] = []  # tried, with a warning
            continue
        if path.suffix in VIDEOS:
            num_frames, fps = read_clip(path)
            available = int(num_frames * rules.fps / fps + 0.01)
            fitting = [
                size
                for size in (33, rules.frames)  # frame_buckets
                if size <= available
            ]
            if not fitting:
                continue
            _train(loaded, path.name, max(fitting) / rules.fps, 1)
        elif path.suffix == ".webp" and b"ANIM" in path.read_bytes()[:64]:
            loaded.stops[path.name] = "NotImplementedError"
            continue
        elif i2v:
            loaded.stops[path.name] = "crash"
            continue
        loaded.captions[path.name] = texts
    return loaded


def ai_toolkit(folder: Path, rules: Rules) -> Loaded:
    """See data_loader.py:427-443 and dataloader_mixins.py: all subfolders; commas are rejoined; clips are squeezed."""
    loaded = Loaded()
    for name in _walked(folder, AI_TOOLKIT):
        if Path(name).parent.name == "_controls":
            continue
        loaded.take(name, lambda name=name: [_utf8(folder, name, default="")])
        if name.endswith(VIDEOS):
            num_frames, fps = read_clip(folder / name)
            _train(loaded, name, num_frames / fps, max(1.0, num_frames / fps / (rules.frames / rules.fps)))
    return loaded


def onetrainer(folder: Path, rules: Rules, subfolders: bool = False) -> Loaded:
    """See DataLoaderText2ImageMixin.py and LoadMultipleTexts: each line is an alternative; no file, no text."""
    loaded = Loaded()
    for name in _walked(folder, tuple(ONETRAINER)):
        if ("/" in name and not subfolders) or Path(name).stem.endswith(("-masklabel", "-condlabel")):
            continue

        def texts(name: str = name) -> list[str]:
            lines = [line.strip() for line in _utf8(folder, name, default="").splitlines()]
            return [line for line in lines if line] or [""]

        loaded.take(name, texts)
        if name.endswith(VIDEOS):
            _train(loaded, name, rules.frames / rules.fps, 1)
    return loaded


def sd_scripts(folder: Path, rules: Rules) -> Loaded:
    """See train_util.py:1946 read_caption: images of the top folder; the first line; a fallback for long stems."""
    loaded = Loaded()
    for name in _globbed(folder, [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"]):

        def text(name: str = name) -> list[str]:
            base = Path(name).stem
            parts = base.split("_")
            for stem in [base, "_".join(parts[:-4])] if len(parts) >= 5 else [base]:
                path = folder / f"{stem}.txt"
                if path.is_file():
                    with path.open(encoding="utf-8") as file:
                        lines = file.readlines()
                    assert lines, "caption file is empty"
                    return [lines[0].strip()]
            return [""]  # class tokens, if there are some

        loaded.take(name, text)
    return loaded


def simpletuner(folder: Path, rules: Rules) -> Loaded:
    """See prompts.py:405-430: all subfolders; each line is a caption of its own; no file, no training."""
    loaded = Loaded()
    for name in _walked(folder, SIMPLETUNER, hidden=True):
        num_frames, fps = read_clip(folder / name) if name.endswith(VIDEOS) else (0, 1.0)

        def texts(name: str = name) -> list[str]:
            text = (folder / name).with_suffix(".txt").read_bytes().decode("utf-8")
            return [line for line in text.split("\n") if line] if "\n" in text else [text]

        if not num_frames or num_frames >= rules.frames or not (folder / name).with_suffix(".txt").exists():
            loaded.take(name, texts)
            if num_frames:
                _train(loaded, name, rules.frames / fps, rules.fps / fps)
    return loaded


def ltx_trainer(folder: Path, rules: Rules) -> Loaded:
    """See process_captions.py and process_videos.py: a list with caption and video; caches are named by the stem."""
    loaded, caches = Loaded(), {}
    for media, caption in _listed(folder, loaded, "caption", ("video", "media_path")):
        path = folder / media
        if path.suffix in VIDEOS:
            num_frames, fps = read_clip(path)
            if num_frames < rules.frames:
                continue
            _train(loaded, media, rules.frames / fps, 1)
        elif path.suffix not in (".png", ".jpg", ".jpeg"):
            continue  # read as a video, which fails
        cache = str(Path(media).with_suffix(".pt"))
        caches[cache] = caption
        loaded.captions[media] = [cache]
    for media, (cache,) in loaded.captions.items():
        loaded.captions[media] = [caches[cache]]
    return loaded


def diffsynth(folder: Path, rules: Rules) -> Loaded:
    """See unified_dataset.py and operators.py: a list with prompt and video or image; frames are taken as they are."""
    loaded = Loaded()
    for media, caption in _listed(folder, loaded, "prompt", ("video", "image")):
        extension = media.split(".")[-1].lower()
        if extension not in (*DIFFSYNTH_IMAGES, *DIFFSYNTH_VIDEOS):
            loaded.stops[media] = "ValueError"
            continue
        if f".{extension}" in VIDEOS:
            num_frames, fps = read_clip(folder / media)
            taken = min(num_frames, rules.frames)
            while taken > 1 and taken % rules.step != rules.remainder:
                taken -= 1
            _train(loaded, media, taken / fps, rules.fps / fps)
        loaded.captions[media] = [caption]
    return loaded


def _listed(folder: Path, loaded: Loaded, caption: str, columns: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the entries of the only list of a folder, as the loader reads it; what stops it is noted."""
    found = [path for path in folder.iterdir() if path.suffix in (".json", ".jsonl", ".csv")]
    if not found:
        loaded.stops["."] = "no list"
        return
    [path] = found
    try:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        elif path.suffix == ".json":
            rows = json.loads(path.read_text("utf-8"))
            assert isinstance(rows, list)
        else:
            rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        entries = [(next(row[column] for column in columns if column in row), row[caption]) for row in rows]
    except (ValueError, KeyError, AssertionError, StopIteration) as error:
        loaded.stops[path.name] = type(error).__name__
        return
    for media, text in entries:
        if (folder / media).is_file():
            yield media, text
        else:
            loaded.stops[media] = "FileNotFoundError"


def _utf8(folder: Path, name: str, default: str | None = None) -> str:
    """Return the text of <stem>.txt, strictly as UTF-8 with the mark in it; the default if there is none."""
    path = (folder / name).with_suffix(".txt")
    if default is not None and not path.exists():
        return default
    return path.read_text("utf-8")


def _globbed(folder: Path, extensions: list[str]) -> list[str]:
    both = [*extensions, *(each.upper() for each in extensions)]
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.suffix in both)


def _walked(folder: Path, extensions: tuple[str, ...], hidden: bool = False) -> list[str]:
    return sorted(
        (Path(root) / name).relative_to(folder).as_posix()
        for root, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(extensions) and (hidden or not name.startswith("."))
    )


def read_clip(path: Path) -> tuple[int, float]:
    """Return (number of frames, frames a second); (0, 1) if it cannot be read."""
    if b"moov" not in path.read_bytes() and path.suffix == ".mp4":
        return 0, 1.0
    with av.open(path) as container:
        stream = container.streams.video[0]
        return sum(1 for packet in container.demux(stream) if packet.size), float(stream.average_rate or 1)


def _train(loaded: Loaded, name: str, seconds: float, speed: float) -> None:
    loaded.seconds[name], loaded.speed[name] = seconds, speed
