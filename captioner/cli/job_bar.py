"""The events of a job on the progress bar of a command."""

import sys

from captioner.cli.bar import Bar
from captioner.formatting import printable, size
from captioner.jobs import events


def show_event(event: events.Event, bar: Bar, doing: str) -> None:
    """Bring the bar up to date with an event, and print what the user should know. doing: such as "captioning"."""
    text = ""
    match event:
        case events.JobStarted():
            bar.reset(event.total)
        case events.ModelLoading(bytes_total=total) if total:
            bar.set_description_str(f"downloading {size(event.bytes_done)} of {size(total)}")
        case events.ModelLoading():
            bar.set_description_str(printable(f"loading {event.model}"))
        case events.ReplicaChanged(state="ready"):
            bar.set_description_str(doing)
        case events.ReplicaChanged(state="lost"):
            text = f"lost {event.replica}: {event.detail}"
        case events.ItemFailed():
            text = f"failed {event.path}: {event.reason}"
        case events.JobNote():
            text = f"note: {event.text}"
        case events.ItemDone() | events.ItemScored() if event.warning:
            text = f"note {event.path}: {event.warning}"
    if text:
        bar.write(printable(text), file=sys.stderr)
    if isinstance(event, events.ItemDone | events.ItemScored | events.ItemFailed | events.ItemSkipped):
        bar.update()
