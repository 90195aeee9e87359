"""A model's chat template, rendered in a process with limits: it is a program that a stranger wrote.

Jinja's sandbox keeps it from files and modules, but not from running forever or building a text of gigabytes.
"""

import contextlib
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from captioner.engine.rendering import answer_with_text, renderer
from captioner.errors import ModelError
from captioner.system.limited_process import LimitedProcess, ProcessFailure

LIMIT_S = 10.0  # the largest take milliseconds
MEMORY_BYTES = 500_000_000
MAX_FAILURES = 2  # of a template, which is not tried again then: the machine may have been busy once
NUM_KEPT = 256

Chat = list[dict[str, Any]]


class TemplateProcess:
    """Renders templates, each with the same values once. Safe to use from several threads."""

    def __init__(self) -> None:
        self._process: LimitedProcess | None = None
        self._lock = threading.Lock()
        self._failures: dict[str, list[str]] = defaultdict(list)  # template -> how it failed
        self._kept = lru_cache(NUM_KEPT)(self._ask)

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Start the process, which takes a second, while the body runs."""
        thread = threading.Thread(target=self._render_nothing, name="chat template", daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def _render_nothing(self) -> None:
        with contextlib.suppress(ModelError):  # the first prompt tells
            self.render("", [], {})

    def render(self, template: str, chat: Chat, values: dict[str, Any]) -> str:
        """Return the text of the chat. values: the template's other variables. Raises ModelError with one line."""
        return self._kept(template, json.dumps([chat, values]))

    def _ask(self, template: str, arguments: str) -> str:
        with self._lock:
            failures = self._failures[template]
            if len(failures) >= MAX_FAILURES:
                raise ModelError(failures[-1])
            self._process = self._process or LimitedProcess("chat template", answer_with_text, MEMORY_BYTES, renderer)
            try:
                answer, text = self._process.ask(LIMIT_S, template, arguments)
            except ProcessFailure as failure:
                self._process.kill()
                self._process.end()
                self._process = None
                failures.append(f"the model's chat template {_WORDS[failure.reason]}")
                raise ModelError(failures[-1]) from None
        if "error" in answer:
            raise ModelError(f"the model's chat template refuses the prompt: {answer['error']}")
        return text.decode("utf-8", "surrogatepass")


_WORDS = {
    "slow": f"did not end within {LIMIT_S:g} s; choose another model",
    "large": "needs too much memory; choose another model",
    "ended": "ended the process that renders it; choose another model",
    "closed": "could not be rendered, because the app is closing",
    "not started": "could not be rendered, because its process did not start; see the log",
}
