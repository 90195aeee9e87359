"""Captions of a span: of a clip that is red, then blue, then green for 5 s each, only the trained part is described."""

import json

import av
import numpy as np
import pytest

from captioner.dataset.spans import trained_spans
from captioner.dataset.targets import target, targets
from captioner.demo.clips import CODECS, encode
from captioner.demo.world import Scene, draw
from captioner.errors import SettingsError
from captioner.jobs.job import job_plan
from captioner.media.sample import sample
from captioner.services import Services
from captioner.ui.gallery.panel import Panel

COLORS, PART_S, FPS, SIDE = ("red", "blue", "green"), 5, 24, 128
CLIP_TARGETS = [name for name, each in targets().items() if each.kind == "video" and each.frames]
ONE_OF_EACH_LENGTH = [*{(targets()[name].frames.default, targets()[name].fps): name for name in CLIP_TARGETS}.values()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colors")
    count = PART_S * FPS
    scenes = [Scene(color, "circle", "still", "black", 0.5, 0.5, 0.22, 0.4, 0.3) for color in COLORS]
    frames = (
        av.VideoFrame.from_ndarray(draw(scene, number / (count - 1), SIDE), "rgb24")
        for scene in scenes
        for number in range(count)
    )
    encode(folder / "three.mp4", (SIDE, SIDE), FPS, frames, *CODECS["mp4"])
    return folder


def shares(start_s: float, end_s: float) -> dict[str, float]:
    """Return how much of a part each color has."""
    parts = {color: (PART_S * number, PART_S * (number + 1)) for number, color in enumerate(COLORS)}
    seconds = {color: max(0.0, min(end_s, last) - max(start_s, first)) for color, (first, last) in parts.items()}
    return {color: value / (end_s - start_s) for color, value in seconds.items() if value}


def colors_of(pixels: np.ndarray) -> list[str]:
    """Return the color of the circle in each frame."""
    middle = pixels[:, SIDE // 2, SIDE // 2].astype(int)  # red, green, blue
    return [("red", "green", "blue")[channels.argmax()] for channels in middle]


@pytest.mark.parametrize("mode", ["target", "head", "middle", "whole", "chunks"])
@pytest.mark.parametrize("name", CLIP_TARGETS)
def test_frames_show_the_colors_of_the_span(services, folder, name, mode):
    settings = services.settings.model_copy(update={"target": name, "span": mode})
    frames = sample(folder / "three.mp4", job_plan(settings, services.preset()))
    parts = trained_spans(15.0, target(name), mode)
    start_s, end_s = parts[0][0], parts[-1][1]
    assert frames.facts.span_s == (start_s, end_s)
    expected = shares(start_s, end_s)
    seen = colors_of(frames.pixels)
    assert set(seen) <= set(expected)
    assert {color for color, share in expected.items() if share > 0.1} <= set(seen)
    main = max(expected, key=expected.get)
    assert main == {"target": "red", "head": "red", "middle": "blue"}.get(mode, main)
    if name == "wan2.1" and mode in ("target", "head", "middle"):
        assert set(seen) == {main}
    if mode == "whole":
        assert [color for color in COLORS if color in seen] == list(COLORS)


@pytest.fixture(scope="module")
def captioned(folder, tmp_path_factory):
    """What the demo model says of each span, and how the caption was made."""
    said = {}
    with Services(tmp_path_factory.mktemp("spans"), {"model": "demo", "existing": "overwrite"}) as services:
        library = services.open_folder(folder, recursive=False)
        [item] = library.items
        for name in ONE_OF_EACH_LENGTH:
            for mode in ("target", "middle"):
                services.change_settings(
                    {"target": name, "span": mode, "caption_form": "paragraph", "prompt_name": "Wan"}
                )
                list(services.jobs.follow(services.start()))
                made = services.captions.provenance(item.caption_path)[0]
                said[name, mode] = services.captions.read(item.caption_path), made
        services.change_settings({"target": "none", "span": "none"})
        panel = Panel(services).describe(library.lookup.find("three.mp4"))
    return said, panel


@pytest.mark.parametrize("name", ONE_OF_EACH_LENGTH)
def test_demo_model_names_the_color_of_the_span_and_provenance_keeps_it(captioned, name):
    said, _ = captioned
    for mode, color in {"target": "red", "middle": "blue"}.items():
        text, made = said[name, mode]
        assert text.startswith(f"A {color} circle ")
        [(start_s, end_s)] = trained_spans(15.0, target(name), mode)
        assert made.caption.facts.span_s == pytest.approx((start_s, end_s))
        assert all(start_s - 1e-3 <= time_s < end_s for time_s in made.caption.frame_times_s)


def test_panel_marks_the_span_of_the_caption_whatever_the_setting_is_now(captioned):
    said, panel = captioned
    assert panel["span"] == said[ONE_OF_EACH_LENGTH[-1], "middle"][1].caption.facts.span_s
    assert "of the part from 0:0" in panel["about"]
    json.dumps(panel)


def test_span_needs_a_target_that_trains_clips(services):
    for name in ("none", "sdxl"):
        settings = services.settings.model_copy(update={"target": name, "span": "middle"})
        with pytest.raises(SettingsError, match=r"span middle needs a target that trains clips.*--target wan2\.2"):
            job_plan(settings, services.preset())
    assert job_plan(services.settings.model_copy(update={"span": "whole"}), services.preset()).span == "whole"


def test_own_numbers_of_the_training_set_the_span(services):
    changes = {"target": "wan2.2", "span": "target", "target_frames": 33, "target_fps": 8.0}
    plan = job_plan(services.settings.model_copy(update=changes), services.preset())
    assert (plan.span_frames, plan.span_fps) == (33, 8.0)
