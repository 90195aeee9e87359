"""The models that captions are written for: what follows from each for its clips and captions (targets.toml)."""

import difflib
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from captioner.config.settings import AUTO, Settings
from captioner.dataset.forms import Form, form
from captioner.errors import SettingsError

DEFAULT_PROMPT = "Detailed"


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

    @property
    def summary(self) -> str:
        """One line of what follows from the target: "16 fps, 4n+1 frames, one paragraph, 512 tokens"."""
        frames = f"{self.frames.step}n+{self.frames.remainder} frames" if self.frames else ""
        tokens = f"{self.token_limit:,} tokens" if self.token_limit else ""
        form = self.caption_form.title
        parts = (f"{self.fps:g} fps" if self.fps else "", frames, f"{form[0].lower()}{form[1:]}", tokens)
        return ", ".join(filter(None, parts))

    def facts(self) -> list[tuple[str, str]]:
        """Return what follows from the target as (label, text), for people."""
        form, unit = self.caption_form, "frames per second"
        fields = ", ".join(form.fields) if len(form.fields) > 1 else ""
        tokens = "" if self.token_limit is None else f"at most {self.token_limit:,} tokens"
        rows = [
            ("target", self.title),
            ("trains", "images" if self.kind == "image" else "clips with sound" if self.sound else "clips"),
            ("frame rate", f"{self.fps:g} {unit}" if self.fps else ""),
            ("frames", str(self.frames or "")),
            ("sizes", f"multiples of {self.size_multiple} pixels" if self.size_multiple > 1 else ""),
            ("caption", f"{form.title}, {'one line' if form.is_one_line else 'several lines'}"),
            ("fields", fields),
            ("length", tokens),
            ("tokenizer", self.tokenizer),
            ("prompt", self.prompt),
            ("source", self.source),
        ]
        return [row for row in rows if row[1]]


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


def chosen_target(settings: Settings) -> Target:
    """Return the target of the settings with what the user chose instead. Raises SettingsError for an unknown name."""
    chosen = target(settings.target)
    if settings.caption_form != "auto":
        chosen = replace(chosen, form=settings.caption_form)
    if settings.token_limit is not None:
        chosen = replace(chosen, token_limit=settings.token_limit or None)
    if settings.target_fps is not None:
        chosen = replace(chosen, fps=settings.target_fps)
    if settings.target_frames is not None:
        rule = chosen.frames or FrameRule(1, 0, settings.target_frames)
        chosen = replace(chosen, frames=replace(rule, default=settings.target_frames))
    return chosen


def prompt_name(settings: Settings) -> str:
    """Return the name of the prompt that the settings use: their own, or the target's, or else "Detailed"."""
    if settings.prompt_name.strip().lower() != AUTO:
        return settings.prompt_name
    return target(settings.target).prompt or DEFAULT_PROMPT


def _target(name: str, row: dict[str, Any]) -> Target:
    frames = row.pop("frames", None)
    return Target(name, frames=frames and FrameRule(**frames), **row)


NO_TARGET = target("none")
