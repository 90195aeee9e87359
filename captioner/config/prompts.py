"""The prompt library: built-in prompts that never change, and the user's own in one JSON file."""

import difflib
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.config.builtin_prompts import BUILTIN_TEXTS
from captioner.errors import PromptError
from captioner.system.files import write_atomic

MAX_NAME_LENGTH = 80
MAX_TEXT_LENGTH = 20_000  # characters, as of the setting `prompt`
MAX_OWN_PROMPTS = 1000  # that an import fills the library up to

VARIABLES = {
    "name": "file name without its extension",
    "folder": "name of the folder that holds the file",
    "trigger": "trigger word of the settings",
    "existing": "caption that the file has now",
}
_VARIABLE = re.compile(rf"\{{({'|'.join(VARIABLES)})\}}")


@dataclass(frozen=True)
class Prompt:
    """A named instruction to the model. `builtin` ones can be copied but not changed."""

    name: str
    text: str
    builtin: bool = False


BUILTIN_PROMPTS = tuple(Prompt(name, text, builtin=True) for name, text in BUILTIN_TEXTS.items())


def split_variables(text: str) -> list[str]:
    """Plain text and names of variables in turn: "A {name}." -> ["A ", "name", "."]."""
    return _VARIABLE.split(text)


def expand(text: str, *, name: str, folder: str, trigger: str, existing: Callable[[], str]) -> str:
    """The text with its VARIABLES replaced; all other braces stay, those in the values too.

    `existing` is called only where the text asks for it. What no UTF-8 can hold, as in some file names, becomes "?".
    """
    values = {"name": lambda: name, "folder": lambda: folder, "trigger": lambda: trigger, "existing": existing}
    expanded = _VARIABLE.sub(lambda match: values[match[1]](), text)
    return expanded.encode("utf-8", "replace").decode()


class PromptLibrary:
    """Finds prompts and edits the user's own. Names are unique whatever their case; built-in prompts never change.

    The file is read anew for every call and replaced after every change, so several programs may use it. Any thread
    may call. Every method raises PromptError with one line; a file it cannot understand is left as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def list(self) -> tuple[Prompt, ...]:
        """The built-in prompts, then the user's own in the order they were made."""
        return BUILTIN_PROMPTS + tuple(self._read())

    def get(self, name: str) -> Prompt:
        """The prompt of this name, whatever its case."""
        return _find(self.list(), name)

    def create(self, name: str, text: str) -> Prompt:
        """Add a prompt of the user's own."""
        with self._lock:
            own = self._read()
            prompt = Prompt(_new_name(name, own), _checked_text(text))
            self._write([*own, prompt])
        return prompt

    def update(self, name: str, text: str) -> Prompt:
        """Give a prompt another text."""
        return self.replace(name, None, text)

    def rename(self, name: str, new_name: str) -> Prompt:
        """Give a prompt another name, which may differ in case alone."""
        return self.replace(name, new_name, None)

    def replace(self, name: str, new_name: str | None, new_text: str | None) -> Prompt:
        """Give a prompt another name and text, both or none; None leaves one as it is."""
        with self._lock:
            own = self._read()
            old = _find_own(own, name)
            others = [prompt for prompt in own if prompt is not old]
            new = Prompt(
                old.name if new_name is None else _new_name(new_name, others),
                old.text if new_text is None else _checked_text(new_text),
            )
            self._write([new if prompt is old else prompt for prompt in own])
        return new

    def duplicate(self, name: str, new_name: str = "") -> Prompt:
        """Copy a prompt, built-in ones too, under a new name: by default "<name> copy", "<name> copy 2", ..."""
        with self._lock:
            own = self._read()
            source = _find((*BUILTIN_PROMPTS, *own), name)
            copy = Prompt(_new_name(new_name or _free_name(f"{source.name} copy", own), own), source.text)
            self._write([*own, copy])
        return copy

    def delete(self, name: str) -> None:
        """Remove a prompt of the user's own."""
        with self._lock:
            own = self._read()
            old = _find_own(own, name)
            self._write([prompt for prompt in own if prompt is not old])

    def export_json(self) -> str:
        """The user's own prompts, as `import_json` takes them."""
        return _to_json(self._read())

    def import_json(self, text: str | bytes) -> tuple[Sequence[Prompt], Sequence[str]]:
        """Add prompts as `export_json` gives them; returns those added, and a line for each that was not.

        Nothing that is here is changed: a name that is taken gets a number, unless its text is the same.
        Raises PromptError when it is no such list at all.
        """
        entries = _entries(text)
        added: list[Prompt] = []
        skipped: list[str] = []
        with self._lock:
            own = list(self._read())
            known = {prompt.name.casefold(): prompt.text for prompt in (*BUILTIN_PROMPTS, *own)}
            for number, entry in enumerate(entries, start=1):
                try:
                    prompt = _imported(entry, known, len(own) + len(added))
                except PromptError as error:
                    skipped.append(f"entry {number}: {error}")
                    continue
                known[prompt.name.casefold()] = prompt.text
                added.append(prompt)
            if added:
                self._write([*own, *added])
        return added, skipped

    def _read(self) -> Sequence[Prompt]:
        try:
            return _parse(json.loads(self.path.read_text(encoding="utf-8-sig")))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PromptError(f"cannot read the prompts file {self.path}: {error.strerror}") from None
        except (ValueError, PromptError) as error:
            raise PromptError(f"the prompts file {self.path} is damaged ({error}); correct or remove it") from None

    def _write(self, own: Sequence[Prompt]) -> None:
        try:
            write_atomic(self.path, _to_json(own).encode())
        except OSError as error:
            raise PromptError(f"cannot write the prompts file {self.path}: {error.strerror}") from None


