"""The prompt library: built-in prompts, which never change, and the user's own in one JSON file."""

import difflib
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.config.builtin_prompts import BUILTIN_TEXTS
from captioner.config.json_file import parse_json, read_json
from captioner.errors import PromptError
from captioner.formatting import sendable
from captioner.system.files import write_private
from captioner.values import LATER, MEASURED_VARIABLES

MAX_NAME_LENGTH = 80
MAX_TEXT_LENGTH = 20_000  # characters, as in the setting `prompt`
MAX_OWN_PROMPTS = 1000  # an import adds no more than this
MAX_FILE_BYTES = 100_000_000  # of the library, which may hold so many long prompts

VARIABLES = {
    "name": "file name without its extension",
    "folder": "name of the folder that holds the file",
    "trigger": "trigger word from the settings",
    "existing": "current caption of the file",
    "camera": "what the camera does, as measured: the camera pans left",
    "shots": "how many shots were measured: one shot, 3 shots",
    "duration": "length of what the model sees: 7.5 seconds",
}
_BRACES = re.compile(r"(\{[^\W\d][\w -]{0,30}\})")  # not those of JSON and code
_NONCHARACTERS = re.compile("[\ufdd0\ufdd1]")
_VARIABLE = re.compile(rf"\{{({'|'.join(VARIABLES)})\}}")


@dataclass(frozen=True)
class Prompt:
    """A named instruction to the model. A built-in one can be copied but not changed."""

    name: str
    text: str
    builtin: bool = False


BUILTIN_PROMPTS = tuple(Prompt(name, text, builtin=True) for name, text in BUILTIN_TEXTS.items())


def split_variables(text: str) -> list[str]:
    """Split the text into alternating plain text and variable names: "A {name}." -> ["A ", "name", "."]."""
    return _VARIABLE.split(text)


def split_braces(text: str) -> list[str]:
    """Split text without variables into alternating plain text and words in braces, which look like variables."""
    return _BRACES.split(text)


def unknown_variables(text: str) -> list[str]:
    """Return one line for each word in braces that is not a variable, with the one that was meant, if any is close."""
    found = [word for part in split_variables(text)[0::2] for word in split_braces(part)[1::2]]
    lines = []
    for word in dict.fromkeys(found):
        close = difflib.get_close_matches(word[1:-1].strip().casefold(), VARIABLES, 1)
        meant = f" Did you mean {{{close[0]}}}?" if close else ""
        lines.append(f"{word} is not a variable; the model reads it as it is.{meant}")
    return lines


def expand(text: str, *, name: str, folder: str, trigger: str, existing: Callable[[], str]) -> str:
    """Return the text with its VARIABLES replaced; all other braces stay, also those in the values.

    `existing` is called only if the text contains {existing}. Lone surrogates, as in some file names, become "?".
    MEASURED_VARIABLES become marks, which `media.words.fill_measured` replaces once the frames are at hand.
    """
    values = {"name": lambda: name, "folder": lambda: folder, "trigger": lambda: trigger, "existing": existing}

    def value(match: re.Match[str]) -> str:
        variable = match[1]
        return LATER.format(variable) if variable in MEASURED_VARIABLES else _NONCHARACTERS.sub("", values[variable]())

    return sendable(_VARIABLE.sub(value, _NONCHARACTERS.sub("", text)))


class PromptLibrary:
    """Finds prompts and edits the user's own, whose names are unique regardless of case. Any thread may call.

    The file is read on every call and replaced on every change, so several programs may use it. Every method raises
    PromptError with one line; a damaged file is left as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def list(self) -> tuple[Prompt, ...]:
        """Return the built-in prompts, then the user's own in the order in which they were created."""
        return BUILTIN_PROMPTS + tuple(self._read())

    def get(self, name: str) -> Prompt:
        """Return the prompt of this name, regardless of case."""
        return _find(self.list(), name)

    def create(self, name: str, text: str) -> Prompt:
        """Add a prompt to the user's own."""
        with self._lock:
            own = self._read()
            prompt = Prompt(_new_name(name, own), _checked_text(text))
            self._write([*own, prompt])
        return prompt

    def replace(self, name: str, new_name: str | None, new_text: str | None) -> Prompt:
        """Change the name and the text of a prompt; None leaves one as it is."""
        with self._lock:
            own = self._read()
            old = _find_own(own, name)
            others = [prompt for prompt in own if prompt is not old]
            changed_name = old.name if new_name is None else _new_name(new_name, others)
            new = Prompt(changed_name, old.text if new_text is None else _checked_text(new_text))
            self._write([new if prompt is old else prompt for prompt in own])
        return new

    def duplicate(self, name: str, new_name: str = "") -> Prompt:
        """Copy any prompt to a new one named `new_name`, or else "<name> copy", "<name> copy 2", ..."""
        with self._lock:
            own = self._read()
            source = _find((*BUILTIN_PROMPTS, *own), name)
            copy = Prompt(_new_name(new_name or _free_name(f"{source.name} copy", _texts(own)), own), source.text)
            self._write([*own, copy])
        return copy

    def delete(self, name: str) -> None:
        """Remove one of the user's own prompts."""
        with self._lock:
            own = self._read()
            old = _find_own(own, name)
            self._write([prompt for prompt in own if prompt is not old])

    def export_json(self) -> str:
        """Return the user's own prompts as JSON text for `import_json`."""
        return _to_json(self._read())

    def import_json(self, text: str | bytes) -> tuple[Sequence[Prompt], Sequence[str]]:
        """Add prompts from the JSON of `export_json`; return those added, and one line for each that was not.

        An imported prompt whose name is taken gets a number, unless the text is the same; existing ones never change.
        """
        entries = _entries(text)
        added: list[Prompt] = []
        skipped: list[str] = []
        with self._lock:
            own = list(self._read())
            known = _texts(own)
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
            return _parse(read_json(self.path, MAX_FILE_BYTES))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PromptError(f"cannot read the prompts file {self.path}: {error.strerror}") from None
        except (ValueError, PromptError) as error:
            raise PromptError(f"the prompts file {self.path} is damaged ({error}); correct or remove it") from None

    def _write(self, own: Sequence[Prompt]) -> None:
        try:
            write_private(self.path, _to_json(own).encode())
        except OSError as error:
            raise PromptError(f"cannot write the prompts file {self.path}: {error.strerror}") from None


