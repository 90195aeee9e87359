"""The events of jobs, models and items, numbered in order."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from captioner.captions.scores import Score
from captioner.values import Caption

JobOutcome = Literal["done", "stopped", "failed"]
ReplicaState = Literal["starting", "ready", "lost", "closed"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened. The log sets `number`, which counts from 1 without gaps, and `time_s`, POSIX time."""

    number: int = 0
    time_s: float = 0.0

    def numbered(self, number: int, time_s: float, texts: dict[str, str]) -> Self:
        """Return the event with its number, its time and other texts; `replace` takes four times as long."""
        event = object.__new__(type(self))
        vars(event).update(vars(self), number=number, time_s=time_s, **texts)
        return event

    def to_json(self) -> dict[str, Any]:
        """Return the event as a dict for JSON; "event" names its type. `made` is left out."""
        values = {k: str(v) if isinstance(v, Path) else v for k, v in vars(self).items() if k != "made"}
        return {"event": type(self).__name__, **values}


@dataclass(frozen=True, kw_only=True)
class JobQueued(Event):
    """A job waits for its turn. scores: it scores captions instead of writing them."""

    job: int
    total: int
    scores: bool = False


@dataclass(frozen=True, kw_only=True)
class JobStarted(Event):
    """A job's turn has come; its model is loaded next."""

    job: int
    total: int
    model: str
    saves: bool = True  # False: it changes no caption file
    scores: bool = False  # it scores captions; otherwise one that saves nothing is a trial


@dataclass(frozen=True, kw_only=True)
class ModelLoading(Event):
    """A model is downloaded, or loaded to its device."""

    model: str
    bytes_done: int = 0  # 0 of 0: nothing is left to download
    bytes_total: int = 0


@dataclass(frozen=True, kw_only=True)
class ReplicaChanged(Event):
    """A worker process has started, is ready, was lost, or ended."""

    replica: str
    state: ReplicaState
    detail: str = ""
    report: tuple[tuple[str, str], ...] = ()  # (label, text): what the model runs on and with


@dataclass(frozen=True, kw_only=True)
class ReplicaLoad(Event):
    """How busy a worker is; emitted about once a second while it works."""

    replica: str
    slots: int
    running: int
    waiting: int  # decoded, not yet running
    decoding: int


@dataclass(frozen=True, kw_only=True)
class JobNote(Event):
    """Something about a whole job that the user should know, in one line."""

    job: int
    text: str


@dataclass(frozen=True)
class ItemEvent(Event):
    """Something that happened to one file of a job."""

    job: int
    item: str  # MediaItem.name
    path: Path


@dataclass(frozen=True, kw_only=True)
class ItemStarted(ItemEvent):
    """A worker has begun with the file."""

    replica: str


@dataclass(frozen=True, kw_only=True)
class ItemProgress(ItemEvent):
    """The caption has this many tokens so far."""

    tokens: int


@dataclass(frozen=True, kw_only=True)
class ItemDone(ItemEvent):
    """The caption file was written."""

    caption: str
    tokens: int
    seconds: float
    replica: str
    warning: str = ""  # one line, with the flaw
    flaw: str = ""  # "repeats itself", "was cut off at 512 tokens" or ""
    faults: tuple[str, ...] = ()  # rules of the linter that a repair could not satisfy


@dataclass(frozen=True, kw_only=True)
class ItemTried(ItemEvent):
    """The file was captioned by a trial, which changes no caption file."""

    caption: str
    tokens: int
    seconds: float
    made: Caption | None = None  # how the caption was made, with the text as the model wrote it


@dataclass(frozen=True, kw_only=True)
class ItemScored(ItemEvent):
    """The caption of the file was scored. score: how likely the model says that the file shows it."""

    score: float
    replica: str
    warning: str = ""  # one line
    made: Score | None = None  # all that is kept


@dataclass(frozen=True, kw_only=True)
class ItemGivenBack(ItemEvent):
    """The file waits again, since its worker was lost or restarts."""


@dataclass(frozen=True, kw_only=True)
class ItemSkipped(ItemEvent):
    """The file was left alone, such as because it has a caption. faults: as of `ItemDone`."""

    reason: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ItemFailed(ItemEvent):
    """The file could not be captioned."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class JobEnded(Event):
    """The last event of a job, with the numbers of its files by outcome."""

    job: int
    outcome: JobOutcome
    reason: str = ""
    done: int = 0
    skipped: int = 0
    failed: int = 0
    unwritten: int = 0  # of the failed ones: captions that could not be written; resuming the job writes them
    faulty: int = 0  # of the captioned and skipped ones: captions that a repair has left faulty
