"""The JSON files of a model folder, read with limits, and the names in them that transformers would follow too far.

transformers looks up classes by the names in these files, opens the files they name, and runs the kernels of the Hub
that they name as code. Needs no torch.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from captioner.errors import ModelError
from captioner.system.regular_file import read_regular

MAX_BYTES = 64_000_000  # a tokenizer of 260,000 tokens has 35 MB
MAX_CONFIG_BYTES = 10_000_000
CONFIGS, PROCESSORS = "*config*.json", "*processor_config.json"
_SIZES = {CONFIGS: MAX_CONFIG_BYTES, "*.json": MAX_BYTES, "*.txt": MAX_BYTES, "*.model": MAX_BYTES}
_SIZES |= {"*.jinja": MAX_CONFIG_BYTES, "*/*.jinja": MAX_CONFIG_BYTES}

_ATTENTION = re.compile(r"[\w|]*")  # a / makes it a repository
_CLASS = r"(?!Auto)\w*"
# The fields that transformers follows, and what they may be.
_FIELDS = {
    "attn_implementation": _ATTENTION,
    "_attn_implementation": _ATTENTION,
    "_attn_implementation_internal": _ATTENTION,
    "experts_implementation": _ATTENTION,
    "_experts_implementation": _ATTENTION,
    "_experts_implementation_internal": _ATTENTION,
    "processor_class": re.compile(_CLASS + "Processor"),
    "tokenizer_class": re.compile(_CLASS + "(Tokenizer(Fast)?|Backend)"),
    "image_processor_type": re.compile(_CLASS + r"(ImageProcessor\w*|FeatureExtractor)"),
    "video_processor_type": re.compile(_CLASS + r"VideoProcessor\w*"),
    "feature_extractor_type": re.compile(_CLASS + r"(FeatureExtractor|ImageProcessor|Processor)\w*"),
    "configuration_files": re.compile(r"[\w.-]+\.json"),
    "fast_tokenizer_files": re.compile(r"[\w.-]+\.json"),
    "transformers_weights": re.compile(r"model\.safetensors(\.index\.json)?"),
}


def read_json(path: Path, max_bytes: int = MAX_BYTES, pairs_hook: Callable[[list], Any] | None = None) -> Any:
    """Return the value of a JSON file. Raise OSError, and ValueError with one line."""
    data = read_regular(path, max_bytes)
    try:
        return json.loads(data, object_pairs_hook=pairs_hook)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def check_files(folder: Path) -> None:
    """Raise ModelError with one line if a file of the model is too large, or names what must not be followed."""
    for pattern, max_bytes in _SIZES.items():
        for path in folder.glob(pattern):
            if path.is_file() and path.stat().st_size > max_bytes:
                raise ModelError(f"{path} is larger than {max_bytes // 1_000_000} MB; download the model again")
    for path in sorted(folder.glob(CONFIGS)):
        if path.is_file():
            _check_names(path)


def _check_names(path: Path) -> None:
    try:
        config = read_json(path, MAX_CONFIG_BYTES)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}; download the model again") from None
    for field, name in _texts(config):
        if field in _FIELDS and not _FIELDS[field].fullmatch(name):
            raise ModelError(f"{path} has the {field} {name[:100]!r}, which is not allowed; choose another model")
        if path.match(PROCESSORS) and "/" in name.replace("\\", "/") and _is_file_outside(path.parent, name):
            raise ModelError(f"{path} names the file {name[:100]!r} outside the folder; choose another model")


def _is_file_outside(folder: Path, name: str) -> bool:
    path = os.path.normpath(folder / name)
    return os.path.isfile(path) and folder not in Path(path).parents  # noqa: PTH113 - any text can be given


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """Yield all texts at any depth, each with the field of _FIELDS that it is in, or ""."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        field, value = waiting.pop()
        if isinstance(value, str):
            yield field, value
        elif isinstance(value, list):
            waiting += [(field, each) for each in value]
        elif isinstance(value, dict):
            waiting += [(key if key in _FIELDS else field, each) for key, each in value.items()]