def _to_json(prompts: Sequence[Prompt]) -> str:
    entries = [{"name": prompt.name, "text": prompt.text} for prompt in prompts]
    return json.dumps(entries, indent=2, ensure_ascii=False) + "\n"


def _entries(text: str | bytes) -> list[object]:
    try:
        entries = json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        raise PromptError(f"this is no JSON file of prompts: {error}") from None
    if not isinstance(entries, list):
        raise PromptError('this is no JSON file of prompts: it holds no list of {"name": ..., "text": ...}')
    return entries


def _imported(entry: object, known: Mapping[str, str], num_own: int) -> Prompt:
    """A prompt with a name that is free. Raises PromptError saying why it is not to be added."""
    prompt = _from_json(entry)
    number, free = 1, prompt.name
    while free.casefold() in known:
        if known[free.casefold()] == prompt.text:
            raise PromptError(f"the library has {free!r} with this text already")
        number += 1
        free = f"{prompt.name} {number}"
    if num_own >= MAX_OWN_PROMPTS:
        raise PromptError(f"the library is full with {MAX_OWN_PROMPTS:,} prompts")
    return Prompt(_checked_name(free), prompt.text)


def _parse(entries: object) -> list[Prompt]:
    """The user's prompts in the file's JSON. A name that a newer built-in prompt took meanwhile gets a number."""
    if not isinstance(entries, list):
        raise PromptError("no JSON list")
    prompts: list[Prompt] = []
    for entry in entries:
        prompt = _from_json(entry)
        prompts.append(Prompt(_free_name(prompt.name, prompts), prompt.text))
    return prompts


def _from_json(entry: object) -> Prompt:
    fields = entry if isinstance(entry, dict) else {}
    name, text = fields.get("name"), fields.get("text")
    if len(fields) != 2 or not isinstance(name, str) or not isinstance(text, str):
        raise PromptError(f"each entry needs a name and a text, not {str(entry)[:60]!r}")
    return Prompt(_checked_name(name), _checked_text(text))


def _same(name: str, other: str) -> bool:
    return name.strip().casefold() == other.strip().casefold()


def _find(prompts: Sequence[Prompt], name: str) -> Prompt:
    for prompt in prompts:
        if _same(prompt.name, name):
            return prompt
    names = {prompt.name.casefold(): prompt.name for prompt in prompts}
    close = [names[match] for match in difflib.get_close_matches(name.strip().casefold(), names)]
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names.values())}"
    raise PromptError(f"there is no prompt {name!r}; {hint}")


def _find_own(own: Sequence[Prompt], name: str) -> Prompt:
    prompt = _find((*BUILTIN_PROMPTS, *own), name)
    if prompt.builtin:
        raise PromptError(f"the built-in prompt {prompt.name!r} cannot be changed; duplicate it and change the copy")
    return prompt


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name:
        raise PromptError("a prompt needs a name")
    if len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise PromptError(f"the name of a prompt is one line of at most {MAX_NAME_LENGTH} characters")
    return name


def _new_name(name: str, own: Sequence[Prompt]) -> str:
    name = _checked_name(name)
    for prompt in (*BUILTIN_PROMPTS, *own):
        if _same(prompt.name, name):
            raise PromptError(f"there is already a prompt {prompt.name!r}; choose another name")
    return name


def _free_name(name: str, own: Sequence[Prompt]) -> str:
    taken = {prompt.name.casefold() for prompt in (*BUILTIN_PROMPTS, *own)}
    number, free = 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{name} {number}"
    return free


def _checked_text(text: str) -> str:
    text = text.strip()
    if not text:
        raise PromptError("a prompt needs a text")
    if len(text) > MAX_TEXT_LENGTH:
        raise PromptError(f"the text of a prompt has at most {MAX_TEXT_LENGTH} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PromptError("the text of a prompt holds half a character, which no file can hold") from None
    return text
