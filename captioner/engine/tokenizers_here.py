"""Counts the tokens of texts with a tokenizer whose file is on this machine. Never uses the network."""

import functools
from pathlib import Path

from huggingface_hub import errors, try_to_load_from_cache
from tokenizers import Tokenizer

FILE = "tokenizer.json"


def find_tokenizer(source: str, cache: Path | None = None) -> Path | None:
    """Return the tokenizer.json of a Hub repository or repository:folder in the Hub's cache, or of a local folder.

    None if there is none. cache: the folder of downloaded models, if it is not the Hub's own.
    """
    repository, _, folder = source.partition(":")
    if not source:
        return None
    if (local := Path(source) / FILE).is_file():
        return local
    try:
        found = try_to_load_from_cache(repository, f"{folder}/{FILE}" if folder else FILE, cache_dir=cache)
    except errors.HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def count_tokens(file: Path, text: str) -> int | None:
    """Return the tokens of a text without those that mark its start and end; None if the file cannot be used."""
    tokenizer = _load(file)
    return None if tokenizer is None else len(tokenizer.encode(text, add_special_tokens=False).ids)


@functools.lru_cache(maxsize=4)
def _load(file: Path) -> Tokenizer | None:
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:
        return None
    tokenizer.no_truncation()
    return tokenizer
