"""Checks of captions: missing, empty, in the wrong encoding or form, split, cut or shared."""

import codecs
import re
from collections.abc import Iterator

from captioner.captions.encoding import HOW_TO_BE_CERTAIN
from captioner.captions.text import is_blank
from captioner.dataset.doctor.finding import Hit
from captioner.dataset.doctor.scene import Item, Scene, stem_of
from captioner.dataset.forms import MediaFacts, form
from captioner.formatting import plural
from captioner.values import MediaKind

OTHER_EXTENSIONS = (".txt", ".caption", ".cap", ".tags", ".text")
LINE_MATTERS = ("empty", "line-break")  # problems of a form that are the trainer's rules
_NUMBER = re.compile(r"\d,\d")
_BREAK = re.compile(r"\r\n|\r|\n")


def find_image_without_caption(scene: Scene) -> Iterator[Hit]:
    """Find images without a caption file or an entry."""
    yield from _without_caption(scene, "image")


def find_clip_without_caption(scene: Scene) -> Iterator[Hit]:
    """Find clips without a caption file or an entry."""
    yield from _without_caption(scene, "video")


def find_extension(scene: Scene) -> Iterator[Hit]:
    """Find files whose caption is there, but under a name that the trainer does not read."""
    for item in scene.items:
        if not item.source and (other := misnamed_caption(scene, item)):
            wanted = (item.stem + scene.extension).rpartition("/")[2]
            yield Hit(item.name, f"its caption is {other.rpartition('/')[2]}, not {wanted}")


def find_empty(scene: Scene) -> Iterator[Hit]:
    """Find captions without visible text."""
    for item in scene.items:
        if item.source and not item.text and item.source not in scene.contents.unreadable:
            where = "" if item.data is not None else f" in {item.source}"
            yield Hit(item.name, f"its caption{where} is empty", item.data is not None)


def find_mark(scene: Scene) -> Iterator[Hit]:
    """Find captions that begin with the byte order mark of UTF-8."""
    for item in scene.items:
        if item.data and item.data.startswith(codecs.BOM_UTF8) and item.text:
            yield Hit(item.name, f"{item.source} begins with a byte order mark")


def find_encoding(scene: Scene) -> Iterator[Hit]:
    """Find caption files that are not UTF-8, or cannot be read at all."""
    for item in scene.items:
        decoded = item.caption
        if reason := scene.contents.unreadable.get(item.source):
            yield Hit(item.name, reason, can_repair=False)
        elif item.text and (decoded.encoding != "utf-8" or not decoded.certain):
            what = decoded.doubt or decoded.encoding.upper()
            advice = "" if decoded.certain else f" ({HOW_TO_BE_CERTAIN})"
            yield Hit(item.name, f"{item.source} is {what}{advice}", decoded.certain)


def find_platform(scene: Scene) -> Iterator[Hit]:
    """Find UTF-8 captions that a trainer may read in another encoding."""
    for item in scene.items:
        if item.data and not item.caption.text.isascii() and item.caption.encoding == "utf-8":
            yield Hit(item.name, f"{item.source} has other than ASCII characters")


def find_lines(scene: Scene) -> Iterator[Hit]:
    """Find captions of several lines, for trainers that do not read them as one."""
    if not scene.trainer.splits_lines:
        return
    for item in scene.items:
        if not item.text or not _BREAK.search(item.caption.text):
            continue
        lines = _BREAK.split(item.caption.text)
        num_lines = sum(not is_blank(line) for line in lines)
        if num_lines > 1:
            yield Hit(item.name, f"its caption has {num_lines} lines")
        elif scene.trainer.lines == "first" and is_blank(lines[0]):
            yield Hit(item.name, "the first line of its caption is blank, so it is empty")


def find_shared(scene: Scene) -> Iterator[Hit]:
    """Find files that take the caption file of another one with the same stem."""
    for source, items in scene.by_source.items():
        owners = sorted((item for item in items if item.stem + scene.extension == source), key=_clips_first)
        for item in owners[1:]:
            yield Hit(item.name, f"{source} is also the caption of {owners[0].name}")


