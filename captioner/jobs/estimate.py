"""Estimates a job before it starts: how many files, how many tokens, how long.

Tokens are counted as the released Qwen3-VL models count them; for other families they are a rough guide.
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.errors import MediaError
from captioner.formatting import duration, plural
from captioner.jobs.throughput import Throughput
from captioner.media.probe import probe
from captioner.media.sample import SIZE_STEP, fit_size, frame_count
from captioner.media.spans import part_of, plans_of, windows
from captioner.media.words import longest_filled
from captioner.values import GenerationOptions, MediaInfo, MediaItem, MediaKind, SamplePlan

Examine = Callable[[Path, MediaKind], MediaInfo]

# How many files to open at most, and for how long; the others are assumed to be like them.
MAX_PROBES = 200
PROBE_BUDGET_S = 20.0

# One token stands for 32 x 32 pixels of an image, or of two frames of a clip. The processor keeps the pixels of a file
# within these bounds (the released preprocessor_config.json).
CLIP_PIXELS = (4_096, 25_165_824)
IMAGE_PIXELS = (65_536, 16_777_216)

MAX_TOKENS_ENLARGED = 128  # of an image of the most extreme shape, enlarged to 64 tokens, each side rounded up
TIME_TOKENS = 10  # "<12.5 seconds>" and the marks around a pair of frames
MAX_TIME_TOKENS = 12  # after the first quarter of an hour
CHARACTERS_PER_TOKEN = 4  # of a prompt in English
CHAT_TOKENS = 12  # the roles and marks around a prompt
SCENE_S = 5.0  # usual length
MAX_CHAT_TOKENS = 64  # the same, with whatever a chat template adds


@dataclass(frozen=True)
class FileTokens:
    """The tokens that one file adds to a prompt."""

    visual: int
    times: int  # the text between the frames
    num_requests: int = 1  # one for each window, and one for the whole


@dataclass(frozen=True)
class RunEstimate:
    """The estimate of a job. Token counts are extrapolated if only some of the files were opened."""

    num_clips: int  # files to caption, by kind; an animated image counts as a still
    num_stills: int
    num_left_alone: int  # chosen files that are skipped
    num_probed: int  # files that were opened
    num_unreadable: int  # of those
    num_visual_tokens: int  # of all files
    median_visual_tokens: int  # per file
    longest_visual_tokens: int
    num_prompt_tokens: int  # of all files, visual tokens included
    max_tokens: int  # upper limit for one request, caption included, whatever the file
    throughput: Throughput | None  # None: not measured yet
    num_new_tokens: int = 0  # of all captions, if they get as long as earlier ones; 0 without a measurement

    @property
    def num_files(self) -> int:
        """The number of files to caption."""
        return self.num_clips + self.num_stills

    @property
    def seconds(self) -> float | None:
        """The time without loading the model; None if its speed is unknown."""
        speed = self.throughput
        return (self.num_prompt_tokens + self.num_new_tokens) / speed.tokens_per_s if speed else None

    def summary(self) -> str:
        """Return the estimate as one line of text."""
        if not self.num_files:
            return "nothing to caption"
        kinds = (("clip", self.num_clips), ("image", self.num_stills))
        parts = [" and ".join(plural(count, noun) for noun, count in kinds if count)]
        if self.num_unreadable:
            parts.append(f"{self.num_unreadable:,} of {self.num_probed:,} cannot be read")
        if self.num_visual_tokens:
            parts.append(f"about {_rounded(self.num_visual_tokens)} visual tokens")
            if self.num_probed < self.num_files:
                parts[-1] += f" (from {self.num_probed:,} of {self.num_files:,} files)"
            parts.append(self._time_text())
        return ", ".join(parts)

    def _time_text(self) -> str:
        speed = self.throughput
        if speed is None:
            return "time unknown until this model has captioned a first file"
        measured = f"prompts and captions, measured over {plural(speed.num_captions, 'caption')}"
        return f"about {duration(self.seconds or 0)} at {speed.tokens_per_s:,.0f} tokens/s ({measured})"


def estimate_run(
    items: Sequence[MediaItem],
    num_left_alone: int,
    plan: SamplePlan,
    prompt: str,
    options: GenerationOptions,
    throughput: Throughput | None,
    budget_s: float = PROBE_BUDGET_S,
    examine: Examine = probe,
) -> RunEstimate:
    """Return the estimate for captioning `items`. Opens up to MAX_PROBES of them, for about `budget_s` seconds.

    Files that cannot be read are counted; nothing is raised for them. The time counts prompt tokens and new tokens
    alike, as if prompts and captions were as long as when the speed was measured; longer prompts take less, since a GPU
    reads faster than it writes.
    """
    found, num_probed = _sample_files(items, plan, budget_s, examine)
    num_readable = len(items) * len(found) / num_probed if num_probed else 0
    share = num_readable / len(found) if found else 0
    visual = [tokens.visual for tokens in found]
    text = math.ceil(len(longest_filled(prompt)) / CHARACTERS_PER_TOKEN) + CHAT_TOKENS
    read = sum(visual) + sum(tokens.times + tokens.num_requests * text for tokens in found)
    requests = sum(tokens.num_requests for tokens in found) * share
    new = min(throughput.new_tokens_per_caption, options.max_new_tokens) if throughput else 0
    num_clips = sum(item.kind == "video" for item in items)
    return RunEstimate(
        num_clips=num_clips,
        num_stills=len(items) - num_clips,
        num_left_alone=num_left_alone,
        num_probed=num_probed,
        num_unreadable=num_probed - len(found),
        num_visual_tokens=round(sum(visual) * share),
        median_visual_tokens=round(statistics.median(visual)) if visual else 0,
        longest_visual_tokens=max(visual, default=0),
        num_prompt_tokens=round(read * share),
        max_tokens=longest_request(plan, prompt, options),
        throughput=throughput,
        num_new_tokens=round(new * requests),
    )


def _sample_files(
    items: Sequence[MediaItem], plan: SamplePlan, budget_s: float, examine: Examine
) -> tuple[list[FileTokens], int]:
    """Return the tokens of the files that could be read, and how many files were tried, at least one."""
    generator = random.Random(0)
    numbers = spread(len(items), min(len(items), MAX_PROBES), generator)
    generator.shuffle(numbers)  # so that the files tried within the time are spread as well
    found: list[FileTokens] = []
    tried, deadline = 0, time.monotonic() + budget_s
    for number in numbers:
        if tried and time.monotonic() > deadline:
            break
        tried += 1
        try:
            found.append(file_tokens(examine(items[number].path, items[number].kind), plan))
        except MediaError:
            continue
    return found, tried


def spread(total: int, count: int, generator: random.Random) -> list[int]:
    """Return `count` numbers below `total`, in order: one from each of equal stretches, since names repeat in patterns.

    This is a stratified random sample.
    """
    return [int((stretch + generator.random()) * total / count) for stretch in range(count)]


def file_tokens(info: MediaInfo, plan: SamplePlan) -> FileTokens:
    """Return the tokens of a file as `media.sample` samples it: one frame is an image, more are pairs of a clip.

    Scenes are not searched but assumed to be as long as most.
    """
    if plan.windows != "none" and info.duration_s:
        length_s = SCENE_S if plan.windows == "scenes" else float(plan.windows)
        plans = plans_of(plan, windows(info.duration_s, length_s))
        each = [file_tokens(info, part) for part in plans]
        return FileTokens(sum(part.visual for part in each), sum(part.times for part in each), len(each))
    start_s, end_s = part_of(info.duration_s, plan)
    share = (end_s - start_s) / info.duration_s if info.duration_s else 1.0
    count = frame_count(max(1, round(info.num_frames * share)), end_s - start_s, plan)
    width, height = fit_size(info.width, info.height, plan.frame_size)
    if count == 1:
        return FileTokens(_num_tiles(width, height, 1, IMAGE_PIXELS), 2)
    pairs = count // 2
    return FileTokens(pairs * _num_tiles(width, height, count, CLIP_PIXELS), pairs * TIME_TOKENS)


def _num_tiles(width: int, height: int, num_frames: int, bounds: tuple[int, int]) -> int:
    """Return how many tiles of 32 x 32 pixels a frame has once the pixels of all frames are within `bounds`."""
    pixels = num_frames * width * height  # the same resizing as the processor's (smart_resize)
    rounding, limit = (math.floor, bounds[1]) if pixels > bounds[1] else (math.ceil, max(pixels, bounds[0]))
    beta = math.sqrt(pixels / limit)
    return math.prod(max(1, rounding(side / beta / SIZE_STEP)) for side in (width, height))


def longest_request(plan: SamplePlan, prompt: str, options: GenerationOptions) -> int:
    """Return a number of tokens, prompt and caption, that no request exceeds, whatever its file.

    A prompt in ASCII has at most one token per two characters if it is language; other text at most one per byte.
    """
    prompt = longest_filled(prompt)
    side, _ = fit_size(plan.frame_size, plan.frame_size, plan.frame_size)  # a square clip has the most tokens
    tiles, pairs = (side // SIZE_STEP) ** 2, max(1, plan.max_frames // 2)
    clip = min(pairs * tiles, CLIP_PIXELS[1] // (2 * SIZE_STEP**2)) + pairs * MAX_TIME_TOKENS
    image = max(min(tiles, IMAGE_PIXELS[1] // SIZE_STEP**2), MAX_TOKENS_ENLARGED)
    num_ascii = sum(character.isascii() for character in prompt)
    text = math.ceil(num_ascii / 2) + len(prompt.encode("utf-8", "replace")) - num_ascii
    return max(clip, image) + text + MAX_CHAT_TOKENS + options.max_tokens


def _rounded(count: int) -> str:
    """Return a count rounded to two digits: 51,234 as "51,000"."""
    return f"{round(count, min(0, 2 - len(str(count)))):,}"
