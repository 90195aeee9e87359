"""The frozen values that flow from a folder to captions. Nothing here reads or writes files."""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

MediaKind = Literal["video", "image"]
KindFilter = Literal["all", "video", "image"]
ExistingPolicy = Literal["skip", "overwrite", "prefix", "append"]
Quantization = Literal["none", "8bit", "4bit"]
Span = tuple[float, float]  # start and end in seconds from the first frame; the end is excluded
SpanMode = Literal["none", "target", "head", "middle", "whole", "chunks"]

# Variables of prompts that are filled in when the frames are decoded, and the mark of one until then: noncharacters of
# Unicode, which no other text has.
MEASURED_VARIABLES = ("camera", "shots", "duration")
LATER = "\ufdd0{}\ufdd1"

# Bytes of one weight in a quantized layer. 4-bit is nf4 with double quantization: 4.127 bits (QLoRA paper, section 3).
QUANTIZED_BYTES: dict[Quantization, float] = {"8bit": 1.0, "4bit": 0.516}
MARK_TOKENS = 64  # room for the marks around thinking


@functools.lru_cache(maxsize=256)  # a job needs the paths of a file several times in a row
def _join(folder: Path, name: str) -> Path:
    return folder / name


class MediaItem(NamedTuple):
    """One media file of a scanned folder: a NamedTuple with a shared `folder`, as a scan may create 50,000 of them."""

    folder: Path  # the folder that holds the file
    filename: str
    name: str  # relative to the scanned folder, with "/" between parts; unique within a scan
    kind: MediaKind
    size_bytes: int
    modified_s: float  # POSIX time
    caption_name: str  # filename of its caption in the same folder, or the path of one elsewhere
    has_caption: bool  # a file of that name exists; it may be empty

    @property
    def path(self) -> Path:
        """The path of the file."""
        return _join(self.folder, self.filename)

    @property
    def scanned_folder(self) -> Path:
        """The folder that was scanned."""
        return self.path.parents[self.name.count("/")]

    @property
    def caption_path(self) -> Path:
        """The path of its caption file, which may not exist."""
        return _join(self.folder, self.caption_name)

    @property
    def caption_folder(self) -> Path:
        """The folder of its caption file, which may not exist."""
        return self.caption_path.parent if os.path.dirname(self.caption_name) else self.folder  # noqa: PTH120


@dataclass(frozen=True)
class Measured:
    """The measurements of a clip, made in sampled frames. Times are in seconds from the start of the clip."""

    camera: tuple[str, ...] = ()  # such as ("pan left", "zoom in"), or ("static",); () if it cannot be told
    cuts_s: tuple[float, ...] = ()  # one shot ends and the next begins
    freezes_s: tuple[Span, ...] = ()  # in which the picture stands still
    black_s: tuple[Span, ...] = ()
    light: str = ""  # "gets brighter" or "gets darker", of a static shot
    bars: tuple[float, float] = (0.0, 0.0)  # height of the upper black bar, width of the left one, in parts of all
    has_sound: bool | None = None  # there is a sound track, which may be silent
    step_s: float = 0.0  # the longest time from one of the frames to the next

    @property
    def num_shots(self) -> int:
        """One more than there are cuts."""
        return len(self.cuts_s) + 1


def measured_from(kept: Mapping[str, Any]) -> Measured:
    """Return measurements from their fields, whose tuples may have become lists."""
    return Measured(**{name: _as_tuples(value) for name, value in kept.items()})


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


@dataclass(frozen=True)
class MediaInfo:
    """The result of probing a media file. The size is in pixels as displayed."""

    width: int
    height: int
    duration_s: float  # 0 for a still
    fps: float  # mean frame rate of the clip; 0 for a still
    num_frames: int
    rotation: int  # degrees clockwise by which a player turns a video, after mirroring it if it does: 0, 90, 180 or 270
    codec: str
    has_sound: bool = False
    measured: Measured | None = None  # None: not yet


@dataclass(frozen=True)
class MediaFacts:
    """The facts about a media file. None is unknown: what depends on it is not checked."""

    duration_s: float | None = None  # of the part that was sampled
    cuts_s: tuple[float, ...] | None = None  # measured times at which one shot ends and the next begins
    has_sound: bool | None = None
    is_still: bool = False
    span_s: tuple[float, float] | None = None  # start and end of that part in the clip; None: the whole clip
    windows_s: tuple[tuple[float, float], ...] = ()  # all windows of the clip, if the plan asked for them
    measured: Measured | None = None  # in the frames of that part
    info: MediaInfo | None = None  # of the whole clip, as its file was decoded

    @property
    def is_silent(self) -> bool:
        """True if there is certainly nothing to hear."""
        return self.is_still or self.has_sound is False


UNKNOWN_FACTS = MediaFacts()


@dataclass(frozen=True)
class SamplePlan:
    """A rule for the frames to show the model: an even number, spread evenly over the clip, or a part of it."""

    max_frames: int = 32
    fps: float = 2.0
    min_frames: int = 8  # for short clips, if they have as many
    frame_size: int = 336  # longest side in pixels; both sides become multiples of 32
    span: SpanMode = "none"  # the part that a trainer takes, see media/spans
    span_frames: int = 0  # that it trains, at span_fps
    span_fps: float = 0.0
    window_s: tuple[float, float] | None = None  # the part to take instead, from start to end
    find_cuts: bool = False  # measure where its shots change
    windows: str = "none"  # take the first window of a clip, and find all: "scenes", or the seconds of each


