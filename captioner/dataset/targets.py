"""The models that captions are written for: what follows from each for its clips and captions (targets.toml)."""

import difflib
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from captioner.dataset.forms import Form, form
from captioner.errors import SettingsError


@dataclass(frozen=True)
class FrameRule:
    """The frame counts that a target can train: step * n + remainder."""

    step: int
    remainder: int
    default: int
    minimum: int = 1
    maximum: int | None = None

    def allows(self, count: int) -> bool:
        """Return whether a clip of so many frames can be trained whole."""
        is_inside = self.minimum <= count <= (count if self.maximum is None else self.maximum)
        return is_inside and count % self.step == self.remainder % self.step

    def fit(self, count: int) -> int | None:
        """Return the largest allowed count that a clip of so many frames fills; None if it is too short."""
        most = count if self.maximum is None else min(count, self.maximum)
        largest = most - (most - self.remainder) % self.step
        return largest if largest >= self.minimum else None

    def __str__(self) -> str:
        most = f" to {self.maximum}" if self.maximum else ""
        span = f", {self.minimum}{most or ' and more'}" if self.minimum > 1 or self.maximum else ""
        return f"{self.step}n+{self.remainder}{span}, mostly {self.default}"


@dataclass(frozen=True)
class Target:
    """One model that captions are written for. source: where the numbers come from."""

    name: str
    title: str
    kind: Literal["video", "image"]
    fps: float | None = None  # to which the trainer resamples; None: as the file is
    frames: FrameRule | None = None
    size_multiple: int = 1  # both sides in pixels
    form: str = "paragraph"
    token_limit: int | None = None
    tokenizer: str = ""  # Hub repository, or repository:folder; "": unknown
    prompt: str = ""  # name of the built-in prompt; "": the one of the settings
    sound: bool = False  # the model trains sound too
    source: str = ""

    @property
    def caption_form(self) -> Form:
        """The form of its captions."""
        return form(self.form)


@functools.cache
def targets() -> Mapping[str, Target]:
    """Return all targets by name in the order of the file; "none" is the first."""
    rows = tomllib.loads(files(__package__).joinpath("targets.toml").read_text(encoding="utf-8"))
    return MappingProxyType({name: _target(name, row) for name, row in rows.items()})


def target(name: str) -> Target:
    """Return the target of this name, in any case. Raises SettingsError with the known names."""
    known, key = targets(), name.strip().lower()
    if key in known:
        return known[key]
    close = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    raise SettingsError(f"there is no target {name!r}; {hint}")


def _target(name: str, row: dict[str, Any]) -> Target:
    frames = row.pop("frames", None)
    return Target(name, frames=frames and FrameRule(**frames), **row)