def find_borrowed(scene: Scene) -> Iterator[Hit]:
    """Find files without a caption of their own that the trainer gives one of another stem."""
    for source, items in scene.by_source.items():
        for item in items:
            if item.stem + scene.extension != source:
                yield Hit(item.name, f"it has no caption of its own, but {source} fits the start of its name")


def find_long(scene: Scene) -> Iterator[Hit]:
    """Find captions with more tokens than the target or the trainer takes."""
    limit = scene.target.token_limit if scene.trainer.token_limit is None else scene.trainer.token_limit
    if not limit:
        return
    for item in scene.items:
        if len(item.text) > limit and (found := scene.limit.count(item.text)).number > limit:
            about = "" if found.is_exact else "about "
            yield Hit(item.name, f"its caption has {about}{found.number:,} tokens, over the limit of {limit:,}")


def find_commas(scene: Scene) -> Iterator[Hit]:
    """Find numbers with commas, for trainers that split captions at commas."""
    for item in scene.items:
        if match := _NUMBER.search(item.caption.text):
            start = item.caption.text[: match.end()].split()[-1]
            yield Hit(item.name, f"its caption has a comma inside a number ({start[-20:]}...)")


def find_form(scene: Scene) -> Iterator[Hit]:
    """Find captions that are not in the form of the target."""
    chosen = form(scene.target.form)
    for item in scene.items:
        if not item.text:
            continue
        info = scene.info(item.name)
        facts = MediaFacts(
            duration_s=info.duration_s if info and item.kind == "video" else None,
            has_sound=info.has_sound if info else None,
            is_still=item.kind == "image",
        )
        problems = [each for each in chosen.problems(item.text, facts) if each.code not in LINE_MATTERS]
        if problems:
            more = f" (and {plural(len(problems) - 1, 'other problem')})" if len(problems) > 1 else ""
            yield Hit(item.name, f"its caption {problems[0].message}{more}")


def find_orphan(scene: Scene) -> Iterator[Hit]:
    """Find caption files without a media file."""
    stems = {stem_of(name) for name in scene.media} | set(scene.media)
    used = scene.by_source
    for file in scene.contents.files:
        stem = file.name.removesuffix(scene.extension)
        if stem != file.name and stem not in stems and file.name not in used and not stem.endswith("/"):
            yield Hit(file.name, "there is no media file with this stem")


def find_hidden(scene: Scene) -> Iterator[Hit]:
    """Find the file that replaces the caption files, where there are some."""
    if scene.override is not None and any(file.name.endswith(scene.extension) for file in scene.contents.files):
        yield Hit(scene.trainer.override, "it replaces the caption files of this folder")


def misnamed_caption(scene: Scene, item: Item) -> str:
    """Return the caption file of an item without one that has another name than the trainer expects, or ""."""
    if scene.override is not None or scene.trainer.captions == "manifest" or scene.media_list:
        return ""
    endings = (scene.extension, *OTHER_EXTENSIONS)
    names = [item.stem + ending for ending in endings] + [item.name + ending for ending in endings]
    names += [name + ending.upper() for name in (item.stem, item.name) for ending in endings]
    found = (name for name in names if name in scene.names and name not in scene.by_source)
    return next(found, "")


def _without_caption(scene: Scene, kind: MediaKind) -> Iterator[Hit]:
    for item in scene.items:
        if item.kind == kind and not item.source and not misnamed_caption(scene, item):
            what = f"no entry in {scene.trainer.override}" if scene.override else f"no {_last(item)}{scene.extension}"
            yield Hit(item.name, what)


def _last(item: Item) -> str:
    return item.stem.rpartition("/")[2]


def _clips_first(item: Item) -> tuple[bool, str]:
    return item.kind == "image", item.name
