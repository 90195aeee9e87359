"""Every family's own processor with our frames: none is dropped, and the prompt has the times of the source."""

import re

import numpy as np
import pytest
import torch

from captioner.engine.prepare import Preparer, can_share_batch
from captioner.values import Frames, GenerationOptions
from tests.support.video_families import FAMILIES, build_processor

# Processors that give tensors to NumPy: numpy 2 warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:__array")

VARIABLE = (0.0, 0.5, 7.25, 66.6)  # seconds; no multiples of any frame's duration
ODD_SPAN = (2.0, 2.5, 5.0, 6.0, 12.2)
NTSC = tuple(n * 3010 * 1001 / 30000 for n in range(4))  # 29.97 frames a second, constant
REPEATED = (0.0, 1.0, 2.0, 2.0)  # a short clip's last frame is shown twice


def clip(times, size=(64, 96)) -> Frames:
    rng = np.random.default_rng(len(times))
    pixels = rng.integers(0, 256, (len(times), *size, 3), np.uint8)
    times_s = np.array(times)
    if times == NTSC:
        return Frames(pixels, times_s, np.arange(4) * 3010, 30000 / 1001)
    return Frames(pixels, times_s, np.arange(len(times)) * 3, 24.0)


@pytest.fixture(scope="module")
def preparers():
    """Return a function that makes the preparer of a family once."""
    made = {}

    def get(family):
        if family not in made:
            made[family] = Preparer(build_processor(family))
        return made[family]

    return get


def prepare(preparer, times, prompt="Describe it."):
    return preparer.prepare(1, clip(times), prompt, GenerationOptions())


def text_of(preparer, prepared) -> str:
    return preparer._processor.tokenizer.decode(prepared.inputs["input_ids"][0])


def in_groups(times, size, middle=False):
    """Return a time of each group of frames, the first or the middle between the first and last; the end is padded."""
    padded = [*times, *[times[-1]] * (-len(times) % size)]
    groups = [padded[i : i + size] for i in range(0, len(padded), size)]
    return [(group[0] + group[-1]) / 2 if middle else group[0] for group in groups]


def clock(seconds):
    return f"{int(seconds // 60):02d}:{int(seconds % 60):02d}"


def hours(seconds):
    return f"00:{clock(seconds)}"


# How a family writes times: the text around one, the frames that share one, and its form.
TIMED = {
    "qwen3_vl": (r"<([\d.]+) seconds>", lambda t: in_groups(t, 2, middle=True), "{:.1f}".format),
    "lfm3_vl": (r"<([\d.]+) seconds>", lambda t: in_groups(t, 2, middle=True), "{:.1f}".format),
    "cohere_compass": (r"<([\d.]+) seconds>", lambda t: in_groups(t, 2, middle=True), "{:.1f}".format),
    "cosmos3_edge": (r"<([\d.]+) seconds>", list, "{:.1f}".format),
    "gemma4": (r"(\d\d:\d\d) <\|boi\|>", list, clock),
    "gemma4_unified": (r"(\d\d:\d\d) <\|boi\|>", list, clock),
    "glm4v": (r"<\|end_of_image\|>(\d+)", lambda t: in_groups(t, 2), lambda t: str(int(t))),
    "glm46v": (r"<\|end_of_image\|>([\d.]+) seconds", lambda t: in_groups(t, 2), "{:.1f}".format),
    "glm5_next": (r"<\|end_of_image\|>([\d.]+) seconds", lambda t: in_groups(t, 2), "{:.1f}".format),
    "molmo2": (r"([\d.]+) <frame_start>", list, "{:.1f}".format),
    "video_llama_3": (r"Time ([\d.]+)s:", list, "{:.1f}".format),
    "smolvlm": (r"Frame from (\d\d:\d\d):", list, clock),
    "nemotron_h_omni": (r"sampled at ([\d.]+) seconds", list, "{:.2f}".format),
    "kimi_k25": (r"(\d\d:\d\d:\d\d)\.\d+<\|media_begin", lambda t: in_groups(t, 4), hours),
    "muse_glimmer": (r"Time: ([\d.]+)s", lambda t: in_groups(t, 2), "{:.1f}".format),
    "muse_spark": (r"Time: ([\d.]+)s", lambda t: in_groups(t, 2), "{:.1f}".format),
    "minimax_m3_vl": (r"([\d.]+) seconds", lambda t: in_groups(t, 2), "{:.1f}".format),
}


