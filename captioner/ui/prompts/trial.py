"""A prompt tried on one file: its progress, from the events, and its view."""

from collections.abc import Iterable
from dataclasses import dataclass

from captioner.formatting import plural, sentence
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
from captioner.ui.format import escape, loading_text


@dataclass(frozen=True)
class Trial:
    """The state of a trial; `caption` and `problem` are empty while it runs."""

    doing: str = "Waiting for its turn…"
    caption: str = ""
    problem: str = ""
    tokens: int = 0
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        """Return whether there is a result."""
        return bool(self.caption or self.problem)


def follow(events: Iterable[Event], job: int) -> Trial:
    """Return the state of the job that tries a prompt on one file. events: all since the job was queued."""
    trial = Trial()
    is_running = False  # a loading model belongs to the job that runs
    for event in events:
        match event:
            case JobStarted():
                is_running = event.job == job
            case ModelLoading() if is_running:
                trial = Trial(loading_text(event.model, event.bytes_done, event.bytes_total))
            case ItemStarted() if event.job == job:
                trial = Trial("Reading frames…")
            case ItemProgress() if event.job == job:
                trial = Trial(f"Writing: {plural(event.tokens, 'token')}…")
            case ItemTried() if event.job == job:
                return Trial(caption=event.caption, tokens=event.tokens, seconds=event.seconds)
            case ItemFailed() if event.job == job:
                return Trial(problem=event.reason)
            case JobEnded() if event.job == job:
                return Trial(problem=event.reason or "The trial was stopped.")
    return trial


def view(trial: Trial | None) -> str:
    """Return a trial as HTML; None before the first one."""
    if trial is None:
        return '<div class="trial empty">Caption the chosen file with this prompt. Nothing is saved.</div>'
    if trial.problem:
        return f'<div class="trial failed"><p>{escape(sentence(trial.problem))}</p></div>'
    if trial.caption:
        words = plural(len(trial.caption.split()), "word")
        facts = f"{plural(trial.tokens, 'token')} · {words} · {trial.seconds:.1f} s · not saved"
        return f'<div class="trial done"><p>{escape(trial.caption)}</p><i>{facts}</i></div>'
    return f'<div class="trial running"><p>{escape(trial.doing)}</p></div>'
