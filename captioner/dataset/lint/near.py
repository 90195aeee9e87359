"""Near-duplicates in a whole set: MinHash finds the candidates in linear time, and their shared words decide."""

import re
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

NUM_HASHES, ROWS = 60, 3  # 20 bands of 3: of pairs of similarity 0.7, two in 10,000 are missed
DOUBT = 0.2  # by how much the share of common hashes may be below the similarity
WORDS = 3  # of a group
MAX_LEADERS = 8  # captions of a band that others are compared with
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
    return similarity(one, other) if len(one) and len(other) else 0.0


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
    leaders: dict[int, list[int]] = defaultdict(list)  # rows by bucket
    for row, (i, buckets) in enumerate(zip(numbers, _shared_buckets(signatures), strict=True)):
        rows = list(set().union(*(leaders[bucket] for bucket in buckets)))
        shares = np.count_nonzero(signatures[rows] == signatures[row], axis=1) / NUM_HASHES if rows else np.empty(0)
        is_close = shares >= least - DOUBT
        for k in np.argsort(-shares)[:MAX_LEADERS].tolist() if is_close.any() else ():
            other = numbers[rows[k]]
            if is_close[k] and (share := similarity(groups[i], groups[other])) >= least:
                yield i, other, share
                break
        else:
            for bucket in buckets:
                if len(leaders[bucket]) < MAX_LEADERS:
                    leaders[bucket].append(row)


def _signatures(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Return the smallest values of NUM_HASHES functions over the groups of each text, uint32 (texts, NUM_HASHES)."""
    flat = np.concatenate(groups)
    starts = np.cumsum([0, *map(len, groups[:-1])])
    least = [
        np.minimum.reduceat(flat * factor + offset, starts) for factor, offset in zip(_FACTORS, _OFFSETS, strict=True)
    ]
    return np.stack(least, axis=1)


def _shared_buckets(signatures: np.ndarray) -> Iterator[list[int]]:
    """Yield the bands of each text as numbers, without those that no other text has."""
    bands = signatures.reshape(len(signatures), -1, ROWS).astype(np.uint64)
    keys = bands @ _MIX + np.arange(bands.shape[1], dtype=np.uint64)
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    numbers, is_shared = inverse.reshape(keys.shape), (counts > 1)[inverse].reshape(keys.shape)
    for row, wanted in zip(numbers, is_shared, strict=True):
        yield row[wanted].tolist()


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of common values of two arrays, 0 to 1."""
    mine, others = set(first.tolist()), set(second.tolist())
    return len(mine & others) / len(mine | others)
