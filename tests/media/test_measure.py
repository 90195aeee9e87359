"""What is measured in rendered clips whose camera, cuts, freezes, light and bars are known."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from captioner.media.alignment import Level
from captioner.media.measure import measure, measured_facts
from captioner.media.motion import brightness, measure_steps
from captioner.media.sample import sample
from captioner.values import Frames, Measured, MediaFacts, MediaInfo, SamplePlan
from tests.support.motion_clips import Clip, Scene, Thing, make, panning, render, shaking, still, zooming
from tests.support.motion_corpus import corpus
from tests.support.motion_held_back import held_back


def measured(folder: Path, clip: Clip) -> Measured:
    return measure(sample(make(folder, clip), SamplePlan()))


def of_frames(pictures: list[np.ndarray], fps: float = 2.0) -> Measured:
    """Measure pictures as they are, one after the other."""
    times_s = np.arange(len(pictures)) / fps
    facts = MediaFacts(len(pictures) / fps)
    return measure(Frames(np.stack(pictures), times_s, np.arange(len(pictures)), fps, facts=facts))


def frames_of(scene: Scene, seconds: float = 4.0, **more) -> list[np.ndarray]:
    return render(Clip("frames", [(0.0, scene)], (), seconds, 2, size=(320, 192), **more))


@pytest.fixture(scope="module")
def measured_held_back(tmp_path_factory):
    """A function that measures one of the clips that were never used in tuning, each once."""
    folder, measurements = tmp_path_factory.mktemp("held-back"), {}

    def measure_once(clip: Clip) -> Measured:
        if clip.name not in measurements:
            measurements[clip.name] = measured(folder, clip)
        return measurements[clip.name]

    return measure_once


def faults(clips: Iterable[Clip], measured: Callable[[Clip], Measured]) -> list[tuple]:
    """Return the clips whose camera, number of cuts or freeze is not told. Things that move are never a camera."""
    wrong = []
    for clip in clips:
        found = measured(clip)
        if clip.name.startswith("things"):
            assert found.camera in (("static",), ()), f"{clip.name}: things that move are no camera"
        begins = [begin for begin, _ in clip.scenes[1:]]
        near = [abs(cut - begin) <= 0.35 for cut, begin in zip(found.cuts_s, begins, strict=False)]
        is_right = found.camera == clip.expected and len(found.cuts_s) == clip.cuts and all(near)
        if clip.frozen:
            freezes = [
                (abs(start - clip.frozen[0]) < 0.8, abs(end - clip.frozen[1]) < 0.8) for start, end in found.freezes_s
            ]
            is_right = is_right and freezes == [(True, True)]
        if not is_right:
            wrong.append((clip.name, clip.expected, found.camera, found.cuts_s, begins, found.freezes_s, clip.frozen))
    return wrong


def test_camera_cuts_and_freezes_of_sixty_clips_are_told(tmp_path):
    wrong = faults(corpus(), partial(measured, tmp_path))
    assert len(wrong) <= 3, wrong


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1500)])])
def test_clips_that_were_never_used_in_tuning_are_told(measured_held_back, every):
    clips = held_back()[::every]
    wrong = faults(clips, measured_held_back)
    print(f"{len(clips) - len(wrong)} of {len(clips)} held-back clips are right; not: {wrong}")
    assert len(wrong) <= max(1, 0.05 * len(clips)), wrong


@pytest.mark.parametrize(
    ("things", "view", "expected"),
    [
        ([Thing(0.02, 0.03, 0.12, 0.1)], panning(0.1), {("pan right",), ()}),  # a logo that stays
        ([Thing(0.35, 0.25, 0.3, 0.5)], panning(-0.1), {("pan left",)}),  # followed by the camera
        ([Thing(0.3, 0.3, 0.3, 0.4, (0.1, 0))], shaking(0.005, 3), {("handheld",)}),
        ([Thing(0.3, 0.3, 0.3, 0.4, (-0.1, 0))], zooming(1.1), {("zoom in",)}),
        ([], lambda t: (550 + 40 * min(t, 2), 450 - 40 * max(0, t - 2), 1, 0), {("pan right", "tilt up")}),
        ([], lambda t: (450 + 50 * abs(t - 2), 450, 1, 0), {("pan left", "pan right")}),
        ([], lambda t: (450 + 40 * t, 450, 1.2 / 1.12**t, 0), {("pan right", "zoom in"), ("zoom in", "pan right")}),
        ([], lambda t: (550, 450, 1, 6 * t), {("roll",)}),
    ],
)
def test_camera_is_told_beside_things_and_in_combined_moves(things, view, expected):
    assert of_frames(frames_of(Scene("clouds", 1, view, things), 5.0)).camera in expected


@pytest.mark.parametrize(
    ("kind", "view", "expected"),
    [
        ("grain", zooming(1.01), "zoom in"),  # 8 % in all
        ("grain", zooming(0.98, 1.1), "zoom out"),
        ("skyline", zooming(1.02), "zoom in"),
        ("grain", panning(0.006), "pan right"),
        ("shapes", panning(-0.01), "pan left"),
        ("grain", zooming(1.004), "static"),  # 3 % in all
        ("shapes", panning(0.002), "static"),
    ],
)
def test_slow_moves_are_told_by_frames_farther_apart(kind, view, expected):
    assert of_frames(frames_of(Scene(kind, 0, view), 8.0, noise=2)).camera == (expected,)


@pytest.mark.parametrize("speed", [0.01, -0.03])
@pytest.mark.parametrize("size", [(0.3, 0.4), (0.7, 0.7)])
def test_slow_things_are_no_slow_camera(size, speed):
    scene = Scene("grain", 0, still, [Thing(0.15, 0.15, *size, (speed, speed / 2))])
    assert of_frames(frames_of(scene, 8.0, noise=2)).camera in (("static",), ())


@pytest.mark.parametrize("light", [1.0, 0.4])
def test_light_that_changes_is_no_motion_and_no_cut(light):
    scene = Scene("shapes", 0, still, light=lambda time_s: 1 + (light - 1) * time_s / 4)
    found = of_frames(frames_of(scene, noise=1))
    assert (found.camera, found.cuts_s) == (("static",), ())
    assert found.light == ("" if light == 1.0 else "gets darker")
    assert of_frames(frames_of(scene)[::-1]).light == ("" if light == 1.0 else "gets brighter")


def test_flash_and_fast_pan_are_no_cuts():
    frames = frames_of(Scene("shapes", 0, panning(0.05)))
    frames[3] = np.full_like(frames[3], 250)
    assert of_frames(frames).cuts_s == ()
    assert of_frames(frames_of(Scene("grain", 0, panning(1.5)))).cuts_s == ()


def test_white_frames_are_no_cuts_where_the_same_shot_goes_on():
    frames = frames_of(Scene("shapes", 0, still), 6.0, noise=1)
    white = np.full_like(frames[0], 250)
    fading = [
        (frame * (1 - w) + 255 * w).astype(np.uint8) for frame, w in zip(frames[3:6], (0.3, 0.6, 0.9), strict=True)
    ]
    assert of_frames([*frames[:4], white, white, *frames[6:]]).cuts_s == ()
    assert of_frames([white, frames[0]] * 5).cuts_s == ()
    assert of_frames([*frames[:3], *fading, white, white, *frames[:4]]).cuts_s == ()
    other = frames_of(Scene("clouds", 0, still), 2.0, noise=1)
    assert [2.0 <= cut_s <= 4.0 for cut_s in of_frames([*frames[:3], *fading, white, white, *other]).cuts_s] == [True]


def test_dissolve_is_one_cut():
    before, after = (frames_of(Scene("shapes", seed, still)) for seed in (0, 1))
    weights = np.clip((np.arange(8) - 2) / 3, 0, 1)
    mixed = [(a * (1 - w) + b * w).astype(np.uint8) for a, b, w in zip(before, after, weights, strict=True)]
    assert [1.0 <= cut <= 2.5 for cut in of_frames(mixed).cuts_s] == [True]


def test_fade_through_black_is_a_cut_if_another_shot_follows():
    one, other = (frames_of(Scene(kind, 0, panning(0.05)), 2.5, noise=2) for kind in ("shapes", "clouds"))
    dark = [np.zeros_like(one[0])] * 2
    fading = [(frame * share).astype(np.uint8) for frame, share in zip(one, (1, 1, 0.9, 0.6, 0.3), strict=True)]
    assert [2.0 <= cut_s <= 3.5 for cut_s in of_frames([*fading, *dark, *other]).cuts_s] == [True]
    assert of_frames([*one[:3], *dark, *one[3:]]).cuts_s == ()


def test_black_is_found_at_both_ends_and_dark_scenes_are_not_black():
    frames = frames_of(Scene("shapes", 0, panning(0.05)))
    black = np.zeros_like(frames[0])
    found = of_frames([black, *frames, black, black])
    assert found.black_s == ((0.0, 0.5), (4.5, 5.5))
    assert (found.camera, found.cuts_s) == (("pan right",), ())
    stars = black.copy()
    stars[40:48, 100:108] = 255
    assert of_frames([stars] * 4).black_s == ()
    assert of_frames([black] * 4) == Measured(black_s=((0.0, 2.0),), step_s=0.5)


def test_bars_are_measured_and_do_not_hold_the_camera_still():
    frames = frames_of(Scene("shapes", 0, panning(0.08)), bars=0.125)
    subtitled = frames[2].copy()
    subtitled[-18:-8, 100:200] = 230
    found = of_frames([*frames[:2], subtitled, *frames[3:]])
    assert found.bars == pytest.approx((0.125, 0.0), abs=0.03)
    assert found.camera == ("pan right",)
    turned = [np.ascontiguousarray(frame.transpose(1, 0, 2)) for frame in frames]
    assert of_frames(turned).bars == pytest.approx((0.0, 0.125), abs=0.03)
    night = [frame.copy() for frame in frames_of(Scene("skyline", 0, still))]
    for frame in night:
        frame[:80] = 0  # a black sky, not a bar
    assert of_frames(night).bars == (0.0, 0.0)


def test_freeze_up_to_the_end_and_still_clips():
    frames = frames_of(Scene("shapes", 0, panning(0.06)))
    assert of_frames([*frames[:4], *[frames[3]] * 4]).freezes_s == ((1.5, 3.5),)
    assert of_frames([frames[0]] * 6).freezes_s == ((0.0, 2.5),)
    assert of_frames(frames_of(Scene("shapes", 0, still), noise=3)).freezes_s == ()


def test_freeze_between_wide_bars_is_found():
    frames = render(Clip("wide", [(0.0, Scene("shapes", 0, panning(0.06)))], (), 4.0, 2, size=(512, 64)))
    for frame in frames:
        frame[:24] = frame[-24:] = 0
    found = of_frames([*frames[:4], *[frames[3]] * 4])
    assert (found.bars, found.freezes_s) == ((0.375, 0.0), ((1.5, 3.5),))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", [(32, 32), (32, 320), (512, 64)])
def test_few_and_small_frames_are_measured(count, size):
    noise = np.random.default_rng(0).integers(0, 255, (1, *size, 3), dtype=np.uint8)
    found = of_frames([*np.repeat(noise, count, axis=0)])
    assert found.camera == (() if count == 1 else ("static",))
    assert not found.cuts_s
    assert all(math.isfinite(time_s) for span in found.freezes_s for time_s in span)


def test_times_are_those_in_the_clip():
    frames = frames_of(Scene("shapes", 0, still))
    other = frames_of(Scene("clouds", 0, still))
    pixels = np.stack([*frames[:4], *other[:4]])
    shown = Frames(pixels, np.arange(8) / 2, np.arange(8), 2.0, facts=MediaFacts(4.0), start_s=10.0)
    assert measure(shown).cuts_s == (11.75,)
    assert measure(replace(shown, pixels=np.zeros_like(pixels))).black_s == ((10.0, 14.0),)


def test_what_is_known_of_the_whole_clip_is_taken_for_frames_that_are_no_denser():
    pixels, info = np.zeros((4, 96, 96, 3), np.uint8), MediaInfo(96, 96, 2.0, 24.0, 48, 0, "h264")
    frames = Frames(pixels, np.arange(4) / 2, np.arange(4), 2.0, facts=MediaFacts(2.0, info=info))
    known = Measured(camera=("pan left",), step_s=0.5)
    assert measured_facts(frames, known).measured == measured_facts(frames, known).info.measured == known
    assert measured_facts(frames, replace(known, step_s=0.6)).measured == measure(frames)
    assert measured_facts(replace(frames, facts=MediaFacts(2.0)), known).measured == measure(frames)
    sparse = replace(frames, times_s=np.arange(4) * 2.0)
    assert (measured_facts(sparse, known).measured, measured_facts(sparse).measured) == (known, None)


def test_small_motion_in_fine_grain_is_found_at_once(monkeypatch):
    tried = []
    monkeypatch.setattr(Level, "fit", lambda *args, fit=Level.fit: tried.append(len(args[1])) or fit(*args))
    steps = measure_steps(brightness(np.stack(frames_of(Scene("shapes", 0, panning(0.03))))))
    assert (steps.explained > 0.9).all()
    assert tried == [len(steps.right)]
