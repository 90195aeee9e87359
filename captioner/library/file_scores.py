"""The scores of the captions of one scan, by the positions of its files."""

from collections.abc import Mapping

from captioner.captions.scores import Score
from captioner.values import MediaItem


class FileScores:
    """Not thread-safe: call it under the lock of OpenFolder."""

    def __init__(self) -> None:
        self.valid: dict[int, Score] = {}  # of captions that were read
        self._kept: dict[int, Score] = {}  # also of what captions and media were before

    def keep(self, scores: Mapping[int, Score]) -> None:
        """Take over scores that are kept in the database; `check` finds out which of them are still true."""
        self._kept |= scores

    def clear(self) -> None:
        """Forget all scores."""
        self.valid.clear()
        self._kept.clear()

    def check(self, position: int, item: MediaItem, text: str | None) -> None:
        """Find out whether a file has a score, now that its caption was read or has changed."""
        self.valid.pop(position, None)
        if text and (kept := self._kept.get(position)) and kept.is_of(item, text):
            self.valid[position] = kept

    def value(self, position: int) -> float | None:
        """Return how well a caption agrees with its file, 0 to 1, if a model was asked."""
        score = self.valid.get(position)
        return round(score.yes, 4) if score else None
