"""A comparison as it is kept: the contenders, the files, their captions, and the votes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from captioner.system.database import text_path
from captioner.values import MediaKind

VERSION = 1  # of the file of a comparison
MIN_CONTENDERS, MAX_CONTENDERS = 2, 6
DEFAULT_FILES, MAX_FILES = 20, 200


@dataclass(frozen=True)
class Contender:
    """Settings that are compared, as they were when the comparison was made."""

    name: str
    chosen: Mapping[str, Any]  # the value of each setting that may differ
    prompt: str  # its text
    problem: str = ""  # why it could not caption all files, in one line
    seconds: float = 0.0  # spent on the captions, from the first file to the last, without loading the model
    num_timed: int = 0  # captions that were written in these seconds


@dataclass(frozen=True)
class ComparedFile:
    """One file of the sample. name: relative to the folder, as in the database."""

    name: str
    kind: MediaKind


@dataclass(frozen=True)
class Answer:
    """The caption that a contender wrote for a file, or why it could not."""

    text: str = ""
    num_prompt_tokens: int = 0
    num_tokens: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Vote:
    """The contenders that were judged best for a file: several for a tie, none if it was skipped."""

    file: str
    shown: tuple[int, ...]  # the contenders whose captions were on the page
    picked: tuple[int, ...]
    voted_at_s: float


@dataclass(frozen=True)
class Comparison:
    """All of a comparison. answers: by file name, for each contender in order."""

    number: int
    created_at_s: float
    folder: str
    recursive: bool
    seed: int  # of the order in which captions are shown; it is never sent to a browser
    contenders: tuple[Contender, ...]
    files: tuple[ComparedFile, ...]
    answers: tuple[Mapping[str, Answer], ...]
    votes: tuple[Vote, ...] = field(default=())  # in the order in which they were given

    @property
    def folder_path(self) -> Path:
        """The folder that holds the files."""
        return text_path(self.folder)

    def path(self, file: ComparedFile) -> Path:
        """Return the path of a file of the sample."""
        return text_path(str(Path(self.folder) / file.name))

    def missing(self, contender: int) -> list[ComparedFile]:
        """Return the files that a contender has not tried yet."""
        return [file for file in self.files if file.name not in self.answers[contender]]

    @property
    def num_left(self) -> int:
        """The number of captions that are still to be written."""
        return sum(len(self.missing(index)) for index in range(len(self.contenders)))

    @property
    def num_answered(self) -> int:
        """The number of captions that were written, or could not be."""
        return sum(map(len, self.answers))

    def with_contender(self, index: int, **changes: Any) -> "Comparison":
        """Return the comparison with other values of a contender."""
        changed = replace(self.contenders[index], **changes)
        return replace(self, contenders=(*self.contenders[:index], changed, *self.contenders[index + 1 :]))

    def with_answers(self, index: int, new: Mapping[str, Answer]) -> "Comparison":
        """Return the comparison with more answers of a contender."""
        merged = {**self.answers[index], **new}
        return replace(self, answers=(*self.answers[:index], merged, *self.answers[index + 1 :]))

    def with_votes(self, new: Sequence[Vote]) -> "Comparison":
        """Return the comparison with more votes; one for a file replaces an earlier one."""
        files = {vote.file for vote in new}
        return replace(self, votes=(*(vote for vote in self.votes if vote.file not in files), *new))


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison for JSON."""
    return {"version": VERSION, **asdict(comparison)}


def from_json(values: Any) -> Comparison:
    """Return the comparison that `to_json` was given. Raise ValueError, TypeError or KeyError for anything else."""
    if not isinstance(values, dict) or values.pop("version", None) != VERSION:
        raise ValueError("not a comparison that this version knows")
    contenders = tuple(Contender(**each) for each in values.pop("contenders"))
    files = tuple(ComparedFile(**each) for each in values.pop("files"))
    answers = tuple({name: Answer(**each) for name, each in some.items()} for some in values.pop("answers"))
    votes = tuple(_vote(**each) for each in values.pop("votes"))
    known = {file.name for file in files}
    if len(answers) != len(contenders) or not all(vote.file in known for vote in votes):
        raise ValueError("its parts do not fit together")
    return Comparison(**values, contenders=contenders, files=files, answers=answers, votes=votes)


def _vote(file: str, shown: Sequence[int], picked: Sequence[int], voted_at_s: float) -> Vote:
    return Vote(file, tuple(shown), tuple(picked), voted_at_s)
