"""Waivers: findings that a person has looked at and lets stand, each with a reason, in a JSON Lines file."""

import fnmatch
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from captioner.dataset.lint.finding import Finding, rules
from captioner.errors import CaptionerError


class Waiver(NamedTuple):
    """One line of the file. file: a name or a pattern such as "night/*"; text: None waives any text."""

    file: str
    rule: str
    text: str | None
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Return whether a finding is waived."""
        is_same = self.rule == finding.rule and self.text in (None, finding.text)
        return is_same and (self.file == finding.file or fnmatch.fnmatchcase(finding.file, self.file))


def read_waivers(path: Path) -> list[Waiver]:
    """Read a file of lines as `captioner lint --json` prints them, each with a reason. Raise CaptionerError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CaptionerError(f"cannot read the waivers {path}: {error}") from None
    return [_waiver(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _waiver(line: str, where: str) -> Waiver:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or not all(isinstance(row.get(name, ""), str) for name in Waiver._fields):
        raise CaptionerError(f"{where}: it is not an object of texts such as those of `captioner lint --json`")
    for name in ("file", "rule", "reason"):
        if not row.get(name, "").strip():
            raise CaptionerError(f"{where}: it has no {name}")
    if row["rule"] not in rules():
        raise CaptionerError(f"{where}: there is no rule {row['rule']!r}")
    return Waiver(row["file"], row["rule"], row.get("text"), row["reason"])


def not_waived(findings: Iterable[Finding], waivers: Sequence[Waiver]) -> list[Finding]:
    """Return the findings that no waiver covers."""
    return [each for each in findings if not any(waiver.covers(each) for waiver in waivers)]