def _to_json(prompts: Sequence[Prompt]) -> str:
    entries = [{"name": prompt.name, "text": prompt.text} for prompt in prompts]
    return json.dumps(entries, indent=2, ensure_ascii=False) + "\n"


def _entries(text: str | bytes) -> list[object]:
    try:
        entries = parse_json(text)
    except ValueError as error:
        raise PromptError(f"not a JSON file of prompts: {error}") from None
    if not isinstance(entries, list):
        raise PromptError('not a JSON file of prompts: it has no list of {"name": ..., "text": ...}')
    return entries


def _imported(entry: object, known: Mapping[str, str], num_own: int) -> Prompt:
    """Return the prompt of an imported entry, with a free name. Raises PromptError if it is not to be added."""
    prompt = _from_json(entry)
    if num_own >= MAX_OWN_PROMPTS and known.get(prompt.name.casefold()) != prompt.text:
        raise PromptError(f"the library is full: it has {MAX_OWN_PROMPTS:,} prompts")
    return Prompt(_checked_name(_free_name(prompt.name, known, unless=prompt.text)), prompt.text)


def _parse(entries: object) -> list[Prompt]:
    """Return the user's prompts in the file. A name that a newer built-in prompt has taken gets a number."""
    if not isinstance(entries, list):
        raise PromptError("not a JSON list")
    prompts: list[Prompt] = []
    for prompt in map(_from_json, entries):
        prompts.append(Prompt(_free_name(prompt.name, _texts(prompts)), prompt.text))
    return prompts


def _from_json(entry: object) -> Prompt:
    fields = entry if isinstance(entry, dict) else {}
    name, text = fields.get("name"), fields.get("text")
    if len(fields) != 2 or not isinstance(name, str) or not isinstance(text, str):
        raise PromptError(f"each entry needs a name and a text, not {str(entry)[:60]!r}")
    return Prompt(_checked_name(name), _checked_text(text))


def _find(prompts: Sequence[Prompt], name: str) -> Prompt:
    key, known = name.strip().casefold(), {prompt.name.casefold(): prompt for prompt in prompts}
    if key in known:
        return known[key]
    close = " or ".join(known[match].name for match in difflib.get_close_matches(key, known))
    hint = f"did you mean {close}?" if close else f"there are {', '.join(prompt.name for prompt in prompts)}"
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
        raise PromptError(f"a prompt's name must be one line of at most {MAX_NAME_LENGTH} characters")
    return name


def _new_name(name: str, own: Sequence[Prompt]) -> str:
    name = _checked_name(name)
    for prompt in (*BUILTIN_PROMPTS, *own):
        if prompt.name.casefold() == name.casefold():
            raise PromptError(f"there is already a prompt {prompt.name!r}; choose another name")
    return name


def _texts(own: Sequence[Prompt]) -> dict[str, str]:
    return {prompt.name.casefold(): prompt.text for prompt in (*BUILTIN_PROMPTS, *own)}


def _free_name(name: str, known: Mapping[str, str], unless: str | None = None) -> str:
    """Return the name, with a number if it is known. Raises PromptError if one of them has the text `unless`."""
    number, free = 1, name
    while free.casefold() in known:
        if known[free.casefold()] == unless:
            raise PromptError(f"the library already has {free!r} with this text")
        number += 1
        free = f"{name} {number}"
    return free


def _checked_text(text: str) -> str:
    text = text.strip()
    if not text:
        raise PromptError("a prompt needs a text")
    if len(text) > MAX_TEXT_LENGTH:
        raise PromptError(f"a prompt's text must have at most {MAX_TEXT_LENGTH:,} characters")
    if sendable(text) != text:
        raise PromptError("a prompt's text contains an invalid character")
    return text
