"""What happens to jobs, models and items, as numbered facts."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from captioner.values import Caption

JobOutcome = Literal["done", "stopped", "failed"]
ReplicaState = Literal["starting", "ready", "lost", "closed"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """`number` counts from 1 and has no gaps; `time_s` is POSIX time. Both are given by the log."""

    number: int = 0
    time_s: float = 0.0

    def to_json(self) -> dict:
        values = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
        return {"event": type(self).__name__, **values}


@dataclass(frozen=True, kw_only=True)
class JobQueued(Event):
    job: int
    total: int


@dataclass(frozen=True, kw_only=True)
class JobStarted(Event):
    job: int
    total: int
    model: str
    saves: bool = True  # False: a try, which changes no caption


@dataclass(frozen=True, kw_only=True)
class ModelLoading(Event):
    model: str
    bytes_done: int = 0  # 0 of 0: the files are here and go to the device
    bytes_total: int = 0


@dataclass(frozen=True, kw_only=True)
class ReplicaChanged(Event):
    replica: str
    state: ReplicaState
    detail: str = ""
    report: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReplicaLoad(Event):
    """How busy a replica is; about once a second while it works."""

    replica: str
    slots: int
    running: int
    waiting: int  # decoded, not yet begun
    decoding: int


@dataclass(frozen=True, kw_only=True)
class ItemEvent(Event):
    job: int
    item: str  # MediaItem.name
    path: Path


@dataclass(frozen=True, kw_only=True)
class ItemStarted(ItemEvent):
    replica: str


@dataclass(frozen=True, kw_only=True)
class ItemProgress(ItemEvent):
    tokens: int


@dataclass(frozen=True, kw_only=True)
class ItemDone(ItemEvent):
    caption: str
    tokens: int
    seconds: float
    replica: str
    warning: str = ""


@dataclass(frozen=True, kw_only=True)
class ItemTried(ItemEvent):
    """Captioned by a job that saves nothing: no file has changed."""

    caption: str
    tokens: int
    seconds: float
    made: Caption | None = None  # how the caption was made, with the text as the model wrote it


@dataclass(frozen=True, kw_only=True)
class ItemGivenBack(ItemEvent):
    """Its replica was lost or restarts; it waits again."""


@dataclass(frozen=True, kw_only=True)
class ItemSkipped(ItemEvent):
    """Left alone, such as for having a caption already."""

    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ItemFailed(ItemEvent):
    reason: str


@dataclass(frozen=True, kw_only=True)
class JobEnded(Event):
    job: int
    outcome: JobOutcome
    reason: str = ""
    done: int = 0
    skipped: int = 0
    failed: int = 0
