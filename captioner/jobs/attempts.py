"""Further attempts at captions that turned out faulty: one in an ordinary job, several in a repair."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from captioner.captions.flaws import REPEATS, flaw_of
from captioner.captions.forms.base import Form
from captioner.jobs.remedies import note_against, options_against, plan_against
from captioner.values import Caption, GenerationOptions, Measured, MediaItem, SamplePlan


class Judged(NamedTuple):
    """A judgment of a caption. rank: less is better."""

    rank: tuple[float, ...]
    is_good: bool  # no further attempt is needed
    faults: tuple[str, ...] = ()  # rules, see jobs/remedies


class Judge(Protocol):
    """Decides which captions are good. most: attempts at each file."""

    @property
    def most(self) -> int: ...

    def judge(self, item: MediaItem, caption: Caption) -> Judged: ...


class FlawJudge:
    """The judge of ordinary jobs.

    One more attempt is made at captions that were cut off or repeat themselves (the setting retry_cut), and at those
    that are not in the form of the target and cannot be repaired safely.
    """

    most = 2

    def __init__(self, retry_cut: bool, form: Form) -> None:
        self._retry_cut, self._form = retry_cut, form

    def judge(self, item: MediaItem, caption: Caption) -> Judged:
        """Return what is wrong with a caption; see `quality`."""
        flaw, problems = flaw_of(caption), form_problems(self._form, caption)
        faults = ["loop" if flaw == REPEATS else "cut"] * bool(flaw) + ["form"] * bool(problems)
        return Judged(quality(self._form, caption), not (problems or (self._retry_cut and flaw)), tuple(faults))


def form_problems(form: Form, caption: Caption) -> list[str]:
    """Return what is wrong with the form of a caption once it is repaired, in words that follow "it"."""
    if not form.reminder:
        return []
    return [each.message for each in form.problems(form.clean(caption.text, caption.facts), caption.facts)]


def quality(form: Form, caption: Caption) -> tuple[float, ...]:
    """Rank one without a flaw, one that was cut off, a repeating one, and no text; then by faults of the form."""
    flaw, is_empty = flaw_of(caption), not form.clean(caption.text, caption.facts)
    return 3 if is_empty else 2 if flaw == REPEATS else 1 if flaw else 0, len(form_problems(form, caption))


class Attempt(NamedTuple):
    """A caption with what the judge thinks of it."""

    judged: Judged
    caption: Caption


@dataclass
class _File:
    """A file that was asked about, with what is known of it."""

    faults: dict[str, None] = field(default_factory=dict)  # of all its captions so far, each once
    problems: list[str] = field(default_factory=list)  # of the form of the last one
    num_faulty: int = 0  # captions, with the one that is repaired
    attempts: list[Attempt] = field(default_factory=list)


class Attempts:
    """The attempts at the files of one job. Used by the thread that runs the job."""

    def __init__(self, judge: Judge, form: Form, trigger: str, may_be_longer: bool) -> None:
        """may_be_longer: the job has room for captions of twice the length."""
        self._judge, self._form, self._trigger, self._may_be_longer = judge, form, trigger, may_be_longer
        self._files: dict[str, _File] = {}  # by the names of the items

    def begin(self, name: str, faults: tuple[str, ...], problems: list[str]) -> None:
        """Note what is wrong with the caption that a file has, before it is asked about."""
        self._files.setdefault(name, _File(dict.fromkeys(faults), problems, 1))

    def options(self, name: str, options: GenerationOptions) -> GenerationOptions:
        """Return the options for the next attempt at a file."""
        file = self._files.get(name)
        return options_against(file.faults, file.num_faulty, options, self._may_be_longer) if file else options

    def plan(self, name: str, plan: SamplePlan) -> SamplePlan:
        """Return the frames for the next attempt at a file."""
        file = self._files.get(name)
        return plan_against(file.faults, file.num_faulty, plan) if file else plan

    def note(self, name: str) -> str:
        """Return what to tell the model behind the prompt: what was wrong so far, or ""."""
        file = self._files.get(name)
        if not file:
            return ""
        return note_against(list(file.faults), file.num_faulty, file.problems, self._form, self._trigger)

    def add(self, item: MediaItem, caption: Caption) -> None:
        """Judge a caption that the model has made."""
        file, judged = self._files.setdefault(item.name, _File()), self._judge.judge(item, caption)
        file.attempts.append(Attempt(judged, caption))
        file.faults |= dict.fromkeys(judged.faults)
        file.problems, file.num_faulty = form_problems(self._form, caption), file.num_faulty + 1

    def measured(self, name: str) -> Measured | None:
        """Return what was measured in a clip for the last caption of it."""
        file = self._files.get(name)
        return file.attempts[-1].caption.facts.measured if file and file.attempts else None

    def num_of(self, name: str) -> int:
        """Return how many captions the model has made for a file."""
        return len(self._files[name].attempts) if name in self._files else 0

    def wants(self, name: str) -> bool:
        """Return whether another attempt should be made at a file."""
        attempts = self._files[name].attempts
        return len(attempts) < self._judge.most and not attempts[-1].judged.is_good

    def pop_best(self, name: str) -> Attempt:
        """Return the best caption of a file, the last one of equals, and forget the file."""
        return min(reversed(self._files.pop(name).attempts), key=lambda attempt: attempt.judged.rank)
