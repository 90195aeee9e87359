"""What a job is, what a replica is asked for one of its items, and whom a run tells how its items fare."""

import itertools
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from captioner.captions.store import Written
from captioner.captions.text import Decoration
from captioner.config.prompts import expand
from captioner.values import CaptionRequest, ExistingPolicy, GenerationOptions, MediaItem, ModelSpec, SamplePlan

FindModel = Callable[[Callable[[int, int], None]], Path]  # on_bytes(done, total) -> folder of the model's files


@dataclass(frozen=True)
class Model:
    """What to load: a name for people, how to find the files, one spec a replica."""

    name: str
    find: FindModel
    specs: tuple[ModelSpec, ...]


@dataclass(frozen=True)
class Job:
    """What to caption and how; a copy of the settings at the moment of the start."""

    items: tuple[MediaItem, ...]
    model: Model
    prompt: str  # its variables are filled in for each item when its turn comes
    plan: SamplePlan = field(default_factory=SamplePlan)
    options: GenerationOptions = field(default_factory=GenerationOptions)
    existing: ExistingPolicy = "skip"
    decoration: Decoration = field(default_factory=Decoration)
    save: bool = True  # False: a try; captions become events, and nothing is kept of them
    consent: bool = False  # the user chose these very files: also those whose captions were changed outside

    def request(self, item: MediaItem, read_caption: Callable[[Path], str]) -> CaptionRequest:
        """What to ask for this item, with a seed of its own. Raises CaptionError from `read_caption`."""
        prompt = expand(
            self.prompt,
            name=Path(item.filename).stem,
            folder=item.folder.name,
            trigger=self.decoration.trigger,
            existing=lambda: read_caption(item.caption_path),
        )
        seed = (self.options.seed ^ zlib.crc32(item.name.encode("utf-8", "surrogateescape"))) & 0x7FFFFFFF
        options = replace(self.options, seed=seed)
        longest = max((spec.max_tokens for spec in self.model.specs), default=0)
        return CaptionRequest(next(_request_ids), item.path, item.kind, self.plan, prompt, options, longest)


class Recorder(Protocol):
    """Keeps how each item of a run fares. Called in the thread that runs the job; every method may raise StateError."""

    def started(self, item: MediaItem, replica: str) -> None: ...

    def done(self, item: MediaItem, written: Written, replica: str) -> None:
        """The caption file holds `written.text`."""

    def skipped(self, item: MediaItem, reason: str) -> None: ...

    def failed(self, item: MediaItem, reason: str) -> None: ...

    def given_back(self, item: MediaItem, losses: int) -> None:
        """Its replica was lost, and it will be tried again. losses: of replicas, so far, that it may have caused."""


_request_ids = itertools.count(1)
