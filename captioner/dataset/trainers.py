"""The trainers: what the loader of each one does with a folder, from trainers.toml."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from typing import Any, Literal

from captioner.errors import CaptionerError

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Rule:
    """The behavior of a trainer in the case of one code. severity: "" for that of the code."""

    does: str
    source: str
    severity: Severity | Literal[""] = ""


@dataclass(frozen=True)
class Columns:
    """The columns of a manifest: of the caption, and of the media, the first one being what we write."""

    caption: str
    media: tuple[str, ...]


@dataclass(frozen=True)
class Trainer:
    """The rules of one trainer, for one target. The fields are explained in trainers.toml."""

    name: str
    title: str
    captions: Literal["sidecar", "manifest"]
    extension: str
    recursive: Literal["no", "yes", "option"]
    images: tuple[str, ...]
    videos: tuple[str, ...]
    any_case: bool
    lines: Literal["whole", "first", "each"]
    frames: Literal["head", "squeezed"]
    rate: Literal["resampled", "as is", "kept", "squeezed"]
    source: str
    rules: Mapping[str, Rule]
    hidden: bool = False
    left_out: tuple[str, ...] = ()
    left_out_folders: tuple[str, ...] = ()
    fallback_parts: int = 0
    shortest: int | Literal["target"] = 0
    longest: int = 0
    rounds_down: bool = False
    token_limit: int | None = None
    ignores: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    override: str = ""
    cache_folder: str = ""
    manifest: Columns | None = None
    targets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)  # values that differ

    @property
    def splits_lines(self) -> bool:
        """True if a caption of several lines is not read as one."""
        return self.lines != "whole"

    def kind_of(self, filename: str) -> Literal["video", "image"] | None:
        """Return the kind of media that it takes a file for by its extension; None if it does not read it."""
        extension = filename.rpartition(".")[2]
        folded = extension.lower()
        if not self.any_case and extension not in (folded, folded.upper()):
            return None
        return "video" if folded in self.videos else "image" if folded in self.images else None


def trainers() -> tuple[str, ...]:
    """Return the names of all trainers."""
    return tuple(_table())


def trainer(name: str, target: str = "none") -> Trainer:
    """Return the rules of a trainer for a target. Raise CaptionerError with the known names."""
    rows = _table()
    if name not in rows:
        raise CaptionerError(f"no trainer named {name}; give one of {', '.join(rows)}")
    row = rows[name]
    change = row.get("targets", {}).get(target, {})
    return _built(name, {**row, **change, "rules": {**row["rules"], **change.get("rules", {})}})


@functools.cache
def _table() -> dict[str, dict[str, Any]]:
    return tomllib.loads((files("captioner.dataset") / "trainers.toml").read_text(encoding="utf-8"))


def _built(name: str, row: Mapping[str, Any]) -> Trainer:
    values = {field.name: row[field.name] for field in fields(Trainer) if field.name in row}
    for key in ("images", "videos", "left_out", "left_out_folders", "ignores", "names"):
        values[key] = tuple(row.get(key, "").split())
    values["rules"] = {code: Rule(**rule) for code, rule in row["rules"].items()}
    if columns := row.get("manifest"):
        values["manifest"] = Columns(columns["caption"], tuple(columns["media"].split()))
    return Trainer(name, **values)
