"""What a job asks of a replica, and what it hears back."""

from dataclasses import dataclass
from typing import Protocol

from captioner.values import CapabilityReport, Caption, CaptionRequest


@dataclass(frozen=True)
class Ready:
    """The model is loaded; requests are welcome. Said again whenever something in it has changed."""

    report: CapabilityReport
    capacity: int  # requests it wants in flight from now on
    max_silence_s: float = 600.0  # with requests and without a word for longer, it hangs


@dataclass(frozen=True)
class TokensSoFar:
    """Tokens of the running requests, at most about ten times a second."""

    tokens: dict[int, int]  # request id -> number of tokens


@dataclass(frozen=True)
class Finished:
    id: int
    caption: Caption


@dataclass(frozen=True)
class Failed:
    """This request alone failed, for a reason fit to show."""

    id: int
    reason: str


@dataclass(frozen=True)
class Cancelled:
    """Ended early because it was asked to; else given back by a replica that cannot go on, to run elsewhere."""

    id: int


@dataclass(frozen=True)
class Lost:
    """The replica is gone; whatever was submitted and is unanswered has to run elsewhere. Always its last event."""

    reason: str
    final: bool = False  # the model cannot be loaded; starting another replica would only say so again


@dataclass(frozen=True)
class Load:
    """How busy it is; about twice a second while it has requests, steps that take longer apart, and when it is done."""

    slots: int
    running: int
    waiting: int  # decoded, not yet begun
    decoding: int
    starved_s: float  # since the start: the engine had requests and no input while a decode thread was idle
    up_s: float  # seconds since the start
    queued: int = 0  # not yet decoded
    num_received: int = 0  # requests since the start

    @property
    def idle(self) -> bool:
        return not (self.running or self.waiting or self.decoding or self.queued)


ReplicaEvent = Ready | TokensSoFar | Load | Finished | Failed | Cancelled | Lost


class Replica(Protocol):
    """One place where captions are made. Methods may be called from any thread; events() from one."""

    name: str
    capacity: int  # requests it wants in flight, so that it never waits for more; 0 until it is ready

    def submit(self, request: CaptionRequest) -> None:
        """Queue a request; exactly one Finished, Failed or Cancelled answers it, unless the replica is lost."""

    def cancel(self, request_id: int) -> None:
        """Ask for an early end; unknown or finished ids are ignored."""

    def events(self, timeout_s: float) -> list[ReplicaEvent]:
        """What happened since the last call; waits up to `timeout_s` for the first."""

    def close(self) -> None:
        """End it and free its device. Returns when it is gone."""
