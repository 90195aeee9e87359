"""A repair: a job over the files whose captions failed rules of the linter. See `Repair`."""

import math
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from captioner.captions.forms.base import Form
from captioner.captions.provenance import finish
from captioner.captions.store import CaptionStore
from captioner.captions.text import Decoration
from captioner.captions.written import CHANGED_SINCE
from captioner.dataset.lint.finding import LintOptions, rules
from captioner.dataset.lint.folder import FolderLint, lint_items
from captioner.dataset.lint.lint import lint_alone
from captioner.dataset.lint.near import likeness
from captioner.dataset.lint.scripts import script_of, wanted_script
from captioner.dataset.lint.waivers import Waiver, not_waived
from captioner.dataset.token_limit import TokenLimit
from captioner.errors import CaptionError, JobError
from captioner.jobs.attempts import Judged, quality
from captioner.jobs.remedies import EMPTY
from captioner.media.facts import FactsCache, Progress
from captioner.values import Caption, MediaItem

TRIES, MAX_TRIES = 3, 20
OF_THE_SET = ("near-duplicate", "swapped")  # rules that need the other captions


class Found(NamedTuple):
    """A faulty caption. check: `check_of` its text; rules: one for each finding."""

    check: int
    rules: tuple[str, ...]

    @property
    def rank(self) -> tuple[float, ...]:
        return rank_of(self.rules)


@dataclass(frozen=True)
class Repair:
    """The captions that a job repairs: they are made again until they fail none of the rules `wanted`.

    found: by the names of the files. lint: what new captions are checked for, which is more than what is repaired, so
    that no caption is replaced by one with a worse fault.
    """

    found: Mapping[str, Found]
    wanted: frozenset[str]
    lint: LintOptions
    waivers: tuple[Waiver, ...] = ()
    tries: int = TRIES

    def of(self, names: Collection[str] | None) -> Self:
        """Return the repair of these files alone; None: of all."""
        return replace(self, found={name: each for name, each in self.found.items() if names is None or name in names})

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` needs beside the target and the trigger word of the job."""
        return {
            "found": self.found,
            "wanted": sorted(self.wanted),
            "chosen": sorted(self.lint.chosen),
            "values": dict(self.lint.values),
            "script": self.lint.script,
            "prompts": self.lint.prompts,
            "waivers": self.waivers,
            "tries": self.tries,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any], limit: TokenLimit, trigger: str) -> Self:
        """Return the repair of a job that is resumed. Rules of another version of the program are left out."""
        chosen, wanted = (frozenset(kept[name]) & frozenset(rules()) for name in ("chosen", "wanted"))
        found = {
            name: Found(check, tuple(rule for rule in of if rule in rules()))
            for name, (check, of) in kept["found"].items()
        }
        lint = LintOptions(limit, trigger, tuple(kept["prompts"]), kept["script"], chosen, kept["values"])
        return cls(found, wanted, lint, tuple(Waiver(*each) for each in kept["waivers"]), kept["tries"])


@dataclass(frozen=True)
class RepairWish:
    """The choice of what to repair. Raise JobError for numbers of tries that are not possible.

    wanted: rules to repair; without: rules that do not matter at all. script, values: see `LintOptions`.
    """

    wanted: frozenset[str] = field(default_factory=lambda: frozenset(rules()))
    without: frozenset[str] = frozenset()
    script: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    waivers: tuple[Waiver, ...] = ()
    tries: int = TRIES

    def __post_init__(self) -> None:
        if not 1 <= self.tries <= MAX_TRIES:
            raise JobError(f"{self.tries} tries are not possible; choose 1 to {MAX_TRIES}")

    def options(self, options: LintOptions) -> LintOptions:
        """Return the options of the linter with this choice."""
        chosen = frozenset(rules()) - self.without
        return replace(options, script=self.script, chosen=chosen, values=self.values)


def find_repair(
    items: Sequence[MediaItem],
    folder: Path,
    wish: RepairWish,
    options: LintOptions,
    store: CaptionStore,
    media: FactsCache,
    progress: Progress,
) -> tuple[Repair, FolderLint]:
    """Lint the captions of a folder; return their repair and all findings. Raise StateError."""
    options = wish.options(options)
    done = lint_items(folder, [item for item in items if item.has_caption], options, store, media, progress)
    by_file: dict[str, list[str]] = {}
    for each in not_waived(done.findings, wish.waivers):
        by_file.setdefault(each.file, []).append(each.rule)
    chosen = {name: of for name, of in by_file.items() if not wish.wanted.isdisjoint(of)}
    found = {name: Found(check_of(done.texts[name]), tuple(of)) for name, of in chosen.items()}
    script = wanted_script([script_of(text) for text in done.texts.values()], options)
    return Repair(found, wish.wanted, replace(options, script=script), wish.waivers, wish.tries), done


def check_of(text: str) -> int:
    """Return a number that differs if a text does."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def rank_of(of: Sequence[str]) -> tuple[float, ...]:
    """Rank a caption by the rules that it failed, one for each finding; less is better.

    That it is like others counts only where nothing else is wrong, else one refusal would replace another.
    """
    of = [rule for rule in of if rule != "near-duplicate"] or of
    return sum(rules()[rule].weight for rule in set(of)), len(of)


class RepairJudge:
    """The judge of a repair. Every caption that it judges is kept in the history of its file."""

    def __init__(
        self, repair: Repair, form: Form, decoration: Decoration, operation: int | None, store: CaptionStore
    ) -> None:
        self.most = repair.tries
        self._repair, self._form, self._decoration = repair, form, decoration
        self._operation, self._store = operation, store
        self._old: dict[str, str] = {}  # the captions that are being repaired, by the names of their files

    def begin(self, item: MediaItem) -> str:
        """Read the caption to repair. Return why that is not done, or ""."""
        old = self._store.read(item.caption_path)
        if item.name not in self._repair.found or check_of(old) != self._repair.found[item.name].check:
            return CHANGED_SINCE
        self._old[item.name] = old
        return ""

    def old(self, name: str) -> tuple[str, Found]:
        """Return the caption that is being repaired, and what is wrong with it."""
        return self._old[name], self._repair.found[name]

    def left(self, of: Iterable[str]) -> tuple[str, ...]:
        """Return which of these rules are to be repaired, each once."""
        return tuple(rule for rule in dict.fromkeys(of) if rule in self._repair.wanted or rule == EMPTY)

    def is_better(self, name: str, judged: Judged) -> bool:
        """Return whether a caption is better than the one that its file has."""
        return judged.rank[:2] < self._repair.found[name].rank

    def judge(self, item: MediaItem, caption: Caption) -> Judged:
        """Return what the linter says of a caption as it would be written."""
        try:
            made = finish(item, caption, self._operation, self._decoration, self._form)
        except CaptionError:
            return Judged((math.inf,), False, (EMPTY,))
        self._store.record_made(made, "tried")
        text, lint, name = made.caption.text, self._repair.lint, item.name
        found = lint_alone(name, text, lint, caption.facts, made.flaw)
        of = [each.rule for each in not_waived(found, self._repair.waivers)]
        old, before = self.old(name)
        if likeness(text, old) >= lint.value("near-duplicate"):
            of += [rule for rule in OF_THE_SET if rule in before.rules]
        judged = Judged((*rank_of(of), *quality(self._form, caption)), False, tuple(of))
        return judged._replace(is_good=not self.left(of) and self.is_better(name, judged))
