"""Writes a trainer's configuration for a folder, with the lists of files that it names."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from captioner.dataset.exports.config_values import ConfigValues, list_name, special_of
from captioner.dataset.exports.configs import BUILDERS, KINDS
from captioner.dataset.exports.entries import Entry, LeftOut
from captioner.dataset.exports.list_rows import ListRows
from captioner.dataset.exports.manifests import Row, encode_rows
from captioner.dataset.exports.placement import check_target, write_file
from captioner.dataset.exports.request import Exported, Request
from captioner.dataset.exports.styles import style_of
from captioner.dataset.trainers import trainer as trainer_of
from captioner.errors import CaptionerError
from captioner.system.paths import real_path
from captioner.values import MediaItem

SAME_RATE = 1.01  # a clip of 16.1 frames per second is taken as one of 16
# The others read the caption files; these need .txt.
LISTS = {"musubi": "", "ltx-trainer": "dataset.jsonl", "diffsynth": "metadata.jsonl"}
NEED_TXT = ("diffusion-pipe", "onetrainer", "simpletuner")


class ConfigExport:
    """One export of a configuration."""

    def __init__(self, request: Request, media_folders: set[Path], result: Exported) -> None:
        """Raise CaptionerError if the trainer does not train the target, or `to` is no folder."""
        if request.trainer not in BUILDERS:
            raise CaptionerError(f"name the trainer with --trainer; choose one of {', '.join(BUILDERS)}")
        self._request, self._media_folders, self._result = request, media_folders, result
        self._special, self._source = special_of(request.trainer, request.target)
        self._target, self._trainer = request.target, request.trainer
        self._extension = ".txt" if self._trainer in NEED_TXT else request.caption_extension
        if request.to.suffix.lower() in (".toml", ".yaml", ".yml", ".json") and not request.to.is_dir():
            raise CaptionerError(f"{request.to} looks like a file: name the folder for the configuration with --to")
        self._to = real_path(request.to)

    def write(self, entries: Iterable[Entry | LeftOut]) -> None:
        """Write the files and complete the result. Raise CaptionerError, also if no file can be trained."""
        rows = ListRows(style_of(self._trainer), self._to, self._target.kind == "video", self._result.left_out)
        used: list[Entry] = []
        for entry in self._checked(entries):
            if isinstance(entry, LeftOut):
                self._result.left_out.append(entry)
            elif self._trainer not in LISTS or rows.add(entry):
                used.append(entry)
        if not used:
            reason = self._result.left_out[0].reason if self._result.left_out else "it is empty"
            raise CaptionerError(f"no file of the folder can be trained: {reason}")
        rates = self._rates(used)
        values = self._values(used, tuple(sorted(set(rates.values()))) or (0.0,))
        files = {name: text.encode() for name, text in BUILDERS[self._trainer](values).items()}
        for name, some in self._lists(used, rows, rates).items():
            files[name] = encode_rows(some, "jsonl", style_of(self._trainer))
        for name in files:
            check_target(self._to / name, self._media_folders, self._request.overwrite)
        for name, data in files.items():
            write_file(self._to / name, data)
        self._result.files += [self._request.to / name for name in files]
        self._result.count = len(used)
        self._note_lines(used)

    def _rates(self, used: list[Entry]) -> dict[str, float]:
        """Return the rate of each clip that has more frames per second than the model; 0 for the others.

        musubi-tuner drops frames by the rate that its configuration names, and takes each frame if it names none. For
        MiniMax-H3 it reads the times of the frames instead.
        """
        clips = [entry.item for entry in used if entry.item.kind == "video"]
        target = self._target
        if self._trainer != "musubi" or target.form == "h3" or target.kind != "video" or not target.fps:
            return {item.name: 0.0 for item in clips}
        found = self._request.read_rates(clips)
        rates = {item.name: round(found.get(item.name, 0.0), 2) for item in clips}
        return {name: rate if rate > target.fps * SAME_RATE else 0.0 for name, rate in rates.items()}

    def _lists(self, used: list[Entry], rows: ListRows, rates: dict[str, float]) -> dict[str, list[Row]]:
        """Return the rows of each list by the name of its file, those of clips first."""
        lists: dict[str, list[Row]] = {}
        for kind in KINDS if self._trainer in LISTS else ():
            items = (entry.item for entry in used if entry.item.kind == kind)
            for item, row in zip(items, rows.kinds[kind], strict=True):
                name = LISTS[self._trainer] or f"{list_name(kind, rates.get(item.name, 0.0))}.jsonl"
                lists.setdefault(name, []).append(row)
        return lists

    def _values(self, used: list[Entry], rates: tuple[float, ...]) -> ConfigValues:
        folders = {
            kind: tuple(dict.fromkeys(real_path(e.item.folder) for e in used if e.item.kind == kind)) for kind in KINDS
        }
        present = {kind: found for kind, found in folders.items() if found}
        return ConfigValues(self._target, self._to, present, self._extension, self._special, self._source, rates)

    def _checked(self, entries: Iterable[Entry | LeftOut]) -> Iterator[Entry | LeftOut]:
        for entry in entries:
            reason = self._obstacle(entry.item) if isinstance(entry, Entry) else ""
            yield LeftOut(entry.item.name, reason) if isinstance(entry, Entry) and reason else entry

    def _obstacle(self, item: MediaItem) -> str:
        """Return why the trainer cannot train a file for the target, or ""."""
        if item.kind == "video" and self._target.kind == "image":
            return f"{self._target.title} is trained on images"
        if item.kind == "image" and self._target.kind == "video" and not self._special.get("stills", True):
            return f"{self._trainer} trains {self._target.title} on clips"
        wanted = f"{item.filename.rpartition('.')[0]}{self._extension}"
        if self._trainer not in LISTS and item.caption_name != wanted:
            return f"its caption is {item.caption_name}, but {self._trainer} looks for {wanted} beside it"
        return ""

    def _note_lines(self, used: list[Entry]) -> None:
        count = sum("\n" in entry.caption for entry in used)
        lines = trainer_of(self._trainer).lines
        if count and lines != "whole" and self._trainer != "simpletuner":  # whose configuration turns that off
            what = "only the first line" if lines == "first" else "each line as a caption of its own"
            have = "caption has" if count == 1 else "captions have"
            self._result.notes.append(f"{count:,} {have} several lines, of which {self._trainer} takes {what}")
