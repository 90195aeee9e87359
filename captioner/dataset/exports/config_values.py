"""The parts of a trainer's configuration: the numbers of the target, and the folders of the files."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from captioner.dataset.targets import NO_TARGET, Target
from captioner.errors import CaptionerError
from captioner.values import MediaKind

CLIP_SIZE, H3_SIZE, IMAGE_SIZE = (960, 544), (1344, 768), (1024, 1024)


@dataclass(frozen=True)
class ConfigValues:
    """The values of one configuration. Paths are absolute: trainers resolve others where they are started."""

    target: Target
    to: Path  # the folder of the configuration
    folders: Mapping[MediaKind, tuple[Path, ...]]  # of the files that are trained; only kinds that there are
    caption_extension: str
    special: Mapping[str, Any]  # the row of models.toml
    source: str
    rates: tuple[float, ...] = (0.0,)  # of the lists of clips; 0: as the model has it, or unknown

    @property
    def num_frames(self) -> int:
        """The frames of a clip that are trained; 1 for an image model."""
        frames = self.target.frames.default if self.target.frames else 1
        return max(1, frames - frames % self.special.get("step", 1))

    @property
    def size(self) -> tuple[int, int]:
        """The width and height to train at, as multiples of what the target needs."""
        size = IMAGE_SIZE if "video" not in self.folders else H3_SIZE if self.target.form == "h3" else CLIP_SIZE
        multiple = self.target.size_multiple
        return size[0] // multiple * multiple, size[1] // multiple * multiple

    @property
    def all_folders(self) -> list[Path]:
        """The folders of all kinds, each once."""
        return list(dict.fromkeys(folder for folders in self.folders.values() for folder in folders))

    def path(self, name: str) -> str:
        """Return the absolute path of a file or folder beside the configuration."""
        return str(self.to / name)


def list_name(kind: MediaKind, rate: float = 0.0) -> str:
    """Return the name of a list without extension: "videos", or "videos-29.97" for clips of such a rate."""
    return f"{kind}s-{rate:g}" if rate else f"{kind}s"


def special_of(trainer: str, target: Target) -> tuple[Mapping[str, Any], str]:
    """Return the row of models.toml and its source. Raise CaptionerError if the trainer does not train the target."""
    table = _models()[trainer]
    if target.name not in table["targets"]:
        names = ", ".join(table["targets"])
        is_none = target.name == NO_TARGET.name
        problem = "name the model with --target" if is_none else f"{trainer} does not train {target.name}"
        raise CaptionerError(f"{problem}; choose one of {names}")
    return table["targets"][target.name], table["source"]


@functools.cache
def _models() -> Mapping[str, Any]:
    return tomllib.loads((files(__package__) / "models.toml").read_text(encoding="utf-8"))
