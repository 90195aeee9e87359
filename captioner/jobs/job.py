"""A job, and the request it makes for each item."""

import itertools
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from captioner.captions.text import Decoration
from captioner.config.prompts import expand
from captioner.values import CaptionRequest, ExistingPolicy, GenerationOptions, MediaItem, ModelSpec, SamplePlan

FindModel = Callable[[Callable[[int, int], None]], Path]  # on_bytes(done, total) -> folder of the model's files


@dataclass(frozen=True)
class Model:
    """A model to load: its name for people, how to find its files, and one spec for each replica."""

    name: str
    find: FindModel
    specs: tuple[ModelSpec, ...]


@dataclass(frozen=True)
class Job:
    """The files to caption and how: a copy of the settings at the start of the job."""

    items: tuple[MediaItem, ...]
    model: Model
    prompt: str  # its variables are filled in for each item at its turn
    plan: SamplePlan = field(default_factory=SamplePlan)
    options: GenerationOptions = field(default_factory=GenerationOptions)
    existing: ExistingPolicy = "skip"
    decoration: Decoration = field(default_factory=Decoration)
    save: bool = True  # False: captions are only emitted as events
    consent: bool = False  # the user chose these very files: replace also captions that were changed outside

    def request(self, item: MediaItem, read_caption: Callable[[Path], str]) -> CaptionRequest:
        """Return the request for an item, with the item's own seed. Raise CaptionError from `read_caption`."""
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


_request_ids = itertools.count(1)
