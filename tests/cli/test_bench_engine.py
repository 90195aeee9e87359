"""`bench engine`: its rows, its roofline, and that it needs only the model libraries."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from captioner.cli import main as cli
from captioner.cli.bench import build, roofline
from captioner.cli.bench.engine import bench_engine, same_tokens
from captioner.cli.bench.models import GEOMETRIES, open_model
from captioner.cli.bench.rendered_clips import draw_lengths, render_clips
from captioner.cli.bench.variants import EngineSettings

ROOT = Path(__file__).resolve().parents[2]
H200 = roofline.Device(bytes_per_s=4.3e12, flops_per_s=790e12)  # as measured by others


def config_of(name):
    """Return the config of a released size without allocating its weights."""
    tokenizer, geometry = build.build_tokenizer(["a"], 300), GEOMETRIES[name]
    kind = build._config_class(geometry)
    return kind(text_config=build._text_config(tokenizer, geometry), vision_config=build._vision_config(geometry))


@pytest.fixture
def settings():
    return EngineSettings(
        model="tiny", device="cpu", num_clips=3, frames=(2, 4), sizes=((64, 32), (96, 64)), new_tokens=(2, 6),
        slots=(1, 2), batch=2,
    )  # fmt: skip


def test_every_row_has_its_numbers_and_all_videos_the_same_tokens(settings, capsys):
    bench_engine(settings, as_json=True)
    report = json.loads(capsys.readouterr().out)
    names = [row["name"] for row in report["rows"]]
    assert names == ["original", "one video at a time", "batch 2", "slots 1", "slots 2"]
    for row in report["rows"]:
        assert row["clips"] == 3
        for key in ("captions_per_s", "tokens_per_s", "first_token_s", "busy", "roofline", "speedup"):
            assert row[key] > 0, key
        assert row["peak_memory_gb"] >= 0
    assert report["rows"][0]["speedup"] == 1
    assert report["rows"][0]["prompt_tokens"] > report["rows"][1]["prompt_tokens"]
    assert report["same_tokens"] == "yes (3 of 3)"
    assert report["failed"] == {}
    assert (report["model"], report["dtype"], report["torch"]) == ("tiny", "float32", torch.__version__)
    assert report["settings"]["new_tokens"] == [2, 6]


def test_table_ends_with_the_comparison_of_tokens(settings, capsys):
    bench_engine(replace(settings, skip=("original", "batch"), slots=(2,), repeats=2))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["name", "captions", "per"]
    assert [line.split()[0] for line in lines[1:3]] == ["one", "slots"]
    assert lines[3] == "same tokens: yes (3 of 3)"


def test_narrow_rows_take_fewer_clips_when_waves_are_limited(settings, capsys):
    bench_engine(replace(settings, waves=1), as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert [row["clips"] for row in report["rows"]] == [1, 1, 2, 1, 2]


def test_different_tokens_are_counted():
    assert same_tokens([{0: (1, 2), 1: (3,)}, {0: (1, 2), 1: (4,)}, {0: (1, 2)}]) == "no (1 of 2)"


def test_lengths_spread_between_the_bounds_in_an_order_set_by_the_seed():
    lengths = draw_lengths(25, (20, 140), seed=0)
    assert sorted(lengths) == sorted(draw_lengths(25, (20, 140), seed=1))
    assert lengths == draw_lengths(25, (20, 140), seed=0) != draw_lengths(25, (20, 140), seed=1)
    assert (min(lengths), max(lengths)) == (20, 140)
    assert sorted(lengths)[12] == 53  # the geometric mean
    assert draw_lengths(3, (250, 250), seed=0) == [250] * 3
    assert draw_lengths(1, (20, 140), seed=0) == [53]


def test_rendered_clips_move_and_have_even_counts():
    clips = render_clips(4, (3, 9), ((64, 32), (128, 96)), seed=1)
    for clip in clips:
        count, height, width, _ = clip.pixels.shape
        assert count in (2, 4, 6, 8)
        assert not height % 32
        assert not width % 32
        assert (clip.pixels[0] != clip.pixels[1]).any()
        assert clip.clock == (24.0, [12 * i for i in range(count)])


def test_roofline_of_8b_equals_the_one_computed_by_hand():
    """16 frames of 16:9 as video, 250 tokens, bfloat16."""
    config, clip = config_of("qwen3-vl-8b"), roofline.Clip(1920, 240, 561, 250)
    vision, text = roofline.prefill_flops(config, clip)
    assert vision / 1e12 == pytest.approx(1.80, abs=0.005)
    assert text / 1e12 == pytest.approx(7.89, abs=0.005)
    assert roofline.token_bytes(config, 2) == 144 * 1024
    # 36 x (4096 x (32 + 8 + 8) x 128 + 32 x 128 x 4096 + 3 x 4096 x 12288) + 151936 x 4096 weights of 2 bytes
    assert roofline.step_bytes(config, 1, 0, 2) == 15_136_194_560
    rates = [1 / roofline.caption_s(config, clip, rows, H200, 2) for rows in (1, 8, 32, 64, 128)]
    assert rates == pytest.approx([1.113, 7.80, 21.9, 31.4, 40.0], rel=5e-3)


def test_roofline_of_a_mixture_reads_the_experts_that_its_rows_choose():
    config = config_of("qwen3-vl-30b-a3b")
    assert roofline.step_bytes(config, 1, 0, 2) / 1e9 == pytest.approx(6.1, abs=0.05)
    everything = roofline.step_bytes(config, 1000, 0, 2)
    assert everything / 1e9 == pytest.approx(60.3, abs=0.5)
    assert roofline.step_bytes(config, 32, 0, 2) / everything == pytest.approx(0.88, abs=0.02)
    assert roofline.token_bytes(config, 2) == 96 * 1024


def test_roofline_of_a_hybrid_reads_and_writes_the_states_of_its_rows():
    config = config_of("qwen3.5-9b")
    full, linear, mlps = 8 * 4096 * 56 * 256, 24 * 4096 * (2 * 2048 + 3 * 4096 + 2 * 32), 32 * 3 * 4096 * 12288
    weights, states = 2 * (full + linear + mlps + 248_320 * 4096), 2 * 4 * 24 * 32 * 128 * 128
    assert roofline.step_bytes(config, 1, 0, 2) == weights + states
    assert roofline.step_bytes(config, 8, 0, 2) == weights + 8 * states
    assert roofline.token_bytes(config, 2) == 32 * 1024


def test_device_speeds_are_measured():
    speed = roofline.measure_device(torch.device("cpu"), torch.float32)
    assert 1e8 < speed.bytes_per_s < 1e13
    assert 1e8 < speed.flops_per_s < 1e15


@pytest.mark.parametrize("name", [name for name in GEOMETRIES if name.startswith("qwen3-vl")])
def test_released_sizes_equal_those_of_the_checkpoints(name):
    """Compare billions of parameters, counted on the meta device."""
    billions = {"2b": 2.13, "4b": 4.44, "8b": 8.77, "32b": 33.4, "30b-a3b": 31.1}[name.removeprefix("qwen3-vl-")]
    model = build.build_model(build.build_tokenizer(["a"], 300), GEOMETRIES[name], device="meta")
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(billions, rel=3e-3)


def test_model_has_no_end_token_and_the_demo_weights_are_found():
    for name in ("tiny", "demo"):
        model, processor = open_model(name, False, torch.device("cpu"), torch.float32)
        assert model.generation_config.eos_token_id is None
        assert processor.tokenizer.padding_side == "left"


def test_bench_runs_without_the_libraries_of_media_and_page():
    """Hide PyAV, pydantic, Gradio, psutil and pynvml, which a bare CUDA image does not have."""
    code = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in ("av", "pydantic", "gradio", "psutil", "pynvml"):
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
sys.argv = ["captioner", "bench", "engine", *sys.argv[1:]]
import runpy
runpy.run_module("captioner", run_name="__main__")
"""
    arguments = "--model tiny --random-weights --clips 2 --frames 2 --size 64x32 --new-tokens 2-3 --slots 2 --json"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments.split()], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [row["name"] for row in report["rows"]] == ["original", "one video at a time", "batch 8", "slots 2"]
    assert report["same_tokens"] == "yes (2 of 2)"
    assert {row["peak_memory_gb"] for row in report["rows"]} == {None}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--model qwen3-vl-8b", "error: there is no model folder at qwen3-vl-8b; add --random-weights, or give a"),
        ("--model nonsense", "error: there is no model folder at nonsense; choose one of demo, tiny, "),
        ("--model tiny --device cuda:99", "error: cuda:99"),
    ],
)
def test_error_is_one_line(arguments, reason, capsys):
    assert cli.main(["bench", "engine", "--clips", "1", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith(reason)
    assert error.count("\n") == 1


@pytest.mark.parametrize("value", ["320", "320x100", "x", "16x32", "64x64-32"])
def test_sizes_that_are_no_multiples_of_32_are_refused(value, capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "engine", "--size", value])
    assert "--size" in capsys.readouterr().err
