"""The comparison with vLLM as far as it runs without one: what it sends, and what it says if nobody listens."""

import base64
import io

import numpy as np
from PIL import Image

from captioner.cli.bench.variants import EngineSettings
from tests.bench.__main__ import main
from tests.bench.vllm import make_clips


def test_vllm_gets_exactly_the_pixels_and_times_of_the_engine():
    for clip in make_clips(EngineSettings(num_clips=3, frames=(4, 8), sizes=((96, 64), (160, 128)))):
        url = clip.body["messages"][0]["content"][0]["video_url"]["url"]
        pictures = url.removeprefix("data:video/jpeg;base64,").split(",")
        read = [np.asarray(Image.open(io.BytesIO(base64.b64decode(picture)))) for picture in pictures]
        assert np.array_equal(np.stack(read), clip.frames.pixels)
        times = clip.body["media_io_kwargs"]["video"]
        assert np.allclose(np.array(times["frames_indices"]) / times["fps"], clip.frames.times_s)
        assert times["num_frames"] == -1  # else vLLM drops frames after the 32nd


def test_without_a_server_the_comparison_ends_with_one_line(capsys):
    assert main(["vllm", "--model", "demo", "--url", "http://127.0.0.1:9"]) == 2
    assert capsys.readouterr().err.startswith("error: no process of yours on this machine listens at")
