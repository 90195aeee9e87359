"""Near-duplicates in a whole set: MinHash finds the candidates in linear time, and their shared words decide."""

import functools
import itertools
import re
import zlib
from array import array
from collections.abc import Iterator, Sequence, Set

import numpy as np

NUM_HASHES, ROWS = 60, 3  # 20 bands of 3: of pairs of similarity 0.7, two in 10,000 are missed
DOUBT = 0.2  # by how much the share of common hashes may be below the similarity
WORDS = 3  # of a group
MAX_LEADERS = 8  # captions of a band that others are compared with
MAX_SETS = 5000  # of groups of words that are kept at hand
_WORD = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af]|[^\W_]+")
_rng = np.random.default_rng(17)
_FACTORS = _rng.integers(1, 2**32, NUM_HASHES, dtype=np.uint32) | np.uint32(1)
_OFFSETS = _rng.integers(0, 2**32, NUM_HASHES, dtype=np.uint32)
_MIX = _rng.integers(1, 2**63, ROWS, dtype=np.uint64)
_ASCII_SPACES = {code: " " for code in range(128) if not chr(code).isalnum()}


def near_duplicates(texts: Sequence[str], least: float) -> Iterator[tuple[int, int, float]]:
    """Yield (number, number of an earlier text that it is like, similarity), once for each such text.

    Texts are alike if they share `least` of their groups of three words; case and punctuation make no difference.
    """
    groups = _word_groups(texts)
    first_of: dict[bytes, int] = {}
    alone = []
    for i, hashes in enumerate(groups):
        if len(hashes):
            same = first_of.setdefault(hashes.tobytes(), i)
            if same == i:
                alone.append(i)
            else:
                yield i, same, 1.0
    yield from _alike(alone, groups, least)


def likeness(first: str, second: str) -> float:
    """Return the share of groups of three words that two texts have in common, 0 to 1."""
    one, other = _word_groups([first, second])
    return similarity(set(one.tolist()), set(other.tolist())) if len(one) and len(other) else 0.0


class _Hashes(dict[str, int]):
    """The hash of each word, 32 bits."""

    def __missing__(self, word: str) -> int:
        self[word] = hashed = zlib.crc32(word.encode(errors="surrogatepass"))
        return hashed


def _word_groups(texts: Sequence[str]) -> list[np.ndarray]:
    """Return the hashes of the groups of words of each text in their order, uint32; those of words for short texts."""
    hashes, ends, flat = _Hashes(), [], array("I")
    for text in texts:
        lower = text.lower()
        words = lower.translate(_ASCII_SPACES).split() if text.isascii() else _WORD.findall(lower)
        flat.extend(map(hashes.__getitem__, words))
        ends.append(len(flat))
    words_ = np.frombuffer(flat, np.uint32) if flat else np.empty(0, np.uint32)
    mixed = words_[2:] * _FACTORS[0] + words_[1:-1] * _FACTORS[1] + words_[:-2] * _FACTORS[2]
    mixed ^= mixed >> np.uint32(15)
    starts = [0, *ends][:-1]
    return [
        mixed[start : end - WORDS + 1] if end - start >= WORDS else words_[start:end]
        for start, end in zip(starts, ends, strict=True)
    ]


def _alike(numbers: Sequence[int], groups: Sequence[np.ndarray], least: float) -> Iterator[tuple[int, int, float]]:
    if not numbers:
        return
    signatures = _signatures([groups[i] for i in numbers])
    lowest = signatures.astype(np.uint8)  # equal where the signatures are, and compared in less time
    num_buckets, shared = _shared_buckets(signatures)
    leaders: list[list[int]] = [[] for _ in range(num_buckets)]  # rows
    wanted = (least - DOUBT) * NUM_HASHES - 1e-9
    set_of = functools.lru_cache(MAX_SETS)(lambda row: frozenset(groups[numbers[row]].tolist()))
    for row, (i, buckets) in enumerate(zip(numbers, shared, strict=True)):
        mine = [*map(leaders.__getitem__, buckets)]
        others = np.fromiter(itertools.chain.from_iterable(mine), np.intp)
        others = others[_num_equal(lowest, others, row) >= wanted]
        if len(others):
            equal = _num_equal(signatures, others, row)
            first = sorted({*zip((-equal.astype(int)).tolist(), others.tolist(), strict=True)})[:MAX_LEADERS]
            shares = ((other, similarity(set_of(row), set_of(other))) for less, other in first if -less >= wanted)
            if found := next((each for each in shares if each[1] >= least), None):
                yield i, numbers[found[0]], found[1]
                continue
        for each in mine:
            if len(each) < MAX_LEADERS:
                each.append(row)


def _num_equal(values: np.ndarray, rows: np.ndarray, row: int) -> np.ndarray:
    """Return in how many columns each of some rows has the same value as another row, uint8."""
    return np.add.reduce(values.take(rows, 0) == values[row], axis=1, dtype=np.uint8)


def _signatures(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Return the smallest values of NUM_HASHES functions over the groups of each text, uint32 (texts, NUM_HASHES)."""
    flat = np.concatenate(groups)
    starts = np.cumsum([0, *map(len, groups[:-1])])
    least = [
        np.minimum.reduceat(flat * factor + offset, starts) for factor, offset in zip(_FACTORS, _OFFSETS, strict=True)
    ]
    return np.stack(least, axis=1)


def _shared_buckets(signatures: np.ndarray) -> tuple[int, Iterator[list[int]]]:
    """Return how many buckets there are, and the numbers of those of each text that another text is in, too."""
    bands = signatures.reshape(len(signatures), -1, ROWS).astype(np.uint64)
    keys = bands @ _MIX + np.arange(bands.shape[1], dtype=np.uint64)
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    is_shared = counts > 1
    numbers, wanted = (np.cumsum(is_shared) - 1)[inverse].reshape(keys.shape), is_shared[inverse].reshape(keys.shape)
    each = (row[chosen].tolist() for row, chosen in zip(numbers, wanted, strict=True))
    return int(is_shared.sum()), each


def similarity(first: Set[int], second: Set[int]) -> float:
    """Return the share of common values of two sets, 0 to 1."""
    common = len(first & second)
    return common / (len(first) + len(second) - common)
