"""The prompt that a model sees, recorded for the oldest and the newest supported transformers.

A release that formats frames or times differently would change every caption; these tests detect it. To record again:
PYTHONPATH=. python tests/engine/test_golden.py
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version

from captioner.cli.bench import build
from captioner.engine.prepare import Preparer
from captioner.values import Frames, GenerationOptions

GOLDEN = Path(__file__).parent / "golden"
PROMPT = "Describe the video."
CORPUS = ["describe the video in detail", "<0.5 seconds> user assistant"]


def known_clips() -> dict[str, Frames]:
    """Return a clip at 25 fps, one with a variable frame rate (timed in milliseconds), and an image."""
    rng = np.random.default_rng(11)

    def clip(times_s: list[float], indices: list[int], fps: float) -> Frames:
        pixels = rng.integers(0, 256, (len(times_s), 64, 96, 3), np.uint8)
        return Frames(pixels, np.array(times_s), np.array(indices), fps)

    return {
        "constant rate": clip([0.0, 0.48, 0.96, 1.44, 1.92, 2.4], [0, 12, 24, 36, 48, 60], 25.0),
        "variable rate": clip([0.0, 0.5, 2.25, 7.125], [0, 3, 4, 9], 1.4),
        "still": clip([0.0], [0], 0.0),
    }


def prompts() -> dict[str, dict]:
    tokenizer = build.build_tokenizer(CORPUS, 400)
    preparer = Preparer(build.build_processor(tokenizer))
    recorded = {}
    for name, frames in known_clips().items():
        inputs = preparer.prepare(0, frames, PROMPT, GenerationOptions()).inputs
        ids = inputs["input_ids"][0].tolist()
        grid = next(v for k, v in inputs.items() if k.endswith("grid_thw"))
        recorded[name] = {"text": tokenizer.decode(ids), "input_ids": ids, "grid_thw": grid.tolist()}
    return recorded


def golden() -> dict[str, dict]:
    """Load the newest recorded release that is not newer than the installed one."""
    releases = sorted((Version(path.stem.removeprefix("transformers-")), path) for path in GOLDEN.glob("*.json"))
    fitting = [path for version, path in releases if version <= Version(transformers.__version__)]
    return json.loads(fitting[-1].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["constant rate", "variable rate", "still"])
def test_prompt_is_the_recorded_one(name):
    assert prompts()[name] == golden()[name]


def test_recorded_times_are_the_means_of_pairs_of_frames():
    for release in GOLDEN.glob("*.json"):
        recorded = json.loads(release.read_text(encoding="utf-8"))
        assert [f"<{t} seconds>" in recorded["constant rate"]["text"] for t in (0.2, 1.2, 2.2)] == [True] * 3
        assert [f"<{t} seconds>" in recorded["variable rate"]["text"] for t in (0.2, 4.7)] == [True] * 2
        assert "seconds" not in recorded["still"]["text"]


def test_pixels_are_bitwise_the_processors_own():
    processor = build.build_processor(build.build_tokenizer(CORPUS, 400))
    frames = known_clips()["constant rate"]
    ours = Preparer(processor).prepare(0, frames, PROMPT, GenerationOptions()).inputs["pixel_values_videos"]
    video = torch.from_numpy(frames.pixels).permute(0, 3, 1, 2)
    theirs = processor.video_processor([video], do_sample_frames=False, return_tensors="pt")["pixel_values_videos"]
    assert torch.equal(ours, theirs)


if __name__ == "__main__":
    release = ".".join(transformers.__version__.split(".")[:2])
    GOLDEN.mkdir(exist_ok=True)
    text = json.dumps(prompts(), indent=1) + "\n"
    (GOLDEN / f"transformers-{release}.json").write_text(text, encoding="utf-8")
