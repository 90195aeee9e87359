"""The rows of a list of captions: how each file is named, and which files the list cannot hold."""

from pathlib import Path

from captioner.dataset.exports.entries import Entry, LeftOut
from captioner.dataset.exports.manifests import Row
from captioner.dataset.exports.placement import relative_name
from captioner.dataset.exports.styles import Style
from captioner.system.paths import real_path
from captioner.values import MediaItem, MediaKind


class ListRows:
    """The rows of a list. Files that it cannot hold are added to `left_out`."""

    def __init__(self, style: Style, start: Path, of_video_target: bool, left_out: list[LeftOut]) -> None:
        """start: the folder of the list, without links."""
        self._style, self._start, self._of_video_target, self._left_out = style, start, of_video_target, left_out
        self.kinds: dict[MediaKind, list[Row]] = {"video": [], "image": []}
        self._folders: dict[Path, Path] = {}  # a folder -> the same without links
        self._owners: dict[str, str] = {}  # what has to be unique -> the file that has it
        self.all: list[Row] = []

    def add(self, entry: Entry | LeftOut) -> bool:
        """Add a file, or the reason why it is left out; return whether the list holds it."""
        if isinstance(entry, Entry):
            name = self._name(entry.item)
            reason = self._obstacle(entry.item, name)
            if not reason:
                row = self._row(entry, name)
                self.kinds[entry.item.kind].append(row)
                self.all.append(row)
                return True
            entry = LeftOut(entry.item.name, reason)
        self._left_out.append(entry)
        return False

    def files(self, path: Path) -> list[tuple[Path, list[Row]]]:
        """Return each file to write with its rows: one, or one for clips and one for images."""
        if self._style.one_kind and all(self.kinds.values()):
            return [(path.with_stem(f"{path.stem}-{kind}s"), rows) for kind, rows in self.kinds.items()]
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
