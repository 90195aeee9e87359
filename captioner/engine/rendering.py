"""The work of the process that renders chat templates, see engine/template, with a small part of transformers."""

import importlib.util
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from captioner.system.limited_process import Answer

MAX_LENGTH = 1_000_000  # characters of a prompt; a token for each image has 20
PACKAGES = ("transformers", "transformers.utils")


def answer_with_text(template: str, arguments: str) -> Answer:
    """Return the text of a chat. arguments: the chat and the template's other variables, as JSON."""
    chat, values = json.loads(arguments)
    try:
        text = renderer()([chat], chat_template=template, **values)[0][0]
    except MemoryError:
        raise
    except Exception as error:  # a template is a program and may raise anything
        return {"error": (str(error).strip().splitlines() or [type(error).__name__])[0][:300]}, b""
    if len(text) > MAX_LENGTH:
        return {"error": f"its text has more than {MAX_LENGTH:,} characters; choose another model"}, b""
    return {}, text.encode("utf-8", "surrogatepass")


@cache
def renderer() -> Callable[..., Any]:
    """Return the function of transformers, without its lists of all models, which take most of a second to import."""
    if "transformers" not in sys.modules:
        try:
            return _import_alone()
        except Exception:  # another version needs more of it
            for name in [name for name in sys.modules if name.split(".")[0] == "transformers"]:
                del sys.modules[name]
    from transformers.utils.chat_template_utils import render_jinja_template

    return render_jinja_template


def _import_alone() -> Callable[..., Any]:
    found = importlib.util.find_spec("transformers")
    assert found
    assert found.origin
    for name in PACKAGES:
        package = ModuleType(name)
        package.__path__ = [str(Path(found.origin).parents[1].joinpath(*name.split(".")))]
        sys.modules[name] = package
    from transformers.utils.chat_template_utils import render_jinja_template

    return render_jinja_template
