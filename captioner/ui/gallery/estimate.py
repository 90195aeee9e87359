"""What pressing the start button would take, for its tooltip."""

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable

from captioner.errors import CaptionerError, PromptError
from captioner.library.file_states import Counts
from captioner.services import Services

# Gradio's button has no tooltip of its own.
TOOLTIP_JS = "text => { document.querySelector('#start').title = text; }"
BUDGET_S = 1.0
KEPT_PLANS = 8
MAX_WAITING = 4  # viewers that may wait for a plan, each in a thread that the whole page shares; others get none


class Planner:
    """All browsers share one look at the files. Any thread may call; the page goes on meanwhile."""

    def __init__(self, services: Services, names: Callable[[str], list[str]]) -> None:
        """names: what the button would caption with a selection, the grid's value. Raises JobError."""
        self._services, self._names = services, names
        self._planning = threading.Lock()
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        self._plans: OrderedDict[str, str] = OrderedDict()  # the newest last

    def key(self, counts: Counts, busy: bool) -> str:
        """Changes with all that a plan depends on, but for the selection; "" while there is nothing to plan."""
        if not counts.total or busy:
            return ""
        settings = self._services.settings
        try:
            prompts = self._services.prompts.list()
        except PromptError as error:  # which pressing the button says
            prompts = str(error)
        state = (self._services.library.scan.id, counts, settings, prompts)
        return f"{zlib.crc32(repr(state).encode('utf-8', 'replace')):08x}"

    def plan(self, key: str, selection: str) -> str:
        """One line, or "" while too many others wait for theirs. `key` says for which state."""
        if not key:
            return ""
        key += f" {zlib.crc32(selection.encode()):08x}"
        if key in self._plans or not self._waiting.acquire(blocking=False):
            return self._plans.get(key, "")
        try:
            with self._planning:
                if key not in self._plans:
                    self._plans[key] = self._plan(selection)
                    if len(self._plans) > KEPT_PLANS:
                        self._plans.popitem(last=False)
                return self._plans[key]
        finally:
            self._waiting.release()

    def _plan(self, selection: str) -> str:
        try:
            return self._services.plan(self._names(selection), BUDGET_S).summary()
        except CaptionerError as error:  # what pressing the button would say
            return str(error)
