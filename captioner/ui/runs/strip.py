"""The current job as a line for the header, which opens its card. All texts are escaped here."""

from captioner.formatting import plural
from captioner.jobs.journal import Unfinished
from captioner.jobs.progress import Progress
from captioner.ui.format import escape
from captioner.ui.runs import card
from captioner.ui.runs.card import ENDED, RunContext, button, phase


def view(progress: Progress, dismissed: str = "", context: RunContext = RunContext()) -> str:
    """Return the line of the current job, or an offer to resume one. dismissed: the `card.key` of a job to hide."""
    if phase(progress) == "idle" or (phase(progress) in ENDED and card.key(progress) == dismissed):
        offers = [job for job in context.unfinished if not dismissed.startswith(f"{job.operation}.")]
        if offers:
            return _offer(offers[0], len(offers) - 1)
        text = "A model is loaded" if progress.replicas else "Ready"
        return f'<div class="run-strip" data-phase="idle"><p>{text}</p></div>'
    return _line(progress, context)


def _line(progress: Progress, context: RunContext) -> str:
    now = phase(progress)
    count = f"{progress.finished:,} of {progress.total:,}" if progress.total else ""
    rate = f"{progress.tokens_per_s:,.0f} tokens/s" if progress.tokens_per_s else ""
    left = f"{card.time_left(progress)} left" if card.time_left(progress) else ""
    if now == "downloading":
        count, rate, left = f"{card.percent(progress):.0f} %", *card.download_speed(progress)
    middle = card.bar(progress) + "".join(
        f'<span class="run-{name}">{text}</span>' for name, text in (("count", count), ("rate", rate), ("left", left))
    )
    if now in ENDED:
        text = escape(card.outcome(progress, context))
        middle = f'<span class="run-outcome" title="{text}">{text}</span>'
    bad = " data-bad" if progress.failed else ""
    return (
        f'<div class="run-strip" data-phase="{now}"{bad} data-job="{progress.job}">'
        f'<button type="button" class="run-line" popovertarget="run-card" title="Show the job">'
        f"<b>{card.phase_name(progress)}</b>{_folder(context)}{middle}</button>"
        f'<div class="run-buttons">{_buttons(progress, context)}</div></div>'
    )


def _folder(context: RunContext) -> str:
    if not context.folder:
        return ""
    name = context.folder.name or context.folder
    return f'<span class="run-folder" title="{escape(context.folder)}">{escape(name)}</span>'


def _buttons(progress: Progress, context: RunContext) -> str:
    """Return the next step, and the button that ends or dismisses the job."""
    if phase(progress) not in ENDED:
        return '<button type="button" data-run="stop" id="stop">Stop</button>'
    step = card.next_step(progress, context)
    return (button(*step) if step else "") + card.dismiss_button(progress)


def _offer(job: Unfinished, num_more: int) -> str:
    folder = escape(job.folder)
    verb = {"interrupted": "was interrupted", "stopped": "was stopped"}.get(job.state, "failed")
    more = f", {num_more:,} more in History" if num_more else ""
    why = f' title="{escape(job.reason)}"' if job.reason else ""
    return (
        f'<div class="run-strip" data-phase="offer" data-job="{job.operation}" aria-label="A job that can be resumed">'
        f"<p{why}><b>A job {verb}:</b> {job.left:,} of {plural(job.total, 'file')} of "
        f'<b title="{folder}">{escape(job.folder.name or job.folder)}</b> left{more}.</p>'
        f'<div class="run-buttons">{button("resume", job.operation, "Resume")}'
        f"{button('drop', job.operation, 'Dismiss')}</div></div>"
    )
