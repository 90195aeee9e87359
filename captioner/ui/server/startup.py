"""The import of Gradio without what only its developers and other apps need: more than half of the app's start."""

import contextlib
import importlib
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

# The modules of Gradio's command line that it imports for these names, and their values where the app is not run by it.
COMMAND_LINE: dict[str, dict[str, Any]] = {
    "gradio.cli": {"deploy": None},
    "gradio.cli.commands": {},
    "gradio.cli.commands.reload": {"reload_thread": None},
}


def import_gradio() -> None:
    """Import Gradio as a page needs it that is built once and then served.

    It would write a .pyi file for each of its components, import pandas for caches that this app does not use and the
    command lines of itself and httpx, and build the app of its server at three steps before the launch, which builds it
    again.
    """
    if "pandas" not in sys.modules:
        sys.modules["pandas"] = _Later("pandas")
    for name, attributes in COMMAND_LINE.items():
        if name not in sys.modules:
            sys.modules[name] = ModuleType(name)
            vars(sys.modules[name]).update(attributes)
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # its import fails, which httpx expects
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
