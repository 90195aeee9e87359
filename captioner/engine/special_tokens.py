"""The special tokens of a model, read from the files of its tokenizer. Needs no torch and no transformers."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from captioner.engine.model_files import read_json

_MEDIA = ("image_token", "video_token", "audio_token", "boi_token", "eoi_token")


def is_mark(token: str) -> bool:
    """Return True for a token such as <|im_end|>, <image> or [INST], and False for one that is plain text, such as !"""
    return len(token) > 2 and token[0] in "<[◁｜|{" and any(map(str.isalnum, token))


def find_special(text: str, special: Collection[str]) -> str:
    """Return the special token that occurs first in the text, the longest of those at one place, or ""."""
    found = [(text.index(token), -len(token), token) for token in special if token in text]
    return min(found)[2] if found else ""


def stored_special_tokens(folder: Path) -> frozenset[str]:
    """Return the special tokens of the model in the folder; files that are missing or damaged count as empty."""
    added = _read(folder / "tokenizer.json").get("added_tokens")
    config = _read(folder / "tokenizer_config.json")
    decoder = config.get("added_tokens_decoder")
    entries = [*(added if isinstance(added, list) else []), *(decoder.values() if isinstance(decoder, dict) else [])]
    tokens = [entry.get("content") for entry in entries if isinstance(entry, dict) and entry.get("special")]
    for values in (config, _read(folder / "special_tokens_map.json"), _read(folder / "processor_config.json")):
        tokens += _named(values)
    return frozenset(token for token in tokens if isinstance(token, str) and is_mark(token))


def _named(values: dict[str, Any]) -> Iterator[Any]:
    """Yield the tokens that a file names: bos_token, image_token, additional_special_tokens and others."""
    for name, value in values.items():
        if name in ("additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens"):
            yield from map(_content, value.values() if isinstance(value, dict) else _as_list(value))
        elif (
            name.endswith(("bos_token", "eos_token", "pad_token", "unk_token", "mask_token", "sep_token", "cls_token"))
            or name in _MEDIA
        ):
            yield _content(value)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _read(file: Path) -> dict[str, Any]:
    try:
        found = read_json(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
