"""Writes an export of captions in the format that was asked for."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from captioner.dataset.exports.config_export import ConfigExport
from captioner.dataset.exports.entries import Entry, LeftOut
from captioner.dataset.exports.hub_folder import write_hub_folder
from captioner.dataset.exports.list_rows import ListRows
from captioner.dataset.exports.manifests import READ_AS_MISSING, encode_rows
from captioner.dataset.exports.placement import check_target, media_folders, write_file
from captioner.dataset.exports.request import Exported, Request
from captioner.dataset.exports.shards import write_shards
from captioner.dataset.exports.styles import Style, style_of
from captioner.dataset.targets import NO_TARGET
from captioner.errors import CaptionerError
from captioner.system.paths import real_path
from captioner.values import MediaItem

LISTS = ("jsonl", "csv", "json", "parquet")
FOLDERS: dict[str, Callable[..., int]] = {"webdataset": write_shards, "hf": write_hub_folder}
FORMATS = (*LISTS, "captions.json", *FOLDERS, "config")


def export(request: Request, items: Sequence[MediaItem], entries: Iterable[Entry | LeftOut]) -> Exported:
    """Write the export. entries: of `items`, read while it is consumed. Raise CaptionerError."""
    result, folders = Exported(), media_folders(items)
    if request.file_format == "config":
        ConfigExport(request, folders, result).write(entries)
    elif writer := FOLDERS.get(request.file_format):
        result.count = writer(request.to, folders, entries, result.left_out)
        result.files.append(request.to)
    else:
        _write_lists(request, entries, folders, result)
    return result


def _write_lists(request: Request, entries: Iterable[Entry | LeftOut], folders: set[Path], result: Exported) -> None:
    style, file_format = _style(request)
    path, of_video_target = _list_path(request), request.target != NO_TARGET and request.target.kind == "video"
    check_target(path, folders, request.overwrite)
    rows = ListRows(style, real_path(path.parent), of_video_target, result.left_out)
    for entry in entries:
        rows.add(entry)
    for kinds_path, kind_rows in rows.files(path):
        if kinds_path != path:
            check_target(kinds_path, folders, request.overwrite)
        write_file(kinds_path, encode_rows(kind_rows, file_format, style))
        result.files.append(kinds_path)
        result.count += len(kind_rows)
    if file_format == "csv" and (missing := sum(row[style.caption] in READ_AS_MISSING for row in rows.all)):
        result.notes.append(f"pandas reads {missing:,} of the captions, such as NA, as missing; use jsonl")


def _style(request: Request) -> tuple[Style, str]:
    """Return how the list is written, and its format."""
    if request.file_format == "captions.json":
        if request.trainer not in ("none", "diffusion-pipe"):
            raise CaptionerError(f"captions.json is for diffusion-pipe, not for {request.trainer}")
        return style_of("diffusion-pipe"), "json"
    style = style_of(request.trainer)
    if request.file_format not in style.formats:
        advice = f"use --format {style.formats[0]}" if style.formats else "it reads the caption files; use config"
        raise CaptionerError(f"{request.trainer} does not read a list as {request.file_format}; {advice}")
    return style, request.file_format


def _list_path(request: Request) -> Path:
    name = "captions.json" if request.file_format == "captions.json" else f"captions.{request.file_format}"
    path = request.to / name if request.to.is_dir() else request.to
    if request.file_format == "captions.json" and path.name != name:
        raise CaptionerError(f"diffusion-pipe reads only captions.json in the media folder, not {path.name}")
    return path
