"""An export of captions: what was asked for, and what came of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from captioner.dataset.exports.entries import Entry, LeftOut
from captioner.dataset.exports.hub_folder import write_hub_folder
from captioner.dataset.exports.manifests import READ_AS_MISSING, Row, encode_rows
from captioner.dataset.exports.placement import check_target, relative_name, write_file
from captioner.dataset.exports.shards import write_shards
from captioner.dataset.exports.styles import Style, style_of
from captioner.errors import CaptionerError
from captioner.system.paths import real_path
from captioner.values import MediaItem, MediaKind

LISTS = ("jsonl", "csv", "json", "parquet")
FORMATS = (*LISTS, "captions.json", "webdataset", "hf")


@dataclass
class Exported:
    """The result of an export. `files` were written; `left_out` files are not in them."""

    count: int = 0
    files: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Export:
    """A request to export. `to`: a file for the lists, or a folder, in which a list gets the name of its format."""

    file_format: str
    to: Path
    trainer: str = "none"
    of_video_target: bool = False
    overwrite: bool = False

    def run(self, items: Sequence[MediaItem], entries: Iterable[Entry | LeftOut]) -> Exported:
        """Write the export. entries: of `items`, read while it is consumed. Raise CaptionerError."""
        result = Exported()
        folders = {item.folder for item in items}
        writers: dict[str, Callable[..., int]] = {"webdataset": write_shards, "hf": write_hub_folder}
        if writer := writers.get(self.file_format):
            style_of(self.trainer)
            result.count = writer(self.to, folders, entries, result.left_out)
            result.files.append(self.to)
        else:
            self._write_lists(entries, folders, result)
        return result

    def _write_lists(self, entries: Iterable[Entry | LeftOut], folders: set[Path], result: Exported) -> None:
        style, file_format = self._style()
        path = self._list_path()
        check_target(path, folders, self.overwrite)
        rows = ListRows(style, real_path(path.parent), self.of_video_target, result.left_out)
        for entry in entries:
            rows.add(entry)
        for kinds_path, kind_rows in rows.files(path):
            if kinds_path != path:
                check_target(kinds_path, folders, self.overwrite)
            write_file(kinds_path, encode_rows(kind_rows, file_format, style))
            result.files.append(kinds_path)
            result.count += len(kind_rows)
        if file_format == "csv":
            missing = sum(row[style.caption] in READ_AS_MISSING for row in rows.all)
            if missing:
                result.notes.append(f"pandas reads {missing:,} of the captions, such as NA, as missing; use jsonl")

    def _style(self) -> tuple[Style, str]:
        """Return how the list is written, and its format."""
        if self.file_format == "captions.json":
            if self.trainer not in ("none", "diffusion-pipe"):
                raise CaptionerError(f"captions.json is for diffusion-pipe, not for {self.trainer}")
            return style_of("diffusion-pipe"), "json"
        style = style_of(self.trainer)
        if self.file_format not in style.formats:
            advice = f"use --format {style.formats[0]}" if style.formats else "it reads the caption files; use config"
            raise CaptionerError(f"{self.trainer} does not read a list as {self.file_format}; {advice}")
        return style, self.file_format

    def _list_path(self) -> Path:
        name = "captions.json" if self.file_format == "captions.json" else f"captions.{self.file_format}"
        path = self.to / name if self.to.is_dir() else self.to
        if self.file_format == "captions.json" and path.name != name:
            raise CaptionerError(f"diffusion-pipe reads only captions.json in the media folder, not {path.name}")
        return path


class ListRows:
    """The rows of a list. Files that it cannot hold are added to `left_out`."""

    def __init__(self, style: Style, start: Path, of_video_target: bool, left_out: list[LeftOut]) -> None:
        """start: the folder of the list, without links."""
        self._style, self._start, self._of_video_target, self._left_out = style, start, of_video_target, left_out
        self._kinds: dict[MediaKind, list[Row]] = {"video": [], "image": []}
        self._folders: dict[Path, Path] = {}  # a folder -> the same without links
        self._owners: dict[str, str] = {}  # what has to be unique -> the file that has it
        self.all: list[Row] = []

    def add(self, entry: Entry | LeftOut) -> None:
        """Add a file, or the reason why it is left out."""
        if isinstance(entry, Entry):
            name = self._name(entry.item)
            reason = self._obstacle(entry.item, name)
            if not reason:
                row = self._row(entry, name)
                self._kinds[entry.item.kind].append(row)
                self.all.append(row)
                return
            entry = LeftOut(entry.item.name, reason)
        self._left_out.append(entry)

    def files(self, path: Path) -> list[tuple[Path, list[Row]]]:
        """Return each file to write with its rows: one, or one for clips and one for images."""
        if self._style.one_kind and all(self._kinds.values()):
            return [(path.with_stem(f"{path.stem}-{kind}s"), rows) for kind, rows in self._kinds.items()]
        return [(path, self.all)]

    def _row(self, entry: Entry, name: str) -> Row:
        column = self._style.column(entry.item.kind, self._of_video_target)
        return {column: name, self._style.caption or "caption": entry.caption}

    def _name(self, item: MediaItem) -> str:
        if self._style.paths == "folder":
            return item.filename
        folder = self._folders.get(item.folder)
        if folder is None:
            folder = self._folders[item.folder] = real_path(item.folder)
        if self._style.paths == "disk":
            return str(folder / item.filename)
        return relative_name(folder, item.filename, self._start)

    def _obstacle(self, item: MediaItem, name: str) -> str:
        """Return why the list cannot hold a file, or ""."""
        if item.kind not in self._style.kinds:
            return f"{self._style.name} trains on images only"
        unique = name.rpartition(".")[0] if self._style.one_stem else name
        owner = self._owners.setdefault(unique, item.name)
        if owner == item.name:
            return ""
        if self._style.one_stem:
            return f"{self._style.name} would keep its cache in the same file as that of {owner}; rename one of them"
        return f"{owner} has the same name in another folder; export each folder by itself"
