"""Captions that lie beside another file than theirs, where the names of the files tell it."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

MIN_LETTERS, MAX_SHARED, MAX_CYCLE = 3, 20, 50
_WORD = re.compile(r"[^\W\d_]+")
_GENERIC = frozenset(
    _WORD.findall(
        "video clip image img photo pic picture frame scene shot final copy crop cropped render take test movie file"
        " new the and with for from edit edited export sample data set train training left right dsc mov part cut out"
        " version low high res default caption text seed upscaled gen output"
    )
)


def swapped(names: Sequence[str], texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield (number, number of the file whose caption fits its name), for files whose captions went round.

    That is so where no word of a file's name is in its own caption, but one is in that of exactly one other file, for
    which the same holds, and so on back to the first.
    """
    stems = [_words(name.rpartition("/")[2].rpartition(".")[0]) - _GENERIC for name in names]
    owners = defaultdict(list)
    for i, stem in enumerate(stems):
        for word in stem:
            owners[word].append(i)
    own = [_words(text) if stem else set() for text, stem in zip(texts, stems, strict=True)]
    strangers = {i for i, stem in enumerate(stems) if stem and own[i] and not stem & own[i]}
    fits = defaultdict(set)  # by file: those of the strangers whose captions hold a word of its name
    for j in strangers:
        for word in own[j]:
            if len(owners.get(word, ())) <= MAX_SHARED:
                for i in owners.get(word, ()):
                    fits[i].add(j)
    next_one = {i: next(iter(fits[i])) for i in strangers if len(fits[i]) == 1}
    for i in sorted(next_one):
        j = i
        for _ in range(MAX_CYCLE):
            j = next_one.get(j, -1)
            if j in (i, -1):
                break
        if j == i:
            yield i, next_one[i]


def _words(text: str) -> set[str]:
    """Return the words of a text in lower case, without the ending of plurals."""
    found = _WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())
    return {word.removesuffix("s") if len(word) > MIN_LETTERS else word for word in found if len(word) >= MIN_LETTERS}
