"""The statistics in the Dataset tab: tables whose rows lead to the files, and two charts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from captioner.services import Services
from captioner.ui import scripts
from captioner.ui.dataset.statistics import FolderStatistics
from captioner.ui.wiring import KEEP_EVERY_EVENT, errors_as_toasts, in_background, on_action

EVENTS = ("count", "tables", "charts", "files")
CHART_HEIGHT = 220  # pixels


class StatisticsHandlers:
    """The handlers of the statistics. Any thread may call."""

    def __init__(self, services: Services) -> None:
        self._statistics = FolderStatistics(services)

    @errors_as_toasts
    def count(self, event: gr.EventData) -> None:
        folder = str(event.folder).strip()
        self._statistics.start(int(event.job) or (Path(folder).expanduser() if folder else None))

    def jobs(self) -> dict[str, Any]:
        """Return the jobs to compare with as the property `jobs`."""
        return gr.update(jobs={"rows": self._statistics.jobs()})

    def tables(self, event: gr.EventData) -> dict[str, Any]:
        """Return the tables of a count as the property `tables`."""
        number = int(event.number)
        return gr.update(tables={"number": number, "tables": self._statistics.tables(number)})

    def charts(self, event: gr.EventData) -> list[dict[str, Any]]:
        """Return the charts of a count; a chart without data is hidden."""
        number = int(event.number)
        lengths, times = self._statistics.lengths(number), self._statistics.times(number)
        order = [title for title, _ in lengths["data"]] if lengths else None
        return [
            gr.update(value=lengths, visible=bool(lengths), sort=order),
            gr.update(value=times, visible=bool(times)),
        ]

    def files(self, event: gr.EventData) -> dict[str, Any]:
        """Return the files behind a row as the property `files`."""
        found = self._statistics.files(int(event.number), str(event.table), int(event.row))
        asked = {"label": str(event.label), "edits": bool(event.edits), "key": int(event.key)}
        return gr.update(files={**found, **asked})

    def render(self) -> dict[str, Any]:
        """Return the value of the component."""
        return gr.update(shown=self._statistics.view())


def statistics_view(handlers: StatisticsHandlers, part: gr.Tab) -> tuple[gr.HTML, Sequence[Dependency]]:
    """Draw and wire the statistics, a part of the tab; return them and the events after which the page is refreshed."""
    properties: dict[str, Any] = {"shown": {}, "tables": {}, "files": {}, "jobs": {}}
    html = scripts.component("dataset/statistics", "statistics", EVENTS, properties)
    with gr.Row(elem_id="statistics-charts"):
        lengths = gr.BarPlot(
            x="words", y="captions", title="Captions by their number of words", x_title="words", y_title="captions",
            height=CHART_HEIGHT, min_width=320, visible=False, x_label_angle=-40, buttons=[],
        )  # fmt: skip
        times = gr.LinePlot(
            x="time", y="words", title="Mean words by the time of the files", x_title="", y_title="words",
            height=CHART_HEIGHT, min_width=320, visible=False, buttons=[],
        )  # fmt: skip
    in_background(part.select, handlers.jobs, None, html)
    in_background(html.tables, handlers.tables, None, html, mode=KEEP_EVERY_EVENT)
    in_background(html.charts, handlers.charts, None, [lengths, times], mode=KEEP_EVERY_EVENT)
    in_background(html.files, handlers.files, None, html, mode=KEEP_EVERY_EVENT)
    return html, [on_action(html.count, handlers.count)]
