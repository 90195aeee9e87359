"""Second tries, one for each item: for captions that were cut off or repeat themselves (the setting retry_cut), and for
those that are not in the form of the target and cannot be repaired safely.
"""

from dataclasses import replace

from captioner.captions.flaws import REPEATS, flaw_of
from captioner.captions.forms.base import Form, Problem
from captioner.captions.forms.known import PARAGRAPH
from captioner.values import Caption, GenerationOptions

REPETITION_PENALTY = 1.15  # more tokens would only repeat more
SHOWN_PROBLEMS = 5
NOTE_LENGTH = 800  # characters of what is told about them, at most


def longest_options(options: GenerationOptions, retry_cut: bool) -> GenerationOptions:
    """Return the options of the longest caption that a job may ask for."""
    return replace(options, max_new_tokens=2 * options.max_new_tokens) if retry_cut else options


def longest_note(form: Form) -> str:
    """Return a text as long as what the second question adds to the prompt."""
    return f"{form.reminder}{'x' * NOTE_LENGTH}" if form.reminder else ""


class SecondTries:
    """The first captions of the items that are captioned a second time. Used by the thread that runs the job."""

    def __init__(self, retry_cut: bool, form: Form = PARAGRAPH) -> None:
        self._retry_cut, self._form = retry_cut, form
        self._first: dict[str, Caption] = {}  # by the names of the items

    def options(self, name: str, options: GenerationOptions) -> GenerationOptions:
        """Return the options for an item: twice the tokens if its caption was cut off, a penalty if it repeats."""
        first = self._first.get(name)
        if first is None:
            return options
        if flaw_of(first) == REPEATS:
            return replace(options, repetition_penalty=max(options.repetition_penalty, REPETITION_PENALTY))
        return longest_options(options, self._retry_cut and bool(flaw_of(first)))

    def note(self, name: str) -> str:
        """Return what to tell the model behind the prompt: what was wrong with the form of its answer, or ""."""
        first = self._first.get(name)
        problems = self._problems(first) if first else []
        if not first or not problems:
            return ""
        wrong = "; ".join(f"it {problem.message}" for problem in problems[:SHOWN_PROBLEMS])[: NOTE_LENGTH // 2]
        shorter = " It was too long: be brief." if first.finish_reason == "length" else ""
        return f"An earlier answer could not be used: {wrong}.{shorter} {self._form.reminder}"

    def wants(self, name: str, caption: Caption) -> bool:
        """Return whether an item should be captioned a second time, and keep its first caption if so."""
        is_flawed = (self._retry_cut and flaw_of(caption)) or self._problems(caption)
        if name in self._first or not is_flawed:
            return False
        self._first[name] = caption
        return True

    def first_of(self, name: str) -> Caption | None:
        """Return the first caption of an item that is captioned a second time."""
        return self._first.get(name)

    def better(self, name: str, caption: Caption) -> Caption:
        """Return the better one of an item's captions; the second if they are equally good."""
        first = self._first.pop(name, None)
        return max(caption, first, key=self._quality) if first else caption

    def _problems(self, caption: Caption) -> list[Problem]:
        """Return what is wrong with the form of a caption once it is repaired."""
        if not self._form.reminder:
            return []
        return self._form.problems(self._form.clean(caption.text, caption.facts), caption.facts)

    def _quality(self, caption: Caption) -> tuple[int, int]:
        """Rank no text, a repeating one, one that was cut off, and one without a flaw; then by faults of the form."""
        flaw, is_empty = flaw_of(caption), not self._form.clean(caption.text, caption.facts)
        return 0 if is_empty else 1 if flaw == REPEATS else 2 if flaw else 3, -len(self._problems(caption))
