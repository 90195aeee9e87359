"""Clips with scenes of known colors: the demo model names the color of each window, at the right times."""

import itertools

import av
import pytest
from PIL import Image

from captioner.cli import main as cli
from captioner.demo.clips import CODECS, encode
from captioner.demo.world import COLORS, Scene, draw
from tests.dataset.test_subtitles import blocks

SIDE = 128
NAMES = ("red", "blue", "green", "white", "purple", "yellow", "pink")


def write_scenes(path, parts, fps):
    """Write a clip of (color, length in seconds), each a circle of that color."""

    def frames():
        for (color, length_s), background in zip(parts, itertools.cycle(("black", "striped")), strict=False):
            scene = Scene(color, "circle", "still", background, 0.5, 0.5, 0.22, 0.4, 0.3)
            picture = av.VideoFrame.from_ndarray(draw(scene, 0.5, SIDE), "rgb24")
            for _ in range(round(length_s * fps)):
                picture.pts = None
                yield picture

    encode(path, (SIDE, SIDE), fps, frames(), *CODECS["mp4"])
    ends = list(itertools.accumulate(length_s for _, length_s in parts))
    return [(start, end, color) for start, end, (color, _) in zip([0, *ends], ends, parts, strict=False)]


def check(found, truth):
    """Check that each cue has the times of a scene within half a second, and names its color."""
    assert len(found) == len(truth)
    for (start, end, text), (true_start, true_end, color) in zip(found, truth, strict=True):
        assert abs(start - true_start) < 0.5
        assert abs(end - true_end) < 0.5
        assert text.startswith(f"A {color} circle "), (start, text)


def caption(folder, state, *options):
    return cli.main(
        [
            "--state",
            str(state),
            "caption",
            str(folder),
            "--model",
            "demo",
            "--devices",
            "cpu",
            "--max-frames",
            "8",
            *options,
        ]
    )


def subtitles(state, stem):
    [path] = (state / "windows").rglob(f"{stem}.srt")
    return blocks(path.read_text(encoding="utf-8"))


def test_scenes_and_lengths_on_the_command_line(tmp_path, capsys):
    pytest.importorskip("scenedetect")
    folder, state = tmp_path / "clips", tmp_path / "own"
    folder.mkdir()
    truth = write_scenes(folder / "three ünï.mp4", [("red", 5), ("blue", 3), ("green", 4.5)], 24)
    write_scenes(folder / "short.mp4", [("white", 2)], 24)
    Image.new("RGB", (64, 64), COLORS["red"]).save(folder / "still.png")
    assert caption(folder, state, "--windows", "scenes") == 0
    out, err = capsys.readouterr()
    assert out.startswith("3 captioned")
    assert "note: the windows of each clip are in " in err
    check(subtitles(state, "three ünï"), truth)
    check(subtitles(state, "short"), [(0, 2, "white")])
    assert not list((state / "windows").rglob("still*"))
    whole = (folder / "three ünï.txt").read_text()
    assert "circle" in whole
    assert sorted(path.suffix for path in folder.iterdir()) == [".mp4", ".mp4", ".png", ".txt", ".txt", ".txt"]
    assert caption(folder, state, "--windows", "4", "--existing", "overwrite", "--windows-beside") == 0
    found = blocks((folder / "three ünï.windows.srt").read_text())
    assert [cue[:2] for cue in found] == [(0, 4), (4, 8), (8, 12.5)]
    assert found[0][2].startswith("A red circle")
    assert found[2][2].startswith("A green circle")


@pytest.mark.slow
@pytest.mark.skipif("config.getoption('-m') != 'slow'", reason="minutes; run it with -m slow")
def test_every_line_of_ten_minutes_is_right(tmp_path):
    pytest.importorskip("scenedetect")
    folder, state = tmp_path / "clips", tmp_path / "own"
    folder.mkdir()
    lengths = itertools.cycle((12, 7.5, 15, 4, 21, 10.5))
    parts, total = [], 0.0
    for color in itertools.cycle(NAMES):
        length_s = min(next(lengths), 600 - total)
        parts.append((color, length_s))
        total += length_s
        if total == 600:
            break
    truth = write_scenes(folder / "long.mp4", parts, 24)
    assert caption(folder, state, "--windows", "scenes") == 0
    check(subtitles(state, "long"), truth)
    steady = write_scenes(folder / "steady.mp4", [(color, 10) for color in (NAMES * 9)[:60]], 24)
    assert caption(folder, state, "--windows", "10") == 0
    check(subtitles(state, "steady"), steady)
