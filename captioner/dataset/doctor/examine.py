"""Examines a folder for a trainer and a target: every check that has a rule in trainers.toml."""

from collections.abc import Callable, Iterable
from pathlib import Path

from captioner.captions.store import CaptionStore
from captioner.config.settings import Settings
from captioner.dataset.doctor import checks_captions, checks_folder, checks_media
from captioner.dataset.doctor.contents import read_contents
from captioner.dataset.doctor.finding import Finding, Hit, finding
from captioner.dataset.doctor.scene import Scene
from captioner.dataset.targets import chosen_target
from captioner.dataset.token_limit import TokenLimit
from captioner.dataset.trainers import SEVERITIES
from captioner.dataset.trainers import trainer as trainer_named
from captioner.engine.tokenizers_here import find_tokenizer
from captioner.media.facts import FactsCache, Progress

CHECKS: dict[str, Callable[[Scene], Iterable[Hit]]] = {
    "image-without-caption": checks_captions.find_image_without_caption,
    "clip-without-caption": checks_captions.find_clip_without_caption,
    "caption-extension": checks_captions.find_extension,
    "caption-empty": checks_captions.find_empty,
    "caption-mark": checks_captions.find_mark,
    "caption-encoding": checks_captions.find_encoding,
    "caption-platform": checks_captions.find_platform,
    "caption-lines": checks_captions.find_lines,
    "caption-shared": checks_captions.find_shared,
    "caption-borrowed": checks_captions.find_borrowed,
    "caption-long": checks_captions.find_long,
    "caption-commas": checks_captions.find_commas,
    "caption-form": checks_captions.find_form,
    "caption-orphan": checks_captions.find_orphan,
    "caption-hidden": checks_captions.find_hidden,
    "manifest-missing": checks_folder.find_no_list,
    "manifest-broken": checks_folder.find_broken_list,
    "manifest-value": checks_folder.find_wrong_value,
    "manifest-blank-line": checks_folder.find_blank_line,
    "manifest-column": checks_folder.find_missing_column,
    "manifest-media": checks_folder.find_missing_media,
    "manifest-orphan": checks_folder.find_unused_entry,
    "manifest-unlisted": checks_folder.find_unlisted,
    "media-none": checks_folder.find_no_media,
    "media-kind": checks_folder.find_unread_kind,
    "media-like": checks_folder.find_taken_for_media,
    "media-subfolder": checks_folder.find_subfolder,
    "media-broken": checks_media.find_broken,
    "media-target": checks_media.find_target,
    "webp-animated": checks_media.find_animated_webp,
    "image-among-clips": checks_media.find_image_among_clips,
    "audio-twice": checks_media.find_two_sounds,
    "clip-short": checks_media.find_short,
    "clip-long": checks_media.find_long,
    "clip-bucket": checks_media.find_shorter_bucket,
    "clip-cut": checks_media.find_cut,
    "clip-squeezed": checks_media.find_squeezed,
    "clip-rounded": checks_media.find_rounded,
    "clip-rate": checks_media.find_rate,
    "clip-mkv": checks_media.find_mkv,
    "cache-collision": checks_folder.find_same_cache,
    "cache-stale": checks_folder.find_old_cache,
    "size-multiple": checks_media.find_size,
}


def look_at(
    folder: Path,
    trainer: str,
    settings: Settings,
    captions: CaptionStore,
    media: FactsCache,
    recursive: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Scene:
    """Read a folder for `examine`. settings: for the target, and the extension of the caption files if the trainer lets
    one choose it.

    Raise CaptionerError for an unknown trainer or target, FolderError and StateError.
    """
    target = chosen_target(settings)
    rules = trainer_named(trainer, target.name)
    extension = settings.caption_extension if rules.extension else ".txt"
    contents = read_contents(folder, rules, recursive, extension, captions.files, media, progress)
    tokenizer = find_tokenizer(target.tokenizer, settings.models_folder) if target.token_limit else None
    return Scene(contents, rules, TokenLimit(target, tokenizer), extension, captions.encoding)


def examine(scene: Scene) -> list[Finding]:
    """Return what the trainer will do with the files, errors first, each code together. A clean folder has none."""
    found = [finding(hit, code, scene.trainer) for code in scene.trainer.rules for hit in CHECKS[code](scene)]
    ranks = {code: number for number, code in enumerate(CHECKS)}
    places = {file.name: number for number, file in enumerate(scene.contents.files)}
    found.sort(key=lambda each: (SEVERITIES.index(each.severity), ranks[each.code], places.get(each.file, -1)))
    return found
