"""The findings of the doctor, and the table of their codes."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

from captioner.dataset.trainers import Severity, Trainer


@dataclass(frozen=True)
class Code:
    """One row of codes.toml."""

    title: str
    severity: Severity
    fix: str
    repair: bool = False  # `--fix` can do it


class Hit(NamedTuple):
    """A result of a check: the file, what is so, and whether a repair is possible if the code has one."""

    file: str
    detail: str
    can_repair: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a trainer will do with a file other than expected. file: its name, "." for the folder itself."""

    file: str
    code: str
    severity: Severity
    message: str
    fix: str
    source: str
    can_repair: bool  # without a decision of a person

    def to_json(self) -> dict[str, str | bool]:
        """Return the object that `captioner doctor --json` prints."""
        return {name: getattr(self, name) for name in self.__slots__}


@functools.cache
def codes() -> Mapping[str, Code]:
    """Return all codes, in the order of codes.toml."""
    rows = tomllib.loads((files("captioner.dataset") / "codes.toml").read_text(encoding="utf-8"))
    return {name: Code(**row) for name, row in rows.items()}


def finding(hit: Hit, code: str, trainer: Trainer) -> Finding:
    """Return a check's hit in the words of the tables."""
    rule, about = trainer.rules[code], codes()[code]
    message = f"{hit.detail}; {trainer.title} {rule.does}"
    can_repair = about.repair and hit.can_repair
    return Finding(hit.file, code, rule.severity or about.severity, message, about.fix, rule.source, can_repair)
