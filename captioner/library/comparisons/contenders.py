"""Contenders: from what a user writes to settings, and from the winner back to the settings of the app."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from captioner.config.prompts import PromptLibrary
from captioner.config.servers import choose_model
from captioner.config.settings import Settings, resolve
from captioner.dataset.targets import chosen_target, prompt_name
from captioner.errors import PromptError, SettingsError
from captioner.library.comparisons.comparison import MAX_CONTENDERS, MIN_CONTENDERS, Contender
from captioner.system.resources import largest_vram_gb
from captioner.system.roots import EVERYWHERE, Roots

COMPARABLE = (
    "model", "adapter", "quantization", "dtype", "target", "caption_form", "span", "fps", "max_frames", "frame_size",
    "prompt_name", "prompt", "max_new_tokens", "thinking_budget", "temperature", "top_p", "top_k",
    "repetition_penalty", "seed",
)  # fmt: skip
MAX_NAME_LENGTH = 60
AS_SET = "Current settings"


def parse_values(text: str) -> dict[str, str]:
    """Return the settings of a text such as "prompt_name=Short temperature=0.7", quoted as in a shell."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise SettingsError(f"{text}: a quotation mark is not closed") from None
    values = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise SettingsError(f'{word}: write SETTING=VALUE, for example temperature=0.7 or prompt="Say it briefly."')
        values[name.strip()] = value
    return values


def new_contenders(
    given: Sequence[Mapping[str, Any]], settings: Settings, prompts: PromptLibrary, roots: Roots = EVERYWHERE
) -> tuple[Contender, ...]:
    """Return contenders from what each sets apart from the settings; "name" is its name, made up if it is empty.

    Raise SettingsError, ModelError, PromptError and FolderError for what cannot be had.
    """
    if not MIN_CONTENDERS <= len(given) <= MAX_CONTENDERS:
        raise SettingsError(f"compare {MIN_CONTENDERS} to {MAX_CONTENDERS} contenders, not {len(given)}")
    contenders: list[Contender] = []
    for values in given:
        changes = {name: value for name, value in values.items() if name != "name"}
        contender = _contender(str(values.get("name") or "").strip(), changes, settings, prompts, roots)
        for other in contenders:
            if (other.chosen, other.prompt) == (contender.chosen, contender.prompt):
                raise SettingsError(f"{other.name} and {contender.name} have the same settings")
            if other.name == contender.name:
                raise SettingsError(f"two contenders are named {other.name}; give them different names")
        contenders.append(contender)
    return tuple(contenders)


def _contender(
    name: str, changes: Mapping[str, Any], settings: Settings, prompts: PromptLibrary, roots: Roots
) -> Contender:
    for setting in changes:
        if setting in Settings.model_fields and setting not in COMPARABLE:
            raise SettingsError(f"{setting} cannot be compared; these settings can: {', '.join(COMPARABLE)}")
    if "prompt_name" in changes:
        changes = {"prompt": "", **changes}  # which would outrank it
    changed = resolve({}, {}, {**_cleared(settings, changes), **changes})
    if changed.adapter:
        path = changed.adapter.absolute()
        if roots.confined and changed.adapter != settings.adapter:
            path = roots.resolve(path)
        changed = changed.model_copy(update={"adapter": path})
    choose_model(changed, changed.model, largest_vram_gb(), EVERYWHERE if changed.model == settings.model else roots)
    chosen_target(changed)
    text = (changed.prompt or prompts.get(prompt_name(changed)).text).strip()
    values = {setting: _plain(getattr(changed, setting)) for setting in COMPARABLE}
    name = name or _made_up_name(changes) or AS_SET
    if len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise SettingsError(f"a contender's name must be one line of at most {MAX_NAME_LENGTH} characters")
    return Contender(name, values, text)


def _cleared(settings: Settings, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.model_dump().items() if name not in changes}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _made_up_name(changes: Mapping[str, Any]) -> str:
    """Return a name that says what is set: "qwen3-vl-8b, Short, temperature 0.7"."""
    parts = []
    for setting, value in changes.items():
        if str(value).strip():
            plain = setting in ("model", "prompt_name", "prompt")
            parts.append(str(value).strip() if plain else f"{setting.replace('_', ' ')} {value}")
    name = " ".join(", ".join(parts).split())
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…"


def settings_of(contender: Contender, settings: Settings) -> Settings:
    """Return the settings with those of a contender. Raise SettingsError."""
    return resolve({}, {}, {**_cleared(settings, contender.chosen), **contender.chosen})


def changes_to_use(contender: Contender, settings: Settings, prompts: PromptLibrary) -> dict[str, Any]:
    """Return the settings to change so that the next job captions as the contender did.

    The text of its prompt becomes a setting if the library no longer holds it under the same name. Raise SettingsError.
    """
    wanted = settings_of(contender, settings)
    changes = {name: getattr(wanted, name) for name in COMPARABLE if getattr(wanted, name) != getattr(settings, name)}
    try:
        text = wanted.prompt or prompts.get(prompt_name(wanted)).text
    except PromptError:
        text = ""
    return changes if text.strip() == contender.prompt else {**changes, "prompt": contender.prompt}
