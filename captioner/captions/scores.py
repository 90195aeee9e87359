"""How well captions agree with their media, as a model has judged: the table caption_scores."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from captioner.errors import CaptionError
from captioner.system.database import Database, path_text, texts_under
from captioner.values import MediaItem, MediaKind

NOUNS: dict[MediaKind, str] = {"video": "video", "image": "figure"}


def question(text: str, kind: MediaKind) -> str:
    """Return what a model is asked about a caption, in the words of VQAScore (arXiv 2404.01291)."""
    return f'Does this {NOUNS[kind]} show "{text}"? Please answer yes or no.'


def question_about(item: MediaItem, read_caption: Callable[[Path], str]) -> str:
    """Return the question about the caption of a file. Raise CaptionError if it has none, or from `read_caption`."""
    text = read_caption(item.caption_path)
    if not text:
        raise CaptionError(f"{item.name} has no caption to score")
    return question(text, item.kind)


class Score(NamedTuple):
    """A model's answer to the question of a caption: its probabilities of yes, the score, and of no."""

    yes: float
    no: float
    model: str
    digest: bytes  # of the question, and so of the caption
    media: tuple[int, float]  # size in bytes and modification time of the media file then
    scored_at_s: float  # POSIX time

    def is_of(self, item: MediaItem, text: str) -> bool:
        """Return whether it is that of this caption, and the media file is still the same."""
        return self.media == (item.size_bytes, item.modified_s) and self.digest == _digest(question(text, item.kind))


def score_of(item: MediaItem, asked: str, yes: float, no: float, model: str) -> Score:
    """Return the score of a caption that a model was asked about in these words just now."""
    return Score(yes, no, model, _digest(asked), (item.size_bytes, item.modified_s), time.time())


class CaptionScores:
    """The latest score of each caption. Any thread may call; methods raise StateError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, item: MediaItem, score: Score) -> None:
        """Keep a score instead of the one that the caption had before."""
        key, (size_bytes, modified_s) = path_text(item.caption_path), score.media
        values = (key, score.yes, score.no, score.model, score.digest, size_bytes, modified_s, score.scored_at_s)
        self._database.execute("INSERT OR REPLACE INTO caption_scores VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def under(self, folder: Path) -> dict[str, Score]:
        """Return the scores of the captions at any depth under a folder, by the `path_text` of their files."""
        sql = "SELECT * FROM caption_scores WHERE caption_path >= ? AND caption_path < ?"
        rows = self._database.rows(sql, texts_under(folder))
        return {
            key: Score(yes, no, model, digest, (size_bytes, modified_s), scored_at_s)
            for key, yes, no, model, digest, size_bytes, modified_s, scored_at_s in rows
        }


def _digest(asked: str) -> bytes:
    return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).digest()
