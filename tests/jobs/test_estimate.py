"""Estimates: token counts that agree with the sampler and the processor, samples of large folders, the summary."""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from captioner.cli.bench import build
from captioner.errors import JobError, MediaError, ModelError
from captioner.jobs import estimate as planning
from captioner.jobs.estimate import FileTokens, RunEstimate, estimate_run, file_tokens, longest_request
from captioner.jobs.throughput import Throughput
from captioner.media.discover import discover
from captioner.media.probe import probe
from captioner.media.sample import sample
from captioner.services import Services
from captioner.values import Frames, GenerationOptions, MediaInfo, SamplePlan
from tests.support.media_maker import make_animation, make_picture, make_video

PLAN = SamplePlan()
OPTIONS = GenerationOptions(max_new_tokens=100)


def info(width: int, height: int, num_frames: int, fps: float = 25) -> MediaInfo:
    return MediaInfo(width, height, num_frames / fps, fps, num_frames, 0, "h264")


@pytest.fixture(scope="module")
def preparer():
    """Return a preparer with the released processors' sizes and a small tokenizer."""
    from captioner.engine.prepare import Preparer

    tokenizer = build.build_tokenizer(["describe this video in detail <0.5 seconds>"], 400)
    return Preparer(build.build_processor(tokenizer, min_image_pixels=65_536)), tokenizer


