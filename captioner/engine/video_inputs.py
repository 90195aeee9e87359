"""The arguments of a processor for the frames of a clip: it keeps all of them and knows their times."""

import inspect
from typing import Any

import numpy as np
import torch
from transformers import ProcessorMixin

from captioner.values import Frames

# Keywords for frames that are already sampled, given to the video processors that know them: sample no others, do not
# shrink them by their number, and take none of them for the additional frames of MiniCPM-V. Some processors put the
# times into the prompt only if they are asked to return them.
_OPTIONS = {"do_sample_frames": False, "cap_pixels_per_frame": False, "stack_frames": 1, "return_metadata": True}
# It rounds the duration of a frame down to whole milliseconds, which adds up to seconds; 1 ms stays 1 ms.
_ROUNDS_TO_MS = ("NemotronH_Omni_Reasoning_V3Processor",)


def video_options(processor: ProcessorMixin) -> dict[str, Any] | None:
    """Return the keywords for a video whose frames are already sampled, or None if the processor takes only images."""
    video_processor = getattr(processor, "video_processor", None)
    if video_processor is None:
        return None
    known = {"do_sample_frames", *inspect.get_annotations(getattr(type(video_processor), "valid_kwargs", object))}
    options: dict[str, Any] = {name: value for name, value in _OPTIONS.items() if name in known}
    if not getattr(processor, "videos_kwargs", {}).get("do_resize", True):
        options["do_resize"] = True  # MiniMax expects frames of its own sizes
    return options


def video_inputs(processor: ProcessorMixin, options: dict[str, Any], frames: Frames) -> dict[str, Any]:
    """Return the processor's keywords for a clip: its frames, the time of each, and the rate at which they follow."""
    fps, ticks = frames.clock
    if type(processor).__name__ in _ROUNDS_TO_MS:
        fps, ticks = 1000.0, np.rint(frames.times_s * 1000).astype(int).tolist()
    count = ticks[-1] + 1
    metadata = {"fps": fps, "frames_indices": ticks, "total_num_frames": count, "duration": count / fps}
    rate = {}
    steps, span = len(set(ticks)) - 1, ticks[-1] - ticks[0]
    if steps:
        # The omni models take the rate itself. Qwen2.5-VL computes it from the number of all frames, which would fit
        # if the first frame of each of T equal parts were shown, but these are the first, the last and those between.
        rate = {"fps": steps * fps / span}
        metadata["total_num_frames"] = len(ticks) * span / steps
    pixels = torch.from_numpy(frames.pixels).permute(0, 3, 1, 2)  # (T, 3, H, W)
    return {"videos": [[pixels]], "video_metadata": [metadata], **options, **rate}
