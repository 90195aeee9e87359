"""Rules of what the training needs: the trigger word, the length and the form of the target."""

import re
from collections.abc import Iterator

from captioner.captions.text import holds_word
from captioner.dataset.forms import form
from captioner.dataset.lint.draft import Draft
from captioner.dataset.lint.finding import Hit, LintOptions

LINE_MATTERS = ("empty", "line-break")  # rules of trainers, which the doctor has
SHORT, LONG = 3, 6  # letters of trigger words for which hardly anything, or two letters, may differ
_ARTICLE = re.compile(r"(?:an?|the)\s+", re.IGNORECASE)
_WORD = re.compile(r"[^\s,.;:!?\"“”()\x00]+")


def find_missing_trigger(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find captions without the trigger word and without anything like it."""
    if not holds_word(draft.text, draft.trigger) and not near_trigger(draft, options):
        yield Hit("trigger-missing", 0, 0, f"it does not have {draft.trigger}")


def find_late_trigger(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find captions with the trigger word behind other words."""
    if not draft.trigger or not holds_word(draft.text, draft.trigger):
        return
    found = re.search(rf"(?<!\w){re.escape(draft.trigger)}(?!\w)", draft.text, re.IGNORECASE)
    if found:
        start = draft.head if found.start() >= draft.head else 0
        before = draft.text[start : found.start()]
        article = _ARTICLE.match(before)
        words = (before[article.end() :] if article else before).split()
        if len(words) > options.value("trigger-position"):
            yield Hit("trigger-position", *found.span(), f"{draft.trigger} is not the first word")


def find_near_trigger(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find words that are nearly the trigger word, or are it in another case."""
    trigger = draft.trigger
    if not trigger or trigger in draft.text:
        if trigger and not re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", draft.text):
            yield from near_trigger(draft, options)
        return
    same = re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", draft.text, re.IGNORECASE)
    if same:
        yield Hit("trigger-near", *same.span(), f"{same[0]} is not written as {trigger}")
    else:
        yield from near_trigger(draft, options)


def near_trigger(draft: Draft, options: LintOptions) -> list[Hit]:
    """Return the first word of a caption that is nearly the trigger word, in a list, or nothing."""
    trigger = draft.trigger.lower()
    if "trigger-near" not in options.chosen:
        return []
    words = list(_WORD.finditer(draft.text))
    wide = len(trigger.split())
    for i in range(len(words)):
        for size in {wide, wide + 1, max(1, wide - 1)}:
            if i + size <= len(words):
                start, end = words[i].start(), words[i + size - 1].end()
                if _is_near(draft.text[start:end].lower(), trigger, int(options.value("trigger-near"))):
                    why = f"{draft.text[start:end]} is nearly {draft.trigger}"
                    return [Hit("trigger-near", start, end, why)]
    return []


def _is_near(word: str, trigger: str, most: int) -> bool:
    """Return whether a word differs from the trigger word by so little that it is meant."""
    joined, bare = (re.sub(r"[\s_-]", "", text) for text in (word, trigger))
    if joined == bare:
        return True
    if re.search(r"\d", bare) and not re.search(r"\d", joined):
        return False  # "person" is not meant to be "p3rs0n"
    if len(bare) > SHORT and bare in joined and len(joined) - len(bare) <= SHORT * 2:
        return True
    if abs(len(joined) - len(bare)) > most or joined[:1] != bare[:1] or " " in word:
        return False
    if sorted(joined) == sorted(bare) and len(bare) > SHORT:
        return True
    if len(bare) <= SHORT:
        return _squeezed(joined) == _squeezed(bare)
    return distance(joined, bare) <= (min(most, 2) if len(bare) >= LONG else min(most, 1))


def _squeezed(word: str) -> str:
    return re.sub(r"(.)\1+", r"\1", word)


def distance(first: str, second: str) -> int:
    """Return how many letters have to be put in, taken out, replaced or exchanged with the next one."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        older, before, row = before, row, [i]
        for j, other in enumerate(second, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other)))
            if i > 1 and j > 1 and letter == second[j - 2] and first[i - 2] == other:
                row[j] = min(row[j], older[j - 2] + 1)
    return row[-1]


def find_long(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find captions with more tokens than the target takes."""
    limit = options.limit.target.token_limit
    if limit and len(draft.text) > limit and (flaw := options.limit.flaw(draft.text)):
        start = int(len(draft.text) * limit / options.limit.count(draft.text).number)
        yield Hit("over-limit", start, len(draft.text), f"it {flaw}")


def find_form(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find what is not in the form of the target, or of the fields that the caption has."""
    target = options.limit.target
    chosen = form(target.form) if target.name != "none" or target.form not in ("paragraph", "free") else draft.form
    if chosen is None or not draft.text:
        return
    for problem in chosen.problems(draft.text, draft.facts):
        if problem.code not in LINE_MATTERS or (problem.code == "line-break" and target.name != "none"):
            yield Hit("form", *problem.span, f"it {problem.message}")