@pytest.mark.parametrize("times", [VARIABLE, ODD_SPAN, NTSC], ids=["variable", "odd", "ntsc"])
@pytest.mark.parametrize("family", TIMED)
def test_prompt_has_the_times_of_the_source(preparers, family, times):
    pattern, grouped, form = TIMED[family]
    text = text_of(preparers(family), prepare(preparers(family), times))
    assert re.findall(pattern, text) == [form(seconds) for seconds in grouped(times)]


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen2_5_omni", "qwen3_omni_moe"])
@pytest.mark.parametrize(
    ("times", "seconds"),
    [(VARIABLE, 2 * 66.6 / 3), (ODD_SPAN, 2 * 10.2 / 4), (NTSC, 2 * 3010 * 1001 / 30000), (REPEATED, 2.0)],
)
def test_positions_in_time_follow_the_rate_of_the_frames(preparers, family, times, seconds):
    """The model multiplies this number, of seconds between pairs of frames, by the index of a pair."""
    inputs = prepare(preparers(family), times).inputs
    found = inputs["second_per_grid_ts" if family == "qwen2_5_vl" else "video_second_per_grid"]
    assert found.tolist() == pytest.approx([seconds])


# How many frames reached the model: by the tensor that counts them, or the tokens of one.
COUNTED = {
    "gemma4": lambda inputs: inputs["num_frames_per_video"].sum(),
    "gemma4_unified": lambda inputs: inputs["num_frames_per_video"].sum(),
    "molmo2": lambda inputs: inputs["video_grids"][:, 0].sum(),
    "internvl": lambda inputs: len(inputs["pixel_values"]),
    "smolvlm": lambda inputs: inputs["pixel_values"].shape[1],
    "nemotron_h_omni": lambda inputs: 2 * inputs["pixel_values_videos"].shape[1],
    **dict.fromkeys(("minicpmv4_6", "minicpmv4_7", "minicpm_ocr"), lambda inputs: len(inputs["target_sizes_videos"])),
    **dict.fromkeys(
        ("llava_onevision", "llava_next_video", "video_llava", "perception_lm"),
        lambda inputs: inputs["pixel_values_videos"].shape[1],
    ),
}
IN_PAIRS = frozenset(FAMILIES) - {
    "hy_v4_vl", "ernie4_5_vl_moe", "kimi_k25", "video_llama_3", "cosmos3_edge", *COUNTED,
} | {"nemotron_h_omni"}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_all_frames_reach_the_model(preparers, family):
    count = COUNTED.get(family, lambda inputs: inputs["video_grid_thw"][:, 0].sum() * (1 + (family in IN_PAIRS)))
    for times in (VARIABLE, tuple(n / 4 for n in range(40))):
        assert count(prepare(preparers(family), times).inputs) == len(times)


def test_smolvlm_and_hyperclovax_tell_the_duration(preparers):
    assert "four frames from a 0:01:06" in text_of(preparers("smolvlm"), prepare(preparers("smolvlm"), VARIABLE))
    processor = preparers("hyperclovax_vision_v2")
    assert text_of(processor, prepare(processor, VARIABLE)).startswith("66.6<|video_pad|>")


def test_minicpm_shows_the_frames_in_their_order(preparers):
    """With the stacked frames of its checkpoint it would take the last of ours for details of the first."""
    stacked, plain = (prepare(preparers(name), VARIABLE).inputs for name in ("minicpmv4_6", "minicpmv4_7"))
    assert preparers("minicpmv4_6")._processor.video_processor.stack_frames == 3
    assert torch.equal(stacked["pixel_values_videos"], plain["pixel_values_videos"])


@pytest.mark.parametrize("family", FAMILIES)
def test_requests_share_a_batch_only_if_the_processor_agrees(preparers, family):
    """Molmo2 numbers the patches of all clips of a batch, and MiniCPM-V packs them into one row."""
    preparer = preparers(family)
    short, long = prepare(preparer, VARIABLE), prepare(preparer, VARIABLE, "Describe it in all detail.")
    expected = {"molmo2": False, "minicpmv4_6": False, "minicpmv4_7": False, "minicpm_ocr": False}
    assert can_share_batch(short, long) == expected.get(family, family != "nemotron_h_omni")


def test_clip_becomes_images_for_a_processor_without_videos(preparers):
    processor = build_processor("llava_next_video")
    processor.video_processor = None
    prepared = prepare(Preparer(processor), VARIABLE)
    assert prepared.inputs["pixel_values"].shape[0] == 4
