"""The import of Gradio without what only its developers and other apps need: more than half of the app's start."""

import contextlib
import importlib
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any


def import_gradio() -> None:
    """Import Gradio as a page needs it that is built once and then served.

    It would write a .pyi file for each of its components, import pandas for caches that this app does not use, and
    build the app of its server at three steps before the launch, which builds it again.
    """
    if "pandas" not in sys.modules:
        sys.modules["pandas"] = _Later("pandas")
    with _without_stub_files():
        from gradio import blocks
    blocks.App = SimpleNamespace(create_app=lambda *_, **__: None)  # type: ignore[misc, assignment]


class _Later(ModuleType):
    """Stands for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def _without_stub_files() -> Iterator[None]:
    """Let Gradio take its components for classes without a file, for which it writes no .pyi file."""
    original = inspect.getfile

    def getfile(object: Any) -> str:
        if inspect.isclass(object):
            raise OSError("left out")
        return original(object)

    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = original
