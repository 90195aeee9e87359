"""`captioner score`: wrong captions come first, and what is scored stays so until caption or media change."""

import json
import os

import pytest

from captioner.cli.main import main
from captioner.demo.clips import write_samples
from tests.support.color_judge import COLORS, judge_color, paint
from tests.support.model_server import FakeServer, running

NUM = 24
WRONG = (3, 10, 17)


@pytest.fixture
def folder(tmp_path):
    """Pictures of one color with captions that name it, but for the wrong ones, and one file without a caption."""
    folder, colors = tmp_path / "set", list(COLORS)
    folder.mkdir()
    for i in range(NUM):
        color = colors[i % len(colors)]
        paint(folder / f"{i:02}.png", color)
        named = colors[(i + 1) % len(colors)] if i in WRONG else color
        (folder / f"{i:02}.txt").write_text(f"A {named} surface, evenly lit.\n", encoding="utf-8")
    paint(folder / "uncaptioned.png", "red")
    return folder


@pytest.fixture
def server():
    server = FakeServer(answer=judge_color)
    with running(server) as url:
        server.url = url
        yield server


def score(folder, server, capsys, *options):
    status = main(["score", str(folder), "--endpoint", server.url, "--frame-size", "64", *options])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def scores(folder, server, capsys):
    status, out, _ = score(folder, server, capsys, "--json", "--worst", "0")
    return status, {each["file"]: each for each in map(json.loads, out.splitlines())}


def test_planted_wrong_captions_come_first(folder, server, capsys):
    status, found = scores(folder, server, capsys)
    assert status == 0
    assert len(found) == NUM
    assert sorted(list(found)[: len(WRONG)]) == [f"{i:02}.png" for i in WRONG]
    values = [each["score"] for each in found.values()]
    assert values == sorted(values)
    assert values[len(WRONG) - 1] < 0.2 < 0.7 < values[len(WRONG)]
    first = next(iter(found.values()))
    assert first.keys() == {"file", "score", "no", "model", "text"}
    assert first["score"] + first["no"] == pytest.approx(0.98)
    questions = {body["messages"][0]["content"][-1]["text"] for body in server.bodies}
    assert 'Does this figure show "A red surface, evenly lit."? Please answer yes or no.' in questions


def test_text_shows_the_worst_and_the_median(folder, server, capsys):
    status, out, _ = score(folder, server, capsys, "--worst", "3")
    *lines, summary = out.splitlines()
    assert status == 0
    assert len(lines) == 3
    assert all(line[5:].startswith("  ") and line.endswith("surface, evenly lit.") for line in lines)
    assert summary.startswith(f"{NUM} captions scored by ")


def test_only_what_changed_is_scored_again(folder, server, capsys):
    first = scores(folder, server, capsys)[1]
    assert len(server.bodies) == NUM
    assert scores(folder, server, capsys)[1] == first
    assert len(server.bodies) == NUM
    (folder / "03.txt").write_text("A yellow surface, evenly lit.\n", encoding="utf-8")
    paint(folder / "04.png", "blue")
    os.utime(folder / "04.png", (1, 1))
    second = scores(folder, server, capsys)[1]
    assert len(server.bodies) == NUM + 2
    assert second["03.png"]["score"] > 0.7 > 0.2 > second["04.png"]["score"]
    (folder / "05.txt").unlink()
    assert "05.png" not in scores(folder, server, capsys)[1]


def test_clips_are_asked_about_as_videos_and_broken_files_fail_alone(tmp_path, server, capsys):
    write_samples(tmp_path, num_clips=1, num_stills=0)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    for name in ("clip 01", "broken"):
        (tmp_path / f"{name}.txt").write_text("A red ball", encoding="utf-8")
    status, found = scores(tmp_path, server, capsys)
    assert status == 1
    assert list(found) == ["clip 01.mp4"]
    (body,) = server.bodies
    assert body["messages"][0]["content"][-1]["text"] == 'Does this video show "A red ball"? Please answer yes or no.'


def test_model_that_says_something_else_is_noted(folder, server, capsys):
    server.answer = lambda content: {"The": 0.9, "Yes": 0.05, "No": 0.02}
    status, _, errors = score(folder, server, capsys)
    assert status == 0
    assert "note: the model seldom answers yes or no (7%), so its scores say little" in errors


def test_server_without_probabilities_is_one_line(folder, capsys):
    server = FakeServer(gives_logprobs=False)
    with running(server) as url:
        server.url = url
        status, out, errors = score(folder, server, capsys)
    assert (status, out) == (2, "")
    line = errors.splitlines()[-1]
    assert line.endswith("the server does not tell how likely its tokens are (logprobs), so it cannot score captions")


def test_folder_without_captions_has_nothing_to_score(tmp_path, server, capsys):
    paint(tmp_path / "a.png", "red")
    assert score(tmp_path, server, capsys)[::2] == (0, "no captions to score\n")
