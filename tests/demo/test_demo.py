"""The toy world, its files, and the bundled model that knows it."""

from pathlib import Path

import numpy as np
import pytest

from captioner.config.presets import find_preset
from captioner.config.prompts import BUILTIN_PROMPTS
from captioner.demo import world
from captioner.demo.clips import write_samples
from tests.tools.demo_model import lesson
from tests.tools.demo_model.evaluate import HELD_OUT_SEED, evaluate


def test_world_has_enough_variety():
    assert len(world.COLORS) >= 8
    assert len(world.SHAPES) >= 5
    assert len(world.MOTIONS) >= 7
    assert len(world.BACKGROUNDS) >= 5


def test_scene_is_captioned_in_three_styles():
    scene = world.Scene("orange", "star", "left", "striped", 0.5, 0.5, 0.2, 0.3, 0.1)
    still = world.Scene("red", "ring", "", "gray", 0.5, 0.5, 0.2, 0.3, 0.1)
    assert lesson.caption(scene, "sentence") == "An orange star moves to the left on a striped background."
    assert lesson.caption(scene, "short") == "orange star moving left"
    assert lesson.caption(scene, "tags") == "star, orange, moving left, striped background"
    assert lesson.caption(still, "sentence") == "A red ring on a gray background."


def test_shape_stays_inside_the_frame():
    random = np.random.default_rng(1)
    for _ in range(200):
        scene = world.random_scene(random)
        frames = lesson.draw_clip(scene, 9, 64).astype(int)
        color = np.array(world.COLORS[scene.color])
        covered = (np.abs(frames - color).sum(-1) < 12).reshape(9, -1).sum(1)
        reference = lesson.draw_clip(world.Scene(**vars(scene) | {"motion": "", "x": 0.5, "y": 0.5}), 1, 64).astype(int)
        whole = (np.abs(reference - color).sum(-1) < 12).sum()
        if scene.motion not in ("grow", "shrink"):
            assert covered.min() > 0.8 * whole, scene


def test_same_seed_renders_the_same_files(tmp_path):
    first = write_samples(tmp_path / "a", 2, 1, seed=5)
    second = write_samples(tmp_path / "b", 2, 1, seed=5)
    assert [s.path.read_bytes() for s in first] == [s.path.read_bytes() for s in second]
    assert [s.scene for s in first] == [s.scene for s in second]


def test_every_built_in_prompt_has_a_style():
    assert {prompt.name for prompt in BUILTIN_PROMPTS} == lesson.PROMPT_STYLES.keys()


def test_bundled_model_is_small():
    size = sum(path.stat().st_size for path in Path(find_preset("demo").source).iterdir())
    assert size < 20e6


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held-out")
    return folder, write_samples(folder, num_clips=30, num_stills=10, seed=HELD_OUT_SEED + 1)


@pytest.mark.parametrize("prompt_name", ["Detailed", "Short", "Tags"])
def test_bundled_model_knows_its_world(held_out, prompt_name):
    folder, samples = held_out
    wrong = evaluate(folder, samples, prompt_name, "demo")
    assert len(wrong) <= 2, wrong
