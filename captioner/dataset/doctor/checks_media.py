"""Checks of media: unreadable, too short or long, cut, squeezed, resampled, cropped."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from captioner.dataset.doctor.finding import Hit
from captioner.dataset.doctor.scene import Item, Scene
from captioner.dataset.targets import FrameRule
from captioner.values import MediaInfo

SOUND_EXTENSIONS = ("wav", "mp3", "flac", "m4a", "ogg", "opus", "aac")
NOTICED_S = 1.0  # of a clip that are not trained
SAME_RATE = 0.05  # trainers of a model differ so much, as 24 and 25
SLACK_FRAMES = 0.05  # the rate of a file is measured
SQUEEZED = 1.25  # times faster than it was filmed


class _Clip(NamedTuple):
    item: Item
    info: MediaInfo
    available: int  # frames at the rate of the trainer
    rate: float  # frames a second at which it is trained
    frames: FrameRule


def find_broken(scene: Scene) -> Iterator[Hit]:
    """Find media that cannot be read."""
    for item in scene.items:
        facts = scene.contents.facts.get(item.name)
        if isinstance(facts, str):
            yield Hit(item.name, facts)


def find_target(scene: Scene) -> Iterator[Hit]:
    """Find clips for a target of images."""
    for item in scene.items:
        if scene.target.kind == "image" and item.kind == "video":
            yield Hit(item.name, f"{scene.target.title} is a model of images, and this is a clip")


def find_animated_webp(scene: Scene) -> Iterator[Hit]:
    """Find WebP files with several frames."""
    for item in scene.items:
        if item.name.lower().endswith(".webp") and (info := scene.info(item.name)) and info.num_frames > 1:
            yield Hit(item.name, f"it is animated, with {info.num_frames:,} frames")


def find_image_among_clips(scene: Scene) -> Iterator[Hit]:
    """Find images in a folder of clips."""
    if any(item.kind == "video" for item in scene.items):
        yield from (Hit(item.name, "it lies among clips") for item in scene.items if item.kind == "image")


def find_two_sounds(scene: Scene) -> Iterator[Hit]:
    """Find clips with several sound files of their stem."""
    sounds = defaultdict(list)
    for name in scene.names:
        stem, _, extension = name.rpartition(".")
        if extension.lower() in SOUND_EXTENSIONS:
            sounds[stem].append(name.rpartition("/")[2])
    for item in scene.items:
        if item.kind == "video" and len(found := sounds.get(item.stem, ())) > 1:
            yield Hit(item.name, f"it has {' and '.join(found)}")


def find_short(scene: Scene) -> Iterator[Hit]:
    """Find clips with fewer frames than are trained."""
    for clip in _clips(scene):
        if clip.available < (needed := _needed(scene, clip)):
            yield Hit(clip.item.name, f"it has {_frames(clip)}, and {needed} are needed")


def find_long(scene: Scene) -> Iterator[Hit]:
    """Find clips with more frames than are allowed."""
    for clip in _clips(scene):
        if scene.trainer.longest and clip.available > scene.trainer.longest:
            yield Hit(clip.item.name, f"it has {_frames(clip)}, over the {scene.trainer.longest} that are allowed")


def find_shorter_bucket(scene: Scene) -> Iterator[Hit]:
    """Find clips that are long enough for a bucket, but not for that of the target."""
    for clip in _clips(scene):
        if (needed := _needed(scene, clip)) <= clip.available < clip.frames.default:
            detail = f"it has {_frames(clip)}, under the {clip.frames.default} of the target: {needed} may be trained"
            yield Hit(clip.item.name, detail)


def find_cut(scene: Scene) -> Iterator[Hit]:
    """Find clips of which only the first part is trained."""
    for clip in _clips(scene):
        trained_s = clip.frames.default / clip.rate
        if clip.info.duration_s - trained_s > NOTICED_S and not _is_refused(scene, clip):
            yield Hit(clip.item.name, f"it lasts {clip.info.duration_s:.1f} s, of which {trained_s:.1f} s are trained")


def find_squeezed(scene: Scene) -> Iterator[Hit]:
    """Find clips that are sped up, since their frames are taken from the whole clip."""
    for clip in _clips(scene):
        speed = clip.info.duration_s / (clip.frames.default / (scene.target.fps or clip.info.fps))
        if speed > SQUEEZED and clip.info.num_frames > clip.frames.default:
            yield Hit(clip.item.name, f"its {clip.info.duration_s:.1f} s become {speed:.1f} times as fast")


def find_rounded(scene: Scene) -> Iterator[Hit]:
    """Find clips whose number of frames is rounded down to one that is allowed."""
    for clip in _clips(scene):
        rule = clip.frames
        extra = (clip.available - rule.remainder) % rule.step
        if scene.trainer.rounds_down and clip.available < rule.default and extra:
            detail = f"it has {_frames(clip)}, and {rule.step}n+{rule.remainder} are allowed: {clip.available - extra}"
            yield Hit(clip.item.name, detail)


def find_rate(scene: Scene) -> Iterator[Hit]:
    """Find clips with another frame rate than the target's."""
    wanted = scene.target.fps
    for clip in _clips(scene):
        if wanted and abs(clip.info.fps / wanted - 1) > SAME_RATE:
            yield Hit(clip.item.name, f"it has {clip.info.fps:.4g} frames a second, and the target {wanted:g}")


def find_mkv(scene: Scene) -> Iterator[Hit]:
    """Find MKV files."""
    yield from (Hit(item.name, "it is an MKV") for item in scene.items if item.name.lower().endswith(".mkv"))


def find_size(scene: Scene) -> Iterator[Hit]:
    """Find sizes that are no multiples of the target's."""
    step = scene.target.size_multiple
    for item in scene.items:
        info = scene.info(item.name)
        if info and step > 1 and (info.width % step or info.height % step):
            yield Hit(item.name, f"its size of {info.width}x{info.height} is no multiple of {step}")


def _clips(scene: Scene) -> Iterator[_Clip]:
    """Yield the clips of which the frames are known, for a target with a rule for their number."""
    target, resamples = scene.target, scene.trainer.rate == "resampled"
    if target.kind != "video" or not target.frames:
        return
    for item in scene.items:
        info = scene.info(item.name) if item.kind == "video" else None
        if info and info.fps:
            rate = target.fps if resamples and target.fps else info.fps
            available = int(info.num_frames * rate / info.fps + SLACK_FRAMES)
            yield _Clip(item, info, available, rate, target.frames)


def _needed(scene: Scene, clip: _Clip) -> int:
    shortest = scene.trainer.shortest
    return clip.frames.default if shortest == "target" else shortest


def _is_refused(scene: Scene, clip: _Clip) -> bool:
    return bool(scene.trainer.longest and clip.available > scene.trainer.longest)


def _frames(clip: _Clip) -> str:
    return f"{clip.available:,} frames at {clip.rate:.4g} a second"
