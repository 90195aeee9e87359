"""The protocol between a job and a replica: what replicas offer, and the events they send."""

from dataclasses import dataclass
from typing import Protocol

from captioner.values import CapabilityReport, Caption, CaptionRequest


@dataclass(frozen=True)
class Ready:
    """The model is loaded and requests may be submitted. Sent again whenever one of these values has changed."""

    report: CapabilityReport
    capacity: int  # how many requests it wants in flight
    max_silence_s: float = 600.0  # treat the replica as hung after this long without an event while it has requests


@dataclass(frozen=True)
class TokensSoFar:
    """The tokens of the running requests; sent at most about ten times a second."""

    tokens: dict[int, int]  # request id -> number of tokens


@dataclass(frozen=True)
class Answer:
    """The one answer to a request."""

    id: int  # of the request


@dataclass(frozen=True)
class Finished(Answer):
    """The file was captioned."""

    caption: Caption


@dataclass(frozen=True)
class Scored(Answer):
    """The model was asked the prompt of a request that scores."""

    prompt: str
    yes: float  # the probability of each answer, see engine/scoring
    no: float
    warning: str = ""  # one line


@dataclass(frozen=True)
class Failed(Answer):
    """This request failed and no other, with a reason that can be shown to users."""

    reason: str


class Cancelled(Answer):
    """The request was ended early on demand, or given back by a replica that cannot continue."""


@dataclass(frozen=True)
class Lost:
    """The replica is gone; its unanswered requests must run on another one. Always its last event."""

    reason: str
    final: bool = False  # the model cannot be loaded, so another replica would fail in the same way


@dataclass(frozen=True)
class Load:
    """How busy a replica is; sent about twice a second while it has requests, between steps, and when it is done."""

    slots: int
    running: int
    waiting: int  # decoded, not yet running
    decoding: int
    starved_s: float  # total time in which the engine waited for input although a decode thread was idle
    up_s: float  # time since the start
    queued: int = 0  # not yet decoded
    num_received: int = 0  # requests since the start


ReplicaEvent = Ready | TokensSoFar | Load | Answer | Lost


class Replica(Protocol):
    """Runs the model on one device. Any thread may call its methods, but only one thread events()."""

    name: str
    capacity: int  # how many requests it wants in flight, so that it never waits for more; 0 until it is ready

    def submit(self, request: CaptionRequest) -> None:
        """Queue a request. Exactly one Answer follows, unless the replica is lost."""

    def cancel(self, request_id: int) -> None:
        """Ask for an early end of a request; unknown and finished ids are ignored."""

    def events(self, timeout_s: float) -> list[ReplicaEvent]:
        """Return the events since the last call, waiting up to `timeout_s` for the first."""

    def close(self) -> None:
        """End the replica and free its device. Returns when it is gone."""
