"""The rule of scripts: letters of another one than the caption's, or than the set's."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from captioner.dataset.lint.draft import Draft
from captioner.dataset.lint.finding import Hit, LintOptions

RANGES = {
    "Latin": "A-Za-z\u00c0-\u024f\u1e00-\u1eff",
    "Greek": "\u0370-\u03ff",
    "Cyrillic": "\u0400-\u052f",
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f",
    "Devanagari": "\u0900-\u097f",
    "Thai": "\u0e00-\u0e7f",
    "East Asian": "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff",
}
MIN_LETTERS, MIN_SET, MIN_LATIN_WORDS = 2, 10, 4
_RUNS = {name: re.compile(f"[{letters}]+(?:[^\\w\x00]{{1,2}}[{letters}]+)*") for name, letters in RANGES.items()}
_LETTERS = {name: re.compile(f"[{letters}]") for name, letters in RANGES.items()}
_MIXED = re.compile("[{0}]+[{1}][{0}{1}]*|[{1}]+[{0}][{0}{1}]*".format(RANGES["Latin"], RANGES["Cyrillic"]))
_ABOUT_TEXT = re.compile(
    r"\b(?:sign|text|letter|character|kanji|word|read|written|label|banner|logo|title|caption|subtitle|inscri|say|poster"
    r"|print|name|script|neon|calligraph|hanzi|billboard|tattoo|spell|embroider|graffiti|symbol|called|phrase|schild"
    r"|aufschrift|geschrieben|écri|texto|letrero|надпис)\w*",
    re.IGNORECASE,
)


def script_of(text: str) -> str:
    """Return the script of most letters of a text; "" for a text without letters."""
    if text.isascii():
        return "Latin" if _LETTERS["Latin"].search(text) else ""
    counts = {
        name: len(pattern.findall(text)) * (2 if name == "East Asian" else 1) for name, pattern in _LETTERS.items()
    }
    name = max(counts, key=lambda name: counts[name])
    return name if counts[name] else ""


def find_script(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find letters that slipped in from another script, unless the caption says that they are in the picture."""
    plain = draft.plain
    if plain.isascii():
        return
    own = script_of(plain)
    for match in _MIXED.finditer(plain):
        yield Hit("script", match.start(), match.end(), "it mixes look-alike letters of two scripts in a word")
        return
    for name, pattern in _RUNS.items():
        if name == own or (name == "Latin" and own != "Latin"):
            continue
        for run in pattern.finditer(plain):
            if len(run[0]) >= MIN_LETTERS and not _ABOUT_TEXT.search(plain[max(0, run.start() - 60) : run.start()]):
                yield Hit("script", run.start(), run.end(), f"it has {name} letters in a {own} text")
                return
    if own != "Latin":
        for run in _RUNS["Latin"].finditer(plain):
            if len(run[0].split()) >= MIN_LATIN_WORDS and run[0].upper() != run[0]:
                yield Hit("script", run.start(), run.end(), f"it has a Latin sentence in a {own} text")
                return


def wanted_script(scripts: Sequence[str], options: LintOptions) -> str:
    """Return the script that all captions of a set should have: the chosen one, or that of nearly all; "" for none."""
    counts = Counter(filter(None, scripts))
    if options.script or not counts:
        return options.script
    name, count = counts.most_common(1)[0]
    is_common = counts.total() >= MIN_SET and count * 100 >= options.value("script") * counts.total()
    return name if is_common else ""


def foreign_captions(scripts: Sequence[str], options: LintOptions) -> Mapping[int, Hit]:
    """Return the captions, by their number, that are in another script than the rest of the set."""
    wanted = wanted_script(scripts, options)
    if not wanted:
        return {}
    why = f"its script is %s, not {wanted}"
    return {i: Hit("script", 0, 10**6, why % name) for i, name in enumerate(scripts) if name and name != wanted}
