"""A prompt tried on one file: what the events say of it so far, as HTML."""

from collections.abc import Iterable
from dataclasses import dataclass

from captioner.formatting import plural, size
from captioner.jobs.events import (
    Event,
    ItemFailed,
    ItemProgress,
    ItemStarted,
    ItemTried,
    JobEnded,
    JobStarted,
    ModelLoading,
)
from captioner.jobs.progress import Progress
from captioner.ui.format import escape


@dataclass(frozen=True)
class Trial:
    """`caption` and `problem` are empty while it goes on."""

    doing: str = "Waiting for its turn…"
    caption: str = ""
    problem: str = ""
    tokens: int = 0
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        return bool(self.caption or self.problem)


def follow(events: Iterable[Event], job: int) -> Trial:
    """What has become of the job that tries a prompt on one item; `events` are those since it was queued."""
    trial = Trial()
    mine = False  # the loading of a model belongs to the job that runs
    for event in events:
        match event:
            case JobStarted():
                mine = event.job == job
            case ModelLoading() if mine:
                trial = Trial(_loading(event))
            case ItemStarted() if event.job == job:
                trial = Trial("Reading frames…")
            case ItemProgress() if event.job == job:
                trial = Trial(f"Writing: {plural(event.tokens, 'token')}…")
            case ItemTried() if event.job == job:
                return Trial(caption=event.caption, tokens=event.tokens, seconds=event.seconds)
            case ItemFailed() if event.job == job:
                return Trial(problem=event.reason)
            case JobEnded() if event.job == job:
                return Trial(problem=event.reason or "The try was stopped.")
    return trial


def _loading(event: ModelLoading) -> str:
    if event.bytes_total:
        return f"Downloading {event.model}: {size(event.bytes_done)} of {size(event.bytes_total)}"
    return f"Loading {event.model}…"


def is_busy(progress: Progress) -> bool:
    return progress.active or bool(progress.queued_jobs)


def view(trial: Trial | None) -> str:
    """None: nothing was tried yet."""
    if trial is None:
        return '<div class="trial empty">Caption the chosen file with this prompt. Nothing is saved.</div>'
    if trial.problem:
        return f'<div class="trial failed"><p>{escape(trial.problem)}</p></div>'
    if trial.caption:
        words = plural(len(trial.caption.split()), "word")
        facts_line = f"{plural(trial.tokens, 'token')} · {words} · {trial.seconds:.1f} s · not saved"
        return f'<div class="trial done"><p>{escape(trial.caption)}</p><i>{facts_line}</i></div>'
    return f'<div class="trial running"><p>{escape(trial.doing)}</p></div>'
