"""The current job as a card, which the line in the header opens. All texts are escaped here."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from captioner.formatting import clock, duration, size
from captioner.jobs.journal import Unfinished
from captioner.jobs.progress import Progress
from captioner.ui.format import escape
from captioner.ui.runs import lists

Phase = Literal["idle", "queued", "downloading", "loading", "running", "done", "stopped", "failed"]

NAMES: dict[Phase, str] = {"idle": "Ready", "queued": "Starting", "running": "Captioning"}
ENDED = ("done", "stopped", "failed")


@dataclass(frozen=True)
class Step:
    """A step of the pipeline on the card."""

    name: str
    state: Literal["todo", "now", "done"]
    count: int | None = None  # files in this step


@dataclass(frozen=True)
class RunContext:
    """The facts that are shown besides the progress of the job."""

    folder: Path | None = None  # of the files of the job
    undone: bool | None = None  # whether the job was undone; None: it changed nothing or has not ended
    unfinished: tuple[Unfinished, ...] = ()  # jobs that can be resumed, the newest first
    queue: tuple[tuple[int, str], ...] = ()  # (number, description) of each waiting job


def key(progress: Progress) -> str:
    """Return what names this job even after a restart of the app: the numbers of those outside the journal repeat."""
    return f"{progress.job}.{progress.started_s:.0f}"


def without_trials(progress: Progress) -> Progress:
    """Return the progress of the latest job, as if no prompt was tried on a file."""
    base = progress.before or progress
    queue = tuple(each for each in progress.queue if each.job > 0 or not each.total or each.scores)
    return replace(base, replicas=progress.replicas, queue=queue, queued_jobs=len(queue))


def phase(progress: Progress) -> Phase:
    """Return the stage of a job as the page shows it."""
    if progress.queued_jobs and not progress.active:
        return "queued"
    if progress.stage == "loading" and progress.bytes_total:
        return "downloading"
    return progress.stage


def steps(progress: Progress) -> tuple[Step, ...]:
    """Return the steps of the pipeline; several are active at once, each with other files."""
    now = phase(progress)
    if now in ("queued", "downloading", "loading"):
        return Step("Model", "now"), Step("Frames", "todo"), Step("Encode", "todo"), Step("Generate", "todo")
    generating = sum(tokens > 0 for _, tokens in progress.running)
    if any(replica.slots for replica in progress.replicas):
        decoding = sum(replica.decoding for replica in progress.replicas)
        encoding = max(0, sum(replica.waiting + replica.running for replica in progress.replicas) - generating)
    else:  # no replica has reported its load yet
        decoding, encoding = len(progress.running) - generating, 0
    counts = {"Frames": decoding, "Encode": encoding, "Generate": generating}
    return Step("Model", "done"), *(Step(name, "now" if count else "todo", count) for name, count in counts.items())


def phase_name(progress: Progress) -> str:
    now = phase(progress)
    return "Scoring" if progress.scores and now == "running" else NAMES.get(now, now.capitalize())


def outcome_name(progress: Progress) -> str:
    return "scored" if progress.scores else "captioned"


def headline(progress: Progress) -> str:
    now = phase(progress)
    if now in ("loading", "downloading"):
        return f"{phase_name(progress)} {progress.model}"
    if now == "done" and not progress.total:
        return "Model loaded" if progress.replicas else "Model unloaded"
    if now == "done" and progress.failed:
        return f"Done, {progress.failed:,} failed"
    return phase_name(progress)


def summary(progress: Progress) -> str:
    """Return a finished job in one line: "98 captioned · 2 failed · 8 skipped · 4 min · 812 tokens/s"."""
    parts = [f"{progress.done:,} {outcome_name(progress)}"] * bool(progress.total)
    numbers = {"failed": progress.failed, "skipped": progress.skipped, "left": progress.total - progress.finished}
    numbers |= {"cut off or repeating": progress.num_flawed, "still faulty": progress.num_faulty}
    parts += [f"{number:,} {word}" for word, number in numbers.items() if number]
    parts.append(duration(progress.ended_s - progress.started_s))
    parts += [f"{progress.tokens_per_s:,.0f} tokens/s"] * bool(progress.tokens_per_s)
    return " · ".join(parts)


def view(progress: Progress, now_s: float, context: RunContext = RunContext()) -> str:
    """Return the card of the current job."""
    now = phase(progress)
    if now == "idle":
        return '<section popover id="run-card" class="run" data-phase="idle"></section>'
    bad = " data-bad" if progress.failed else ""
    return (
        f'<section popover id="run-card" class="run" data-phase="{now}"{bad} data-job="{progress.job}">'
        f'<div class="run-top">{_ring(progress)}'
        f'<div class="run-head">{_title(progress, context)}{_middle(progress, context)}{bar(progress)}</div>'
        f"{_numbers(progress, now_s)}</div>{lists.bottom(progress, context.queue)}</section>"
    )


def next_step(progress: Progress, context: RunContext) -> tuple[str, int, str] | None:
    """Return what helps after a job has ended: (act, number of the job, label) of a button."""
    job = progress.job
    is_ready = any(replica.state == "ready" for replica in progress.replicas)
    if progress.stage == "failed" and not progress.done and not is_ready:
        return "model", job, "Choose a model"
    if any(job == unfinished.operation for unfinished in context.unfinished):
        return "resume", job, "Resume"
    return ("retry", job, f"Retry {progress.failed:,} failed") if progress.failed and not progress.scores else None


def outcome(progress: Progress, context: RunContext) -> str:
    """Return how a job ended, in one line."""
    parts = ["The job was undone"] * bool(context.undone) + [progress.reason] * bool(progress.reason)
    parts += progress.notes
    if not progress.total and progress.stage == "done":
        parts.append(headline(progress))
    return ". ".join(parts + [summary(progress)] * bool(progress.finished))


def percent(progress: Progress) -> float:
    """Return how many percent of the files are finished, or of the bytes while a model is downloaded."""
    if progress.bytes_total:
        return 100 * progress.bytes_done / progress.bytes_total
    if not progress.total:
        return 100.0 if progress.stage == "done" else 0.0
    return 100 * progress.finished / progress.total


def _ring(progress: Progress) -> str:
    now = phase(progress)
    mark = "" if now in ("queued", "loading") else f"{int(percent(progress))}%"
    if now in ENDED:
        mark = {"done": "!" if progress.failed else "✓", "stopped": "■", "failed": "!"}[now]
    return (
        '<svg class="run-ring" viewBox="0 0 40 40" aria-hidden="true"><circle cx="20" cy="20" r="17"></circle>'
        '<circle class="run-arc" cx="20" cy="20" r="17" pathLength="100" '
        f'style="stroke-dasharray:{percent(progress):.1f} 100"></circle>'
        f'<text x="20" y="20">{mark}</text></svg>'
    )


def _title(progress: Progress, context: RunContext) -> str:
    now = phase(progress)
    model = f'<span class="run-model">{escape(progress.model)}</span>' if now in ("running", *ENDED) else ""
    aside = _buttons(progress, context) if now in ENDED else "" if now == "downloading" else _steps(progress)
    return f'<div class="run-title"><b>{escape(headline(progress))}</b>{model}{aside}</div>'


def _buttons(progress: Progress, context: RunContext) -> str:
    job, step, parts = progress.job, next_step(progress, context), []
    if step:
        parts.append(button(*step))
    if progress.failed and not progress.scores and not (step and step[0] == "retry"):
        parts.append(button("retry", job, f"Retry {progress.failed:,} failed"))
    if context.undone is not None:
        parts.append(button("redo", job, "Redo") if context.undone else button("undo", job, "Undo this job"))
    return f'<div class="run-buttons">{"".join(parts)}{dismiss_button(progress)}</div>'


def button(act: str, job: int, label: str) -> str:
    return f'<button type="button" data-run="{act}" data-job="{job}">{label}</button>'


def dismiss_button(progress: Progress) -> str:
    about = f'data-run="dismiss" data-job="{key(progress)}" title="Dismiss" aria-label="Dismiss"'
    return f'<button type="button" {about}>×</button>'


def _steps(progress: Progress) -> str:
    rows = ""
    for step in steps(progress):
        count = "" if step.count is None else f"<i>{step.count or ''}</i>"
        rows += f'<li data-state="{step.state}">{step.name}{count}</li>'
    return f'<ol class="run-steps">{rows}</ol>'


def _middle(progress: Progress, context: RunContext) -> str:
    if phase(progress) == "downloading":
        parts = [f"{size(progress.bytes_done)} of {size(progress.bytes_total)}", *download_speed(progress)]
        return f'<div class="run-middle run-facts">{" · ".join(part for part in parts if part)}</div>'
    if phase(progress) not in ENDED:
        return ""
    text = escape(outcome(progress, context))
    return f'<div class="run-middle"><p title="{text}">{text}</p></div>'


def download_speed(progress: Progress) -> tuple[str, str]:
    """Return for example ("12.0 MB/s", "1:05 left"), both empty while unknown."""
    if not progress.bytes_per_s:
        return "", ""
    left_s = (progress.bytes_total - progress.bytes_done) / progress.bytes_per_s
    return f"{size(progress.bytes_per_s)}/s", f"{clock(left_s)} left"


def time_left(progress: Progress) -> str:
    """Return "" until there is a caption: failures are quick, so they say nothing about the other files."""
    return clock(progress.eta_s) if progress.done and progress.eta_s is not None else ""


def bar(progress: Progress) -> str:
    if phase(progress) in ("queued", "loading"):
        return '<div class="run-bar" data-unknown><i></i></div>'
    if progress.bytes_total or not progress.total:
        parts = {"done": percent(progress)}
    else:
        counts = {"done": progress.done, "skipped": progress.skipped, "failed": progress.failed}
        parts = {name: 100 * count / progress.total for name, count in counts.items()}
    bars = "".join(f'<i data-part="{name}" style="width:{share:.2f}%"></i>' for name, share in parts.items())
    return f'<div class="run-bar">{bars}</div>'


def _numbers(progress: Progress, now_s: float) -> str:
    elapsed_s, unknown = (progress.ended_s or now_s) - progress.started_s, "–"
    cells = {
        outcome_name(progress): f"{progress.done:,}<small> / {progress.total:,}</small>" if progress.total else unknown,
        "skipped": f"{progress.skipped:,}" if progress.total else unknown,
        "failed": f"{progress.failed:,}" if progress.total else unknown,
        "tokens": f"{progress.tokens:,}" if progress.tokens else unknown,
        "tokens/s": f"{progress.tokens_per_s:,.0f}" if progress.tokens_per_s else unknown,
        "elapsed": clock(elapsed_s) if progress.started_s else unknown,
        "left": time_left(progress) or unknown,
    }
    bad = "failed" if progress.failed else ""
    rows = (f"<div{' data-bad' * (k == bad)}><dt>{k}</dt><dd>{v}</dd></div>" for k, v in cells.items())
    return f'<dl class="run-numbers">{"".join(rows)}</dl>'