@dataclass(frozen=True, eq=False)
class Frames:
    """Sampled frames in display order. A still has one frame."""

    pixels: np.ndarray  # uint8 (T, H, W, 3) RGB, H and W multiples of 32
    times_s: np.ndarray  # float64 (T,), seconds since the first frame of the part that was sampled
    indices: np.ndarray  # int64 (T,), indices of the frames in that part
    fps: float  # mean frame rate of the source; 0 for a still
    warning: str = ""  # one line if the file is damaged but usable
    facts: MediaFacts = UNKNOWN_FACTS
    start_s: float = 0.0  # time of that first frame in the clip

    @property
    def clip_times_s(self) -> np.ndarray:
        """The times of the frames in the clip, float64 (T,)."""
        return self.times_s + self.start_s

    @property
    def clock(self) -> tuple[float, list[int]]:
        """(rate, ticks) with ticks / rate = the time of each frame in seconds, for processors that take frame numbers.

        These are the source's frame rate and indices if the rate is constant, else milliseconds.
        """
        if self.fps and np.abs(self.indices / self.fps - self.times_s).max() < 0.5 / self.fps:
            return self.fps, self.indices.tolist()
        return 1000.0, np.rint(self.times_s * 1000).astype(int).tolist()


@dataclass(frozen=True)
class GenerationOptions:
    """How to generate a caption. temperature 0 is greedy; top_k 0, top_p 1 and penalties of 1 and 0 have no effect."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0  # for generated tokens only, not for those of the prompt
    seed: int = 0
    thinking_budget: int | None = None  # tokens; None: no thinking where the model can, else within max_new_tokens
    presence_penalty: float = 0.0  # taken from the logits of tokens that the caption has
    scores: bool = False  # no text: how likely the answer is yes or no, see engine/scoring

    @property
    def thinks(self) -> bool:
        """True if thinking is turned on."""
        return bool(self.thinking_budget)

    @property
    def max_tokens(self) -> int:
        """The most tokens that an answer can have, thinking included."""
        budget = self.thinking_budget
        return self.max_new_tokens + (0 if budget is None else budget + MARK_TOKENS)


@dataclass(frozen=True)
class CaptionRequest:
    """A request to caption one file. `id` is unique within the process."""

    id: int
    path: Path
    kind: MediaKind
    plan: SamplePlan
    prompt: str
    options: GenerationOptions
    max_tokens: int = 0  # prompt and new tokens of the job's longest request, for planning memory; 0: unknown
    within: tuple[Path, ...] | None = None  # folders that the file has to be in once links are followed; None: any
    measured: Measured | None = None  # what is known of the clip, so that it need not be measured once more


@dataclass(frozen=True)
class Caption:
    """A finished caption and how it was made."""

    text: str
    model: str
    prompt: str
    options: GenerationOptions
    frame_times_s: tuple[float, ...] = ()
    num_prompt_tokens: int = 0
    num_tokens: int = 0
    seconds: float = 0.0  # from submission to the last token, including media decoding
    device: str = ""
    warning: str = ""
    finish_reason: str = field(default="stop")  # "stop", or "length" if max_new_tokens cut it off
    thinking: str = ""  # what the model wrote before the caption
    adapter: str = ""  # the folder of the LoRA adapter that was merged into the model
    facts: MediaFacts = UNKNOWN_FACTS  # what a form of caption is checked against; not recorded


@dataclass(frozen=True)
class ModelSpec:
    """The options that determine a loaded model on one device. Equal specs can share one loaded model."""

    source: str  # Hub id "owner/name" or a local folder; on a server its name of the model, or "" for the only one
    device: str = "auto"  # "auto", "cpu", "mps", "cuda:0", ..., the address of a model server, or "ray:" and a cluster
    dtype: str = "auto"  # "auto", "bfloat16", "float16" or "float32"
    quantization: Quantization = "none"
    adapter: str = ""  # folder of a LoRA adapter that is merged into the model
    attention: str = "auto"  # "auto" or a name that transformers knows
    sage_attention: bool = False
    compile: bool = False
    batch_size: int = 0  # clips at a time; 0: as many as fit into memory
    decode_threads: int = 0  # 0: by the number of cores
    endpoint_key: str = ""  # the environment variable with the key of the model server; "": OPENAI_API_KEY
    ray_workers: int = 0  # in the cluster; 0: as many as it has room for
    ray_gpus: float = 1.0  # of each worker there; 0: it runs on CPUs
    ray_cpus: int = 1
    offline: bool = False  # nodes of a cluster download no model
    # Prompt and new tokens of the longest expected request, for planning memory; 0: unknown. It does not determine the
    # loaded model: an engine that gets a longer request makes a new plan.
    max_tokens: int = field(default=0, compare=False)


@dataclass(frozen=True)
class CapabilityReport:
    """A description of what a loaded model runs on, for the page and the log."""

    device: str
    rows: tuple[tuple[str, str], ...]  # (label, text), in display order
