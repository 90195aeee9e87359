"""The scene of an examination: which files of the folder a trainer takes, and with which caption. Reads no disk."""

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from captioner.captions.encoding import AUTO, Decoded, decode
from captioner.captions.text import is_blank
from captioner.dataset.doctor.contents import Contents, FolderFile, is_hidden
from captioner.dataset.doctor.lists import Entry, MediaList, has_columns, read_captions_json, read_list
from captioner.dataset.targets import Target
from captioner.dataset.token_limit import TokenLimit
from captioner.dataset.trainers import Trainer
from captioner.media.kinds import KINDS
from captioner.values import MediaInfo, MediaKind


class Item(NamedTuple):
    """A media file that the trainer takes. source: the file that its caption is in, "" if it has none."""

    name: str
    kind: MediaKind
    source: str
    data: bytes | None  # of a caption file; None: no caption file
    caption: Decoded  # empty if there is none
    text: str  # its visible text

    @property
    def stem(self) -> str:
        """The name without extension, with its folder."""
        return stem_of(self.name)


@dataclass(frozen=True)
class Scene:
    """A folder, for one trainer and one target. extension: of the caption files, with its dot."""

    contents: Contents
    trainer: Trainer
    limit: TokenLimit  # of the target
    extension: str = ".txt"
    encoding: str = AUTO  # of captions that are not UTF-8, if the user has said so

    @property
    def target(self) -> Target:
        """The model to train."""
        return self.limit.target

    @cached_property
    def names(self) -> dict[str, FolderFile]:
        """All files by name."""
        return {file.name: file for file in self.contents.files}

    @cached_property
    def media(self) -> list[str]:
        """The names of all files that hold pictures, whether the trainer reads them or not, but masks."""
        return [
            file.name
            for file in self.contents.files
            if (file.name.rpartition(".")[2].lower() in KINDS or self.trainer.kind_of(file.name))
            and not is_hidden(file.name)
            and not self._is_left_out(file.name)
        ]

    @cached_property
    def reachable(self) -> list[str]:
        """The media in folders that the trainer reads."""
        deep = self.contents.recursive and self.trainer.recursive != "no"
        return self.media if deep else [name for name in self.media if "/" not in name]

    @cached_property
    def media_list(self) -> MediaList | None:
        """The list that the trainer reads instead of caption files, or None."""
        columns = self.trainer.manifest
        if columns is None:
            return None
        if self.trainer.captions == "sidecar" and any(item.data is not None for item in self._beside):
            return None
        found = [name for name in self.contents.texts if "/" not in name and name.endswith((".json", ".jsonl", ".csv"))]
        ranks = {name: number for number, name in enumerate(self.trainer.names)}
        found.sort(key=lambda name: (ranks.get(stem_of(name), len(ranks)), name))
        lists = (read_list(name, self.contents.texts[name], columns) for name in found)
        return next((each for each in lists if has_columns(each)), None)

    @cached_property
    def entries(self) -> list[tuple[str, Entry]]:
        """The entries of the list, each with the name of its file in this folder, or its path outside of it."""
        return [(self._inside(entry.media), entry) for entry in self.media_list.entries] if self.media_list else []

    @cached_property
    def override(self) -> tuple[dict[str, list[str]], list[tuple[str, str]]] | None:
        """The captions and problems of the file that replaces the caption files, or None."""
        data = self.contents.texts.get(self.trainer.override)
        return None if data is None else read_captions_json(self.trainer.override, data)

    @cached_property
    def items(self) -> list[Item]:
        """The files that the trainer takes, each with its caption."""
        if self.trainer.captions == "manifest" or self.media_list:
            listed = [(name, entry, self.trainer.kind_of(name)) for name, entry in self.entries]
            source = self.media_list.name if self.media_list else ""
            return [
                _listed_item(name, kind, source, entry.caption or "")
                for name, entry, kind in listed
                if kind and name in self.names
            ]
        if self.override:
            captions, source = self.override[0], self.trainer.override
            found = [(item, captions.get(item.name)) for item in self._beside]
            return [
                _listed_item(item.name, item.kind, "" if texts is None else source, _weakest(texts or []))
                for item, texts in found
            ]
        return self._beside

    @cached_property
    def by_source(self) -> Mapping[str, list[Item]]:
        """The items by the caption file that they take."""
        grouped = defaultdict(list)
        for item in self.items:
            if item.data is not None:
                grouped[item.source].append(item)
        return grouped

    def info(self, name: str) -> MediaInfo | None:
        """Return the facts of a file, None if it cannot be read."""
        facts = self.contents.facts.get(name)
        return facts if isinstance(facts, MediaInfo) else None

    @cached_property
    def _beside(self) -> list[Item]:
        found = []
        for name in self.reachable:
            if kind := self.trainer.kind_of(name):
                source = self._caption_file(name)
                data = self.contents.texts.get(source) if source else None
                decoded = decode(data, self.encoding)
                found.append(Item(name, kind, source, data, decoded, decoded.body))
        return found

    def _caption_file(self, name: str) -> str:
        """Return the caption file that the trainer takes for a file, "" if there is none."""
        stem = stem_of(name)
        parts, fallback = stem.split("_"), self.trainer.fallback_parts
        stems = [stem, "_".join(parts[:-fallback])] if fallback and len(parts) > fallback else [stem]
        return next((each + self.extension for each in stems if each + self.extension in self.names), "")

    def _inside(self, path: str) -> str:
        folder = f"{self.contents.folder.as_posix()}/"
        return os.path.normpath(path.removeprefix(folder)).replace(os.sep, "/")

    def _is_left_out(self, name: str) -> bool:
        folder = name.rpartition("/")[0].rpartition("/")[2]
        ends = self.trainer.left_out
        return folder in self.trainer.left_out_folders or bool(ends and stem_of(name).endswith(ends))


def _listed_item(name: str, kind: MediaKind, source: str, text: str) -> Item:
    decoded = Decoded(text)
    return Item(name, kind, source, None, decoded, decoded.body)


def _weakest(texts: list[str]) -> str:
    """Return the text of several captions that has to be checked: a blank one, else the longest."""
    return "" if any(is_blank(text) for text in texts) else max(texts, key=len, default="")


def stem_of(name: str) -> str:
    """Return a name without its extension, with its folder."""
    return os.path.splitext(name)[0]  # noqa: PTH122 - as the trainers do
