"""The statistics as sections of rows, which the command line, the report and the page show alike."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import regex

from captioner.dataset.statistics.compare import Difference
from captioner.dataset.statistics.grams import Term
from captioner.dataset.statistics.groups import Group
from captioner.dataset.statistics.slots import Contradiction
from captioner.dataset.statistics.statistics import Statistics
from captioner.dataset.statistics.words import pattern_of, words_of
from captioner.formatting import plural

TOGETHER = " + "  # between two words that share captions


class Row(NamedTuple):
    """A line of a section. share: part of the captions. edit: a pattern that finds the text in them, or "".

    numbers: of the captions behind it; None: those that hold the text.
    """

    text: str
    captions: int
    share: float
    detail: str = ""
    edit: str = ""
    numbers: np.ndarray | None = None


class Section(NamedTuple):
    """A table. note: what it means."""

    name: str
    title: str
    note: str
    rows: Sequence[Row]


def sections(found: Statistics) -> list[Section]:
    """Return the tables of a set, those first that call for something."""
    share = f"{100 * found.options.share:g} %"
    pairs = "Words that share captions more often than by chance, by PMI in bits: 1 is twice as often, 3 eight times."
    return [
        Section(
            "constants",
            "Constants",
            f"In more than {share} of the captions. What is always said fuses with the trigger word; leave it out to "
            "train it into the word, or keep it and vary it.",
            _terms(found, found.constants),
        ),
        Section(
            "contradictions",
            "Contradictions",
            "Two values for one thing, in a caption or against nearly all others of the set.",
            [_contradiction(each, len(found.captions)) for each in found.contradictions],
        ),
        Section("coverage", "Coverage", "Captions that say nothing about it.", _gaps(found)),
        Section("words", "Words", "", _terms(found, found.words)),
        Section("phrases-2", "Phrases of two words", "", _terms(found, found.pairs_of_words)),
        Section("phrases-3", "Phrases of three words", "", _terms(found, found.triples_of_words)),
        Section("together", "Words together", pairs, _terms(found, found.together)),
        Section("lengths", "Lengths", "Captions by their number of words.", _lengths(found)),
        Section("folders", "Folders", "", _groups(found, found.by_folder)),
        Section("times", "Times", "By the last change of the caption files.", _groups(found, found.by_time)),
        Section("jobs", "Jobs", "By the job that wrote the caption last.", _groups(found, found.by_job)),
    ]


def difference_section(found: Statistics, differences: Iterable[Difference]) -> Section:
    """Return how a set differs from another one as a table."""
    num = len(found.captions)
    rows = [
        Row(
            each.text,
            round(each.here * num),
            each.here,
            f"{100 * each.there:.0f} % there",
            _edit(each.text) * bool(each.here),
        )
        for each in differences
    ]
    return Section(
        "differences", "Differences", "Words and phrases that far more or far fewer of the captions hold.", rows
    )


def captions_behind(found: Statistics, row: Row) -> np.ndarray:
    """Return the numbers of the captions behind a row."""
    if row.numbers is not None:
        return row.numbers
    first, _, second = row.text.partition(TOGETHER)
    captions = found.corpus.find(words_of(first))
    return np.intersect1d(captions, found.corpus.find(words_of(second))) if second else captions


def summary(found: Statistics) -> list[tuple[str, str]]:
    """Return what is to be said about the whole set, as (label, text)."""
    about = "" if found.is_exact else ", by estimate"
    of = f" for {found.target.title}" if found.target.name != "none" else ""
    rows = [
        ("captions", f"{len(found.captions):,}" + (f", {found.num_empty:,} empty" if found.num_empty else "")),
        ("different words", f"{len(found.corpus.words) - 1:,}"),
        ("words per caption", _spread(found.lengths)),
        (f"tokens per caption{of}", f"{_spread(found.tokens)}{about}"),
    ]
    if limit := found.target.token_limit:
        rows.append((f"over {limit:,} tokens", plural(len(found.over_limit), "caption")))
    return rows


def to_json(found: Statistics) -> list[dict[str, Any]]:
    """Return the statistics as objects: the whole set, then one for each row."""
    whole: dict[str, Any] = {
        "section": "set",
        "captions": len(found.captions),
        "empty": found.num_empty,
        "words": int(found.lengths.sum()),
        "different_words": len(found.corpus.words) - 1,
        "words_per_caption": _numbers(found.lengths),
        "tokens_per_caption": _numbers(found.tokens),
        "tokens_are_exact": found.is_exact,
        "target": found.target.name,
        "over_limit": [found.captions[i].name for i in found.over_limit],
    }
    return [whole, *(_row_json(found, each.name, row) for each in sections(found) for row in each.rows)]


def differences_json(differences: Iterable[Difference]) -> list[dict[str, Any]]:
    """Return differences as objects."""
    return [
        {"section": "differences", "text": each.text, "share": round(each.here, 4), "share_there": round(each.there, 4)}
        for each in differences
    ]


def _row_json(found: Statistics, section: str, row: Row) -> dict[str, Any]:
    about: dict[str, Any] = {"section": section, "text": row.text, "captions": row.captions}
    about |= {"share": round(row.share, 4), "detail": row.detail}
    if section in ("contradictions", "coverage"):
        about["files"] = [found.captions[i].name for i in captions_behind(found, row)]
    return about


def _numbers(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    return {
        "mean": round(float(values.mean()), 1),
        "median": float(np.median(values)),
        "least": int(values.min()),
        "most": int(values.max()),
    }


def _spread(values: np.ndarray) -> str:
    if not len(values):
        return "none"
    return f"{values.mean():.1f} on average, {values.min():,} to {values.max():,}, median {np.median(values):g}"


def _terms(found: Statistics, terms: Sequence[Term]) -> list[Row]:
    num = max(1, len(found.captions))
    return [Row(each.text, each.captions, each.captions / num, _detail(each), _edit(each.text)) for each in terms]


def _detail(term: Term) -> str:
    if TOGETHER in term.text:
        return f"PMI {term.pmi:.1f}"
    pmi = "" if term.pmi is None else f", PMI {term.pmi:.1f}"
    return f"{plural(term.times, 'time')}{pmi}"


def _edit(text: str) -> str:
    return "" if TOGETHER in text else pattern_of(text)


def _contradiction(each: Contradiction, num_captions: int) -> Row:
    first, second = (value.replace("-", " ") for value in each.values)
    text = f"{each.slot}: {first} and {second}" if each.scope == "caption" else f"{each.slot}: {second}, not {first}"
    rest = f"in one caption: {each.why}" if each.scope == "caption" else f"{each.num_others:,} say {first}: {each.why}"
    edit = regex.escape(each.text, special_only=True, literal_spaces=True)
    start = r"\b" if each.text[0].isascii() and each.text[0].isalnum() else ""
    end = r"\b" if each.text[-1].isascii() and each.text[-1].isalnum() else ""
    num = len(each.captions)
    return Row(text, num, num / max(1, num_captions), f"“{each.text}”; {rest}", f"{start}{edit}{end}", each.captions)


def _gaps(found: Statistics) -> list[Row]:
    return [
        Row(
            f"No word about: {gap.title.lower()}",
            len(gap.captions),
            len(gap.captions) / gap.num_asked,
            "",
            "",
            gap.captions,
        )
        for gap in found.gaps
        if gap.num_asked
    ]


def _lengths(found: Statistics) -> list[Row]:
    num, over = max(1, len(found.captions)), found.over_limit
    rows = [
        Row(f"{each.title} words", len(each.captions), len(each.captions) / num, "", "", each.captions)
        for each in found.by_length
        if len(each.captions)
    ]
    if len(over):
        limit = f"over {found.target.token_limit:,} tokens"
        rows.insert(0, Row(limit, len(over), len(over) / num, f"{found.target.title} cuts the rest off", "", over))
    return rows


def _groups(found: Statistics, each: Sequence[Group]) -> list[Row]:
    num = max(1, len(found.captions))
    return [
        Row(
            group.title,
            len(group.captions),
            len(group.captions) / num,
            f"{group.num_words:.1f} words, {group.num_tokens:.1f} tokens on average",
            "",
            group.captions,
        )
        for group in each
    ]
