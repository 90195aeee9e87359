"""The Dataset tab: the findings of the doctor in groups, for a trainer and a target, and the statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.events import Dependency

from captioner.dataset.targets import targets
from captioner.dataset.trainers import trainer, trainers
from captioner.services import Services
from captioner.ui import scripts
from captioner.ui.dataset.check import FolderCheck
from captioner.ui.dataset.statistics_tab import StatisticsHandlers, statistics_view
from captioner.ui.wiring import KEEP_EVERY_EVENT, errors_as_toasts, in_background, on_action

CHOICES: dict[str, Any] = {
    "trainers": [(name, trainer(name).title) for name in trainers()],
    "targets": [(name, each.title) for name, each in targets().items()],
}
EVENTS = ("check", "repair", "undo", "rows", "files")


class DatasetHandlers:
    """The handlers of the tab. Any thread may call."""

    def __init__(self, services: Services) -> None:
        self._services, self._check = services, FolderCheck(services)
        self.statistics = StatisticsHandlers(services)

    @errors_as_toasts
    def check(self, event: gr.EventData) -> None:
        self._check.start(str(event.trainer), str(event.model))

    @errors_as_toasts
    def repair(self, event: gr.EventData) -> None:
        self._check.fix()

    @errors_as_toasts
    def undo(self, event: gr.EventData) -> None:
        self._check.undo()

    def rows(self, event: gr.EventData) -> dict[str, Any]:
        """Return some findings of a group as the property `rows`."""
        number, code, start = int(event.number), str(event.code), max(0, int(event.start))
        found = self._check.rows(number, code, start)
        return gr.update(rows={"number": number, "code": code, "start": start, "rows": found})

    def files(self, event: gr.EventData) -> dict[str, Any]:
        """Return the files of a group as the property `files`; `open` comes back with it."""
        found = self._check.files(int(event.number), str(event.code))
        return gr.update(files={**found, "label": str(event.label), "open": str(event.open), "key": int(event.key)})

    def render(self) -> list[Any]:
        """Return the values of `DatasetTab.outputs`."""
        target = self._services.settings.target
        check = gr.update(shown=self._check.view(), target=target, **CHOICES)  # an update replaces all properties
        return [check, self.statistics.render()]


@dataclass(frozen=True)
class DatasetTab:
    """The components of the tab that the page needs."""

    outputs: Sequence[gr.components.Component]  # see DatasetHandlers.render
    refreshing: Sequence[Dependency]  # the page is to be refreshed after these events


def dataset_tab(handlers: DatasetHandlers) -> DatasetTab:
    """Draw the tab and wire it."""
    properties: dict[str, Any] = {"shown": {}, "target": "none", "rows": {}, "files": {}}
    with gr.Tabs(elem_id="dataset-parts"):
        with gr.Tab("Check"):
            html = scripts.component("dataset/tab", "dataset", EVENTS, {**properties, **CHOICES})
        with gr.Tab("Statistics") as part:
            statistics, counting = statistics_view(handlers.statistics, part)
    in_background(html.rows, handlers.rows, None, html, mode=KEEP_EVERY_EVENT)
    in_background(html.files, handlers.files, None, html, mode=KEEP_EVERY_EVENT)
    acts = ((html.check, handlers.check), (html.repair, handlers.repair), (html.undo, handlers.undo))
    return DatasetTab([html, statistics], [*(on_action(event, handler) for event, handler in acts), *counting])