def num_visual(preparer, frames: Frames) -> int:
    prepare, tokenizer = preparer
    ids = prepare.prepare(1, frames, "describe", OPTIONS).inputs["input_ids"]
    pads = tokenizer.convert_tokens_to_ids(["<|video_pad|>", "<|image_pad|>"])
    return sum((ids == pad).sum().item() for pad in pads)


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: make_video(folder / "wide.mp4", 60, 25, (320, 176)),
        lambda folder: make_video(folder / "turned.mp4", 30, 10, (96, 64), rotation_ccw=90),
        lambda folder: make_video(folder / "short.mp4", 3, 25, (640, 480)),
        lambda folder: make_video(folder / "one.mp4", 1, 25, (640, 360)),
        lambda folder: make_picture(folder / "still.png", (640, 360)),
        lambda folder: make_picture(folder / "thin.png", (640, 40)),
        lambda folder: make_animation(folder / "moving.gif", [100] * 12),
    ],
    ids=["wide", "turned", "short", "one", "still", "thin", "moving"],
)
@pytest.mark.parametrize("plan", [PLAN, SamplePlan(8, 4.0, 4, 200)], ids=["usual", "small"])
def test_visual_tokens_equal_those_of_the_processor(tmp_path, preparer, make, plan):
    path = make(tmp_path)
    frames = sample(path, plan)
    estimate = file_tokens(probe(path), plan)
    assert estimate.visual == num_visual(preparer, frames)
    assert estimate.times == (2 if len(frames.pixels) == 1 else len(frames.pixels) // 2 * 10)


@pytest.mark.parametrize(("count", "height", "width"), [(2, 32, 32), (16, 640, 640), (26, 1600, 640), (32, 992, 1024)])
def test_clip_is_shrunk_to_the_processors_limit_of_pixels(preparer, count, height, width):
    pixels = np.zeros((count, height, width, 3), np.uint8)
    frames = Frames(pixels, np.arange(count) / 2.0, np.arange(count) * 12, 24.0)
    plan = SamplePlan(count, 2.0, count, 1600)
    assert file_tokens(info(width, height, 10_000), plan).visual == num_visual(preparer, frames)


def test_token_counts_match_the_published_table():
    """16 and 32 frames at 336 px, as the processor of transformers counts them."""
    sixteen, more = replace(PLAN, max_frames=16), PLAN
    assert file_tokens(info(1920, 1080, 1000), sixteen).visual == 480
    assert file_tokens(info(1920, 1080, 1000), more) == FileTokens(960, 160)
    assert file_tokens(info(640, 480, 1000), more).visual == 1280
    assert file_tokens(info(1024, 1024, 1000), more).visual == 1600


@pytest.mark.parametrize(
    "plan", [PLAN, SamplePlan(2, 1, 2, 32), SamplePlan(33, 2, 8, 350), SamplePlan(128, 2, 8, 1024)], ids=str
)
def test_no_request_is_longer_than_the_longest(preparer, plan):
    """Times of 3 digits and a prompt of odd characters, tokenized by bytes at worst."""
    prompt = "Beschreibe präzise: 動画を説明してください 🎞️ " * 3
    options = GenerationOptions(max_new_tokens=7)
    longest = longest_request(plan, prompt, options)
    for width, height, num_frames in [(4000, 4000, 9000), (4000, 400, 9000), (400, 4000, 1), (64, 3000, 5)]:
        clip = info(width, height, num_frames)
        tokens = file_tokens(clip, plan)
        assert tokens.visual + tokens.times + len(prompt.encode()) + 7 <= longest
    side = plan.frame_size // 32 * 32
    count = min(plan.max_frames // 2 * 2, 16)
    frames = Frames(np.zeros((count, side, side, 3), np.uint8), 100 + np.arange(count) * 9.7, np.arange(count), 25.0)
    made = preparer[0].prepare(1, frames, prompt, options).num_prompt_tokens + 7
    assert made <= longest_request(replace(plan, max_frames=count), prompt, options)


def test_longest_request_is_not_far_above_a_square_clip():
    longest = longest_request(PLAN, "x" * 280, GenerationOptions(max_new_tokens=512))
    assert longest == 1600 + 16 * 12 + 140 + 64 + 512
    huge = longest_request(SamplePlan(1024, 2, 8, 2048), "", OPTIONS)
    assert huge == 25_165_824 // 2048 + 512 * 12 + 64 + 100


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    for number in range(3):
        make_video(folder / f"{number}.mp4", 50, 25, (160, 96))  # 8 frames of 160 x 96: 4 * 15 tokens
    make_picture(folder / "still.png", (320, 320))
    (folder / "broken.mp4").write_bytes(b"this is no video")
    return folder


def test_broken_file_is_counted_and_stops_nothing(folder):
    plan = estimate_run(discover(folder).items, 2, PLAN, "p" * 40, OPTIONS, None)
    assert (plan.num_clips, plan.num_stills, plan.num_left_alone) == (4, 1, 2)
    assert (plan.num_probed, plan.num_unreadable) == (5, 1)
    assert (plan.num_visual_tokens, plan.median_visual_tokens, plan.longest_visual_tokens) == (280, 60, 100)
    assert plan.num_prompt_tokens == 280 + 3 * 40 + 2 + 4 * (10 + 12)
    assert (plan.seconds, plan.num_new_tokens) == (None, 0)


def test_time_is_the_work_over_the_measured_speed(folder):
    plan = estimate_run(discover(folder).items, 0, PLAN, "p" * 40, OPTIONS, Throughput(49.0, 120.5, 9))
    assert plan.num_new_tokens == 4 * 100  # captions cannot get as long as they were
    assert plan.seconds == (490 + 400) / 49
    plan = estimate_run(discover(folder).items, 0, PLAN, "p" * 40, OPTIONS, Throughput(49.0, 20.5, 9))
    assert plan.num_new_tokens == 82


def test_large_folder_is_estimated_from_a_sample_spread_over_it(tmp_path):
    """Half of the files are twice as long, and every tenth is broken."""
    items = [discover_one(tmp_path, number) for number in range(50_000)]
    opened = []

    def look(path, kind):
        number = int(path.stem)
        opened.append(number)
        if number % 10 == 0:
            raise MediaError("broken")
        return info(320, 320, 400 if number < 25_000 else 800)

    plan = estimate_run(items, 0, SamplePlan(64, 2.0, 8, 320), "", OPTIONS, None, examine=look)
    assert [number // 250 for number in sorted(opened)] == list(range(200))
    assert opened != sorted(opened)
    assert plan.num_probed == 200
    assert 10 <= plan.num_unreadable <= 30
    assert plan.num_visual_tokens == pytest.approx(50_000 * 0.9 * (1600 + 3200) / 2, rel=0.06)
    assert "(from 200 of 50,000 files)" in plan.summary()


def discover_one(folder: Path, number: int):
    from captioner.values import MediaItem

    return MediaItem(folder, f"{number}.mp4", f"{number}.mp4", "video", 1, 0.0, f"{number}.txt", False)


def test_sample_ends_when_its_time_is_up(monkeypatch, tmp_path):
    items = [discover_one(tmp_path, number) for number in range(1000)]
    clock = iter(range(10_000))
    monkeypatch.setattr(planning.time, "monotonic", lambda: next(clock))
    known = info(320, 320, 400)
    plan = estimate_run(items, 0, PLAN, "", OPTIONS, None, 5, lambda path, kind: known)
    assert plan.num_probed == 6
    assert plan.num_visual_tokens == 1000 * 1600
    plan = estimate_run(items, 0, PLAN, "", OPTIONS, None, 0, lambda path, kind: known)
    assert plan.num_probed == 1


SUMMARY = RunEstimate(
    num_clips=106, num_stills=0, num_left_alone=3, num_probed=106, num_unreadable=0, num_visual_tokens=51_234,
    median_visual_tokens=480, longest_visual_tokens=960, num_prompt_tokens=170_000, max_tokens=2500,
    throughput=Throughput(812.4, 200, 106), num_new_tokens=24_900,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {},
            "106 clips, about 51,000 visual tokens, "
            "about 4 min at 812 tokens/s (prompts and captions, measured over 106 captions)",
        ),
        (
            {"throughput": None, "num_stills": 1, "num_probed": 50, "num_unreadable": 2},
            "106 clips and 1 image, 2 of 50 cannot be read, about 51,000 visual tokens (from 50 of 107 files), "
            "time unknown until this model has captioned a first file",
        ),
        ({"num_clips": 0, "num_stills": 0}, "nothing to caption"),
        (
            {"num_clips": 2, "num_probed": 2, "num_unreadable": 2, "num_visual_tokens": 0},
            "2 clips, 2 of 2 cannot be read",
        ),
    ],
)
def test_summary_is_one_line(changes, text):
    assert replace(SUMMARY, **changes).summary() == text


@pytest.fixture
def services(tmp_path):
    with Services(tmp_path / "state", {"model": "qwen3-vl-8b", "devices": "cpu"}) as services:
        yield services


def test_services_estimate_the_job_that_they_would_start(services, folder):
    (folder / "0.txt").write_text("A caption.")
    (folder / "1.txt").write_text("  ")
    services.open_folder(folder, recursive=False)
    plan = services.estimate()
    assert (plan.num_files, plan.num_left_alone) == (4, 1)
    assert services.estimate(["0.mp4", "1.mp4"]).num_files == 1
    services.change_settings({"existing": "overwrite"})
    assert (services.estimate().num_files, services.estimate().num_left_alone) == (5, 0)


def test_estimate_of_a_job_that_cannot_start_raises_the_same_error(services, folder):
    with pytest.raises(JobError, match="open a folder first"):
        services.estimate()
    services.open_folder(folder, recursive=False)
    services.change_settings({"quantization": "8bit"})
    with pytest.raises(ModelError, match="needs an NVIDIA GPU"):
        services.estimate()


def test_model_spec_holds_the_length_of_the_longest_request(services, folder):
    services.open_folder(folder, recursive=False)
    (spec,) = services._job(None).model.specs
    assert spec.max_tokens == services.estimate().max_tokens == 1600 + 192 + math.ceil(277 / 2) + 64 + 512


def test_50_000_files_are_estimated_within_seconds(services, tmp_path):
    """The time to open files has its own limit and does not count here."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(50_000):
        (folder / f"{number}.mp4").touch()
    services.open_folder(folder, recursive=False)
    started = time.process_time()
    plan = services.estimate(budget_s=0)
    assert (plan.num_files, plan.num_probed) == (50_000, 1)
    assert time.process_time() - started < 4
