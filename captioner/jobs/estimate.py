"""What a run would be before it is started: how many files, how many tokens, how long.

Tokens are counted as a Qwen3-VL of the released kind takes them; for other families they are a rough guide.
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.errors import MediaError
from captioner.jobs.throughput import Throughput
from captioner.media.probe import probe
from captioner.media.sample import SIZE_STEP, fit_size, frame_count
from captioner.values import GenerationOptions, MediaInfo, MediaItem, MediaKind, SamplePlan

Examine = Callable[[Path, MediaKind], MediaInfo]

# Files to open at most, and for how long: the rest is taken to be like them.
MAX_PROBES = 200
PROBE_BUDGET_S = 20.0

# One token stands for 32 x 32 pixels of a still, or of two frames of a clip: patches of 16 x 16 merged 2 x 2, frames in
# pairs. The processor keeps all pixels of an input within these bounds (the released preprocessor_config.json).
CLIP_PIXELS = (4_096, 25_165_824)
STILL_PIXELS = (65_536, 16_777_216)

# A still of the most extreme shape, enlarged: 64 tokens' worth, and each side rounded up.
MOST_TOKENS_ENLARGED = 128

TIME_TOKENS = 10  # of "<12.5 seconds>" and the marks around a pair of frames; 12 after the first quarter of an hour
MOST_TIME_TOKENS = 12
CHARACTERS_PER_TOKEN = 4  # of a prompt in English
CHAT_TOKENS = 12  # the roles and marks around a prompt
SPARE_TOKENS = 64  # the same and whatever a chat template adds, at most


@dataclass(frozen=True)
class FileTokens:
    """What one file puts into a prompt."""

    visual: int
    times: int  # of the text between the frames


@dataclass(frozen=True)
class RunPlan:
    """A run before it is started. Tokens are estimates, and extrapolated where only some of the files were opened."""

    num_clips: int  # to caption, by the kind of their files: an animated picture counts as a still
    num_stills: int
    num_left_alone: int  # of the chosen files, since they have a caption
    num_probed: int
    num_unreadable: int  # of those
    num_visual_tokens: int  # in all
    median_visual_tokens: int  # of a file
    longest_visual_tokens: int
    num_prompt_tokens: int  # in all, visual ones included
    max_tokens: int  # of one request at most, new ones included, whatever its file
    throughput: Throughput | None  # None: not measured yet
    num_new_tokens: int = 0  # in all, as long captions as before; 0 without a measurement

    @property
    def num_files(self) -> int:
        return self.num_clips + self.num_stills

    @property
    def seconds(self) -> float | None:
        """Without the time to load the model; None when its speed is unknown."""
        if self.throughput is None:
            return None
        return (self.num_prompt_tokens + self.num_new_tokens) / self.throughput.tokens_per_s

    def summary(self) -> str:
        """One line."""
        if not self.num_files:
            return "nothing to caption"
        counts = [_plural(self.num_clips, "clip")] * bool(self.num_clips)
        counts += [_plural(self.num_stills, "still")] * bool(self.num_stills)
        parts = [" and ".join(counts)]
        if self.num_unreadable:
            parts.append(f"{self.num_unreadable:,} of {self.num_probed:,} cannot be read")
        if self.num_visual_tokens:
            parts.append(f"about {_rounded(self.num_visual_tokens)} visual tokens")
            if self.num_probed < self.num_files:
                parts[-1] += f" (from {self.num_probed:,} of {self.num_files:,} files)"
            parts.append(self.time())
        return ", ".join(parts)

    def time(self) -> str:
        """How long it would take, in words."""
        speed = self.throughput
        if speed is None:
            return "time unknown until a first run has been measured with this model"
        measured = f"read and written, measured over {_plural(speed.num_captions, 'caption')}"
        return f"about {_duration(self.seconds or 0)} at {speed.tokens_per_s:,.0f} tokens/s ({measured})"


def plan_run(
    items: Sequence[MediaItem],
    num_left_alone: int,
    plan: SamplePlan,
    prompt: str,
    options: GenerationOptions,
    throughput: Throughput | None,
    budget_s: float = PROBE_BUDGET_S,
    examine: Examine = probe,
) -> RunPlan:
    """Plan to caption `items`. Examines up to MAX_PROBES of them, for about `budget_s` seconds; no file stops it.

    The time counts a token read as much as one written. That is right while prompts and captions are as long as when
    it was measured; a GPU reads faster than it writes, so with longer prompts it will take less.
    """
    found, num_probed = look(items, plan, budget_s, examine)
    num_readable = len(items) * len(found) / num_probed if num_probed else 0
    share = num_readable / len(found) if found else 0
    visual = [tokens.visual for tokens in found]
    text = math.ceil(len(prompt) / CHARACTERS_PER_TOKEN) + CHAT_TOKENS
    read = sum(visual) + sum(tokens.times + text for tokens in found)
    new = min(throughput.new_tokens_per_caption, options.max_new_tokens) if throughput else 0
    num_clips = sum(item.kind == "video" for item in items)
    return RunPlan(
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
        num_new_tokens=round(new * num_readable),
    )


def look(
    items: Sequence[MediaItem], plan: SamplePlan, budget_s: float, examine: Examine
) -> tuple[list[FileTokens], int]:
    """(tokens of the files that could be read, how many were tried), the first one however long it takes.

    One file out of each of MAX_PROBES equal stretches, by lot: names often repeat in a rhythm. The same each time.
    """
    count, lots = min(len(items), MAX_PROBES), random.Random(0)
    numbers = [int((stretch + lots.random()) * len(items) / count) for stretch in range(count)]
    lots.shuffle(numbers)  # so that those within the time are spread as well
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


def file_tokens(info: MediaInfo, plan: SamplePlan) -> FileTokens:
    """Of a file as `frames.sample` takes it: one frame goes in as a still, more as pairs of a clip."""
    count = frame_count(info.num_frames, info.duration_s, plan)
    width, height = fit_size(info.width, info.height, plan.frame_size)
    if count == 1:
        return FileTokens(_num_tiles(width, height, 1, STILL_PIXELS), 2)
    pairs = count // 2
    return FileTokens(pairs * _num_tiles(width, height, count, CLIP_PIXELS), pairs * TIME_TOKENS)


def _num_tiles(width: int, height: int, num_frames: int, bounds: tuple[int, int]) -> int:
    """Tiles of 32 x 32 in a frame once the processor has brought all frames' pixels within bounds (smart_resize)."""
    pixels = num_frames * width * height
    rounding, limit = (math.floor, bounds[1]) if pixels > bounds[1] else (math.ceil, max(pixels, bounds[0]))
    beta = math.sqrt(pixels / limit)
    return math.prod(max(1, rounding(side / beta / SIZE_STEP)) for side in (width, height))


def longest_request(plan: SamplePlan, prompt: str, options: GenerationOptions) -> int:
    """Tokens of prompt and caption that no request exceeds, whatever the shape and length of its clip.

    A square clip has most. A prompt in ASCII has at most one token for two characters, unless it is no language; other
    text at most one a byte.
    """
    side, _ = fit_size(plan.frame_size, plan.frame_size, plan.frame_size)
    tiles, pairs = (side // SIZE_STEP) ** 2, max(1, plan.max_frames // 2)
    clip = min(pairs * tiles, CLIP_PIXELS[1] // (2 * SIZE_STEP**2)) + pairs * MOST_TIME_TOKENS
    still = max(min(tiles, STILL_PIXELS[1] // SIZE_STEP**2), MOST_TOKENS_ENLARGED)
    num_ascii = sum(character.isascii() for character in prompt)
    text = math.ceil(num_ascii / 2) + len(prompt.encode("utf-8", "replace")) - num_ascii
    return max(clip, still) + text + SPARE_TOKENS + options.max_new_tokens


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _rounded(count: int) -> str:
    """To two digits: 51,234 is 51,000."""
    return f"{round(count, min(0, 2 - len(str(count)))):,}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{max(1, round(seconds))} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"
