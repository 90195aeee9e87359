"""The findings of the linter, and the table of its rules."""

import functools
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import NamedTuple

from captioner.dataset.targets import NO_TARGET
from captioner.dataset.token_limit import TokenLimit
from captioner.errors import CaptionerError

SHOWN_CHARACTERS = 200
NO_LIMIT = TokenLimit(NO_TARGET)


@dataclass(frozen=True)
class Rule:
    """One row of rules.toml."""

    title: str
    badge: str
    fix: str
    weight: float  # how bad it is, to tell which of two captions is better
    note: str = ""  # what the model is told when it is asked again
    value: float | None = None  # what can be tuned
    unit: str = ""


class Hit(NamedTuple):
    """A result of a rule: the part of the text that is wrong, and why."""

    rule: str
    start: int
    end: int
    why: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a caption. file: the name of its media file."""

    file: str
    rule: str
    text: str  # the part of the caption; "" where something is missing
    why: str

    def to_json(self) -> dict[str, str]:
        """Return the object that `captioner lint --json` prints."""
        return {name: getattr(self, name) for name in self.__slots__}


@functools.cache
def rules() -> Mapping[str, Rule]:
    """Return all rules, in the order of rules.toml."""
    rows = tomllib.loads((files("captioner.dataset.lint") / "rules.toml").read_text(encoding="utf-8"))
    return {name: Rule(**row) for name, row in rows.items()}


@dataclass(frozen=True)
class LintOptions:
    """The choice of what captions are checked for. prompts: texts that a model may have echoed."""

    limit: TokenLimit = NO_LIMIT
    trigger: str = ""
    prompts: tuple[str, ...] = ()
    script: str = ""  # such as "Latin"; "": that of most captions of the set
    chosen: frozenset[str] = field(default_factory=lambda: frozenset(rules()))
    values: Mapping[str, float] = field(default_factory=dict)  # by rule, instead of those of the table

    def value(self, rule: str) -> float:
        """Return the number that a rule is tuned by."""
        return self.values.get(rule, rules()[rule].value or 0.0)

    @property
    def key(self) -> str:
        """A text that differs if another check of the same caption may find something else."""
        limit = (self.limit.target, self.limit.tokenizer)
        return repr((limit, self.trigger, self.prompts, sorted(self.chosen), sorted(self.values.items())))


def chosen_rules(only: Collection[str], without: Collection[str]) -> frozenset[str]:
    """Return the rules of these names, or all, without others. Raise CaptionerError for a name that is not known."""
    for name in (*only, *without):
        if name not in rules():
            raise CaptionerError(f"there is no rule {name!r}; there are {', '.join(rules())}")
    return frozenset(only or rules()) - frozenset(without)


def tuned_values(given: Collection[str]) -> dict[str, float]:
    """Return the numbers of texts such as "near-duplicate=0.9", by rule. Raise CaptionerError."""
    values = {}
    for each in given:
        name, _, number = each.partition("=")
        tunable = [rule for rule, row in rules().items() if row.value is not None]
        if name not in tunable:
            raise CaptionerError(f"{name!r} cannot be tuned; these rules can: {', '.join(tunable)}")
        try:
            values[name] = float(number)
        except ValueError:
            raise CaptionerError(f"{each!r} has no number; write it as {name}={rules()[name].value:g}") from None
        if not 0 <= values[name] < float("inf"):
            raise CaptionerError(f"{each!r} is out of range")
    return values


def finding(file: str, text: str, hit: Hit) -> Finding:
    """Return a rule's hit as a finding, with the start of the text that it is about."""
    part = text[hit.start : hit.end].strip()
    shown = part if len(part) <= SHOWN_CHARACTERS else part[: SHOWN_CHARACTERS - 1] + "…"
    return Finding(file, hit.rule, shown, hit.why)
