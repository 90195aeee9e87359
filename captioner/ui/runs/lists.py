"""The lists on the card of a job: workers, failures and waiting jobs, as HTML. All texts are escaped here."""

import re
from collections.abc import Sequence

from captioner.formatting import plural
from captioner.jobs.progress import Progress, ReplicaProgress
from captioner.ui.format import definitions, escape, isolated

REPLICA_STATES = {"starting": "loading", "ready": "idle", "lost": "failed", "closed": "closed"}
ITEMS_SHOWN = 3  # files of a worker
FAILURES_SHOWN = 50
MIN_NAME_WIDTH, MAX_NAME_WIDTH = 8, 22  # characters of a worker's name
ROWS = 8  # visible at once; more need scrolling
LABEL_END = re.compile(r"( · [^·]*| #\d+)?$")  # what tells the workers of one machine apart is never cut


def bottom(progress: Progress, queue: Sequence[tuple[int, str]]) -> str:
    """Return all lists, as high as the workers need. queue: (number, description) of each waiting job."""
    count = len(progress.replicas)
    title = f"Workers<span>{count:,}</span>" if count > ROWS else "Workers"
    lists = _list(title, _replicas(progress), "replicas", _slots(progress))
    title = f"Failed<span>{progress.failed:,}</span>" if progress.failed else "Failed"
    lists += _list(title, _failures(progress), "failures")
    if queue:
        rows = "".join(_queue_row(number, escape(line)) for number, line in queue)
        tip = "Stop ends only the running job. These follow."
        lists += _list(f"Next<span>{progress.queued_jobs:,}</span>", rows, "queue", tip)
    height = min(ROWS, max(1, len(progress.replicas)))
    width = max((len(replica.label) for replica in progress.replicas), default=0)
    width = min(MAX_NAME_WIDTH, max(MIN_NAME_WIDTH, width))
    return f'<div class="run-bottom" style="--rows:{height};--name:{width}ch">{lists}</div>'


def _list(title: str, rows: str, kind: str, tip: str = "") -> str:
    tip = f' title="{tip}"' if tip else ""
    return f'<div class="run-list" data-list="{kind}"><h4{tip}>{title}</h4><ul>{rows}</ul></div>'


def _queue_row(number: int, line: str) -> str:
    tip = f"Remove from the queue: {line}"
    return (
        f'<li class="run-next"><span title="{line}">{line}</span>'
        f'<button type="button" data-run="remove" data-job="{number}" title="{tip}" aria-label="{tip}">×</button></li>'
    )


def _slots(progress: Progress) -> str:
    slots, busy = sum(r.slots for r in progress.replicas), sum(map(_num_busy, progress.replicas))
    return f"{busy:,} of {plural(slots, 'slot')} busy" if slots else ""


def _num_busy(replica: ReplicaProgress) -> int:
    """Return how many slots are busy; a worker without files reports its load no more."""
    return min(replica.running, len(replica.items))


def _replicas(progress: Progress) -> str:
    tokens = dict(progress.running)
    rows = "".join(_replica(number, replica, tokens) for number, replica in enumerate(progress.replicas))
    return rows or '<li class="run-none">No model is loaded.</li>'


def _replica(number: int, replica: ReplicaProgress, tokens: dict[str, int]) -> str:
    state = "working" if replica.state == "ready" and replica.items else REPLICA_STATES[replica.state]
    busy = _num_busy(replica)
    full = 100 * busy / replica.slots if replica.slots else 0.0
    rate = f"{replica.tokens_per_s:,.0f}/s" if replica.items and replica.tokens_per_s else ""
    slots = f"{busy}/{replica.slots}" if replica.slots else ""
    end = LABEL_END.search(replica.label)[0]  # type: ignore[index]  # it also finds nothing at the end
    work = escape(replica.detail or _work(replica.items, tokens))
    return (
        f'<li class="run-replica" data-state="{state}"><b title="{escape(replica.name)}">'
        f"<span>{escape(replica.label.removesuffix(end))}</span>{escape(end)}</b>"
        f'<em>{state}</em><span class="run-slots" title="busy slots"><i style="width:{full:.1f}%"></i></span>'
        f'<span class="run-of">{slots}</span><span class="run-rate" title="tokens per second">{rate}</span>'
        f'<span class="run-work" title="{work}">{work}</span>'
        f"{_report(number, replica)}</li>"
    )


def _work(items: Sequence[str], tokens: dict[str, int]) -> str:
    shown = sorted(items, key=lambda name: -tokens.get(name, 0))[:ITEMS_SHOWN]
    parts = [isolated(name) + (f" ({plural(tokens[name], 'token')})" if tokens.get(name) else "") for name in shown]
    parts += [f"{len(items) - ITEMS_SHOWN} more"] * (len(items) > ITEMS_SHOWN)
    return " · ".join(parts)


def _report(number: int, replica: ReplicaProgress) -> str:
    rows = ((("failed", replica.detail),) if replica.detail else ()) + replica.report
    if not rows:
        return ""
    key = f"run-report-{number}"  # unlike <details>, a popover stays open while the page around it is updated
    return (
        f'<button type="button" class="run-link" popovertarget="{key}">Report</button><div popover id="{key}" '
        f'class="run-popover"><h4>{escape(replica.name)}</h4><dl>{definitions(rows)}</dl></div>'
    )


def _failures(progress: Progress) -> str:
    rows = "".join(
        f'<li class="run-failure" title="{escape(f"{isolated(name)}: {reason}")}"><b>{escape(name)}</b>'
        f"<span>{escape(reason)}</span></li>"
        for name, reason in progress.failures[:FAILURES_SHOWN]
    )
    more = progress.failed - min(len(progress.failures), FAILURES_SHOWN)
    rows += f'<li class="run-none">and {more:,} more</li>' if more > 0 and rows else ""
    return rows or '<li class="run-none">Nothing has failed.</li>'
