"""Second tries for captions that were cut off or repeat themselves (the setting retry_cut), one for each item."""

from dataclasses import replace

from captioner.captions.flaws import REPEATS, flaw_of
from captioner.captions.text import clean
from captioner.values import Caption, GenerationOptions

REPETITION_PENALTY = 1.15  # more tokens would only repeat more


def longest_options(options: GenerationOptions, retry_cut: bool) -> GenerationOptions:
    """Return the options of the longest caption that a job may ask for."""
    return replace(options, max_new_tokens=2 * options.max_new_tokens) if retry_cut else options


class SecondTries:
    """The first captions of the items that are captioned a second time. Used by the thread that runs the job."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._first: dict[str, Caption] = {}  # by the names of the items

    def options(self, name: str, options: GenerationOptions) -> GenerationOptions:
        """Return the options for an item: twice the tokens if its caption was cut off, a penalty if it repeats."""
        first = self._first.get(name)
        if first is None:
            return options
        if flaw_of(first) == REPEATS:
            return replace(options, repetition_penalty=max(options.repetition_penalty, REPETITION_PENALTY))
        return longest_options(options, True)

    def wants(self, name: str, caption: Caption) -> bool:
        """Return whether an item should be captioned a second time, and keep its first caption if so."""
        if not self._wanted or name in self._first or not flaw_of(caption):
            return False
        self._first[name] = caption
        return True

    def first_of(self, name: str) -> Caption | None:
        """Return the first caption of an item that is captioned a second time."""
        return self._first.get(name)

    def better(self, name: str, caption: Caption) -> Caption:
        """Return the better one of an item's captions; the second if they are equally good."""
        first = self._first.pop(name, None)
        return max(caption, first, key=_quality) if first else caption


def _quality(caption: Caption) -> int:
    """Rank no text, a repeating one, one that was cut off, and one without a flaw."""
    flaw = flaw_of(caption)
    return 0 if not clean(caption.text) else 1 if flaw == REPEATS else 2 if flaw else 3
