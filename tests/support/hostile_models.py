"""Model folders made to run code, to download, to ask, or to read other files: the demo model with small changes.

Each file of code and each pickle would create the file named by `marker()` if it ran.
"""

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captioner.cli.bench.models import DEMO_FOLDER

MARKER = "this-ran"
CONFIGS = ("config.json", "processor_config.json", "tokenizer_config.json", "generation_config.json")
CODE = "import pathlib\npathlib.Path({!r}).touch()\nclass X:\n    pass\n"
AUTO = ("Config", "Model", "ModelForImageTextToText", "ModelForCausalLM", "Tokenizer", "Processor", "ImageProcessor",
        "VideoProcessor", "FeatureExtractor")  # fmt: skip

Change = Callable[[Path], None]


def marker(folder: Path) -> Path:
    """Return the file that shows that something of the model in the folder has run."""
    return folder.parent / MARKER


class _Pickle:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


def make(parent: Path, *changes: Change) -> Path:
    """Return a new folder "model" with the demo model, code of every usual name, and then the changes."""
    folder = Path(shutil.copytree(DEMO_FOLDER, parent / "model"))
    code = CODE.format(str(marker(folder)))
    for name in ("code", "modeling", "configuration", "tokenization", "processing", "__init__", "generate", "setup"):
        (folder / f"{name}.py").write_text(code)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(code)
    (folder / "requirements.txt").write_text("no-such-package-at-all>=99\n")
    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "optimizer.pt", ".metadata", "x.pkl"):
        (folder / name).write_bytes(pickle.dumps(_Pickle(marker(folder))))
    for change in changes:
        change(folder)
    return folder


def put(name: str, *keys: str, **values: Any) -> Change:
    """Return a change that sets values in the object under `keys` of a JSON file, which is made if it is missing."""

    def change(folder: Path) -> None:
        path = folder / name
        whole = json.loads(path.read_text()) if path.is_file() else {}
        part = whole
        for key in keys:
            part = part.setdefault(key, {})
        part.update(values)
        path.write_text(json.dumps(whole))

    return change


def everywhere(**values: Any) -> Change:
    """Return a change that sets values in every JSON file of settings."""

    def change(folder: Path) -> None:
        for name in (*CONFIGS, "preprocessor_config.json", "video_preprocessor_config.json"):
            put(name, **values)(folder)

    return change


def drop(name: str, *fields: str) -> Change:
    """Return a change that removes a file, or fields of a JSON file."""

    def change(folder: Path) -> None:
        if not fields:
            (folder / name).unlink()
            return
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({key: value for key, value in values.items() if key not in fields}))

    return change


def write(name: str, data: str | bytes) -> Change:
    """Return a change that writes a file."""

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)

    return change


def link(name: str, target: str) -> Change:
    """Return a change that replaces a file by a link."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def pipe(name: str) -> Change:
    """Return a change that replaces a file by a named pipe into which nobody writes."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def auto_map(reference: str = "code.X") -> Change:
    """Return a change that names code for every class in every file, as a pair for tokenizers."""
    names = {f"Auto{name}": [reference, reference] if name == "Tokenizer" else reference for name in AUTO}
    return everywhere(auto_map=names)


def index(files: Any, keep_single: bool = False) -> Change:
    """Return a change to an index file that says that the weights are in these files, in turn."""

    def change(folder: Path) -> None:
        single = folder / "model.safetensors"
        data = single.read_bytes()
        header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
        if not keep_single:
            single.rename(folder / "part.safetensors")
            shutil.copy(folder / "part.safetensors", folder.parent / "outside.safetensors")
        names = [name for name in header if name != "__metadata__"]
        weight_map = {name: files[i % len(files)] for i, name in enumerate(names)} if isinstance(files, list) else files
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    return change
