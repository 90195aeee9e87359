"""Checks of the folder and of lists: files that are not seen, taken for media, not listed, or collide."""

from collections import defaultdict
from collections.abc import Iterator

from captioner.dataset.doctor.checks_captions import misnamed_caption
from captioner.dataset.doctor.contents import is_hidden
from captioner.dataset.doctor.finding import Hit
from captioner.dataset.doctor.lists import BLANK, BROKEN, COLUMN, VALUE
from captioner.dataset.doctor.scene import Scene, stem_of

SHOWN_PROBLEMS = 20


def find_no_media(scene: Scene) -> Iterator[Hit]:
    """Find a folder without images and clips."""
    if not scene.media:
        yield Hit(".", "there are no images and clips in the folder")


def find_unread_kind(scene: Scene) -> Iterator[Hit]:
    """Find media of kinds that the trainer does not read."""
    listed = [name for name, _ in scene.entries]
    for name in listed if scene.media_list else scene.reachable:
        if not scene.trainer.kind_of(name) and (not scene.media_list or name in scene.names):
            yield Hit(name, f".{name.rpartition('.')[2]} is not among the extensions that it reads")


def find_taken_for_media(scene: Scene) -> Iterator[Hit]:
    """Find files that the trainer takes for media: hidden ones, or all but those of a few extensions."""
    misnamed = {misnamed_caption(scene, item) for item in scene.items if not item.source}
    known = {*scene.media, *misnamed}
    for file in scene.contents.files:
        if file.name in known:
            continue
        extension = file.name.rpartition(".")[2] if "." in file.name.lstrip(".") else ""
        if scene.trainer.hidden and is_hidden(file.name) and scene.trainer.kind_of(file.name):
            yield Hit(file.name, "it is hidden, as what macOS leaves on other disks, but named as media")
        elif scene.trainer.ignores and "/" not in file.name and extension not in scene.trainer.ignores:
            yield Hit(file.name, f"{extension and '.'}{extension or 'a name without extension'} is not left out")


def find_subfolder(scene: Scene) -> Iterator[Hit]:
    """Find media in subfolders that the trainer does not read."""
    reachable = set(scene.reachable)
    for name in scene.media:
        if name not in reachable:
            yield Hit(name, "it is in a subfolder")


def find_no_list(scene: Scene) -> Iterator[Hit]:
    """Find a folder of media without the list that the trainer needs."""
    if scene.media and not scene.media_list:
        yield Hit(".", "the folder has no list of its media and their captions")


def find_blank_line(scene: Scene) -> Iterator[Hit]:
    """Find blank lines in a list."""
    yield from _problems(scene, BLANK)


def find_broken_list(scene: Scene) -> Iterator[Hit]:
    """Find lists that cannot be read."""
    yield from _problems(scene, BROKEN)


def find_wrong_value(scene: Scene) -> Iterator[Hit]:
    """Find lists with values of the wrong kind."""
    yield from _problems(scene, VALUE)


def find_missing_column(scene: Scene) -> Iterator[Hit]:
    """Find entries without a media file or a caption."""
    yield from _problems(scene, COLUMN)


def find_missing_media(scene: Scene) -> Iterator[Hit]:
    """Find entries of files that do not exist in the folder."""
    for name, entry in scene.entries:
        outside = name.startswith(("/", "../")) or name[1:2] == ":"
        if name not in scene.names and not outside and scene.media_list:
            yield Hit(name, f"entry {entry.line} of {scene.media_list.name} names it, and it does not exist")


def find_unused_entry(scene: Scene) -> Iterator[Hit]:
    """Find entries of captions.json without a file."""
    for name in scene.override[0] if scene.override else ():
        if name not in scene.names:
            yield Hit(name, f"{scene.trainer.override} names it, and it does not exist")


def find_unlisted(scene: Scene) -> Iterator[Hit]:
    """Find media that the list does not name."""
    if scene.media_list and not any(code != BLANK for code, _ in scene.media_list.problems):
        listed = {name for name, _ in scene.entries}
        for name in scene.media:
            if name not in listed and scene.trainer.kind_of(name):
                yield Hit(name, f"it has no entry in {scene.media_list.name}")


def find_same_cache(scene: Scene) -> Iterator[Hit]:
    """Find files that share the name of what the trainer caches."""
    by_stem = defaultdict(list)
    for item in scene.items:
        by_stem[item.stem].append(item.name)
    for first, *others in by_stem.values():
        for name in others:
            twice = f"it is listed twice in {scene.media_list.name}" if name == first and scene.media_list else ""
            yield Hit(name, twice or f"it has the stem of {first}")


def find_old_cache(scene: Scene) -> Iterator[Hit]:
    """Find files whose cache is older than the list of captions."""
    changed_s = scene.names[scene.media_list.name].modified_s if scene.media_list else 0.0
    for item in scene.items:
        if scene.contents.caches.get(stem_of(item.name), changed_s) < changed_s:
            yield Hit(item.name, f"what was made of its caption is older than {item.source}")


def _problems(scene: Scene, wanted: str) -> Iterator[Hit]:
    """Yield the problems of one code of the list, or of the file that replaces the caption files."""
    name, problems = (scene.media_list.name, scene.media_list.problems) if scene.media_list else ("", ())
    if scene.override is not None:
        name, problems = scene.trainer.override, tuple(scene.override[1])
    for code, detail in problems[:SHOWN_PROBLEMS]:
        if code == wanted:
            yield Hit(name, detail)
