"""`captioner repair` at a terminal: what it says, and that a kill in the middle loses nothing."""

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from captioner.cli.main import main
from tests.support.media_maker import make_picture

ROOT = Path(__file__).resolve().parents[2]
OLD = "I'm sorry, but I can't assist with that request."


def program(tmp_path, *arguments):
    return [sys.executable, "-m", "tests.tools.chaos_app", "--state", str(tmp_path / "own"), *arguments]


def run(tmp_path, *arguments):
    return subprocess.run(program(tmp_path, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of pictures with refusals as captions, which the model repeats 0 to 4 times, and good ones."""
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(300):
        (folder / f"{i} fails {i % 5}.png").write_bytes(b"x")
        (folder / f"{i} fails {i % 5}.txt").write_text(f"{OLD}\n" if i % 2 else OLD, encoding="utf-8")
    for i in range(20):
        (folder / f"good {i}.png").write_bytes(b"x")
        text = f"Number {i} stands on a wall of {'red' * i} bricks."
        (folder / f"good {i}.txt").write_text(text, encoding="utf-8")
    return folder


def texts(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.txt")}


def num_changed(folder, before):
    return sum(text != before[name] for name, text in texts(folder).items())


def test_killed_repair_loses_nothing_and_is_resumed(tmp_path, folder):
    before = texts(folder)
    started = [*program(tmp_path, "repair", str(folder), "--rule", "refusal"), "--model", "demo", "--devices", "cpu"]
    for _ in range(3):
        changed = num_changed(folder, before)
        with subprocess.Popen(started, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
            while num_changed(folder, before) < changed + 9:
                assert running.poll() is None, running.stdout.read()
                time.sleep(0.005)
            running.kill()
        for name, text in texts(folder).items():
            stem = name.removesuffix(".txt")
            assert text in (before[name], f"what {stem} shows, at length and to the end.".encode())
        started = program(tmp_path, "repair", "--resume")
    resumed = run(tmp_path, "repair", "--resume")
    assert resumed.returncode == 1
    assert "resuming job 3" in resumed.stderr
    after = texts(folder)
    for name, text in after.items():
        stem = name.removesuffix(".txt")
        is_mended = "fails" in stem and int(stem[-1]) < 3
        assert text == (f"what {stem} shows, at length and to the end.".encode() if is_mended else before[name])
    with sqlite3.connect(tmp_path / "own" / "captioner.sqlite") as database:
        states = [state for (state,) in database.execute("SELECT state FROM operations ORDER BY id")]
        rows = database.execute("SELECT state, count(DISTINCT name) FROM job_items GROUP BY state").fetchall()
        changes = database.execute("SELECT count(*), count(DISTINCT caption_path) FROM caption_changes").fetchone()
        assert (states, changes) == (["resumed"] * 3 + ["done"], (180, 180))
        assert (dict(rows)["done"], dict(rows)["skipped"]) == (180, 120)
    assert run(tmp_path, "repair", "--resume").stderr == "no unfinished job\n"
    assert "job 3 was resumed as job 4" in run(tmp_path, "undo", "3").stderr
    assert run(tmp_path, "undo", "4").returncode == 0  # with all before it
    assert texts(folder) == before


def test_summary_lists_what_is_left(tmp_path, folder):
    for path in folder.glob("[1-9][0-9]*"):
        path.unlink()
    options = ["--rule", "refusal", "--tries", "2", "--model", "demo", "--devices", "cpu"]
    done = run(tmp_path, "repair", str(folder), *options)
    assert done.stdout.splitlines()[0].startswith("4 captioned, 6 skipped, 0 failed")
    assert done.stdout.splitlines()[1:] == [
        "6 captions still faulty:", *(f"  {i} fails {i % 5}.png: refusal" for i in (2, 3, 4, 7, 8, 9))
    ]  # fmt: skip
    assert done.returncode == 1
    history = run(tmp_path, "history").stdout
    assert "Repair 10 captions with" in history


def test_dry_run_changes_nothing(tmp_path, capsys):
    folder = tmp_path / "set"
    folder.mkdir()
    for name, text in (("a", "A red ball on a table."), ("b", "The image shows a dog."), ("c", "Perhaps a dog runs.")):
        make_picture(folder / f"{name}.png", (64, 64))
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    before = texts(folder)
    assert main(["approve", str(folder), "c.png"]) == 0
    capsys.readouterr()
    assert main(["repair", str(folder), "--dry-run", "--tries", "1"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == 'Opener such as "The video shows" [opener]'
    assert out[-1] == "1 file would be captioned again, up to 1 try each, 1 approved"
    assert main(["repair", str(folder), "--dry-run", "--json", "--no-rule", "hedging"]) == 1
    [row] = map(json.loads, capsys.readouterr().out.splitlines())
    assert (row["file"], row["rule"]) == ("b.png", "opener")
    assert main(["repair", str(folder), "--dry-run", "--rule", "loop"]) == 0
    assert main(["repair", str(folder), "--rule", "loop", "--model", "demo"]) == 0
    assert capsys.readouterr().err == "no faulty captions among 3\n"
    assert texts(folder) == before


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--tries", "0"], "0 tries are not possible; choose 1 to 20"),
        (["--rule", "typo"], "there is no rule 'typo'; there are loop, cut, "),
        (["--script", "Klingon"], "there is no script 'Klingon'; there are Latin, "),
        (["--resume", "--tries", "2"], "--resume uses the job's own settings; remove --tries"),
        (["--resume", "--no-rule", "loop"], "--resume uses the job's own settings; remove --no-rule"),
        (["--waivers", "nowhere.jsonl"], "cannot read the waivers nowhere.jsonl: "),
    ],
)
def test_wrong_options_are_one_line(tmp_path, capsys, options, problem):
    (tmp_path / "set").mkdir()
    assert main(["repair", str(tmp_path / "set"), *options]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {problem}")


def test_demo_model_repairs_what_was_planted(tmp_path, capsys):
    """With the real engine: the worker process, frames and all."""
    from captioner.demo.clips import write_samples

    folder = tmp_path / "clips"
    write_samples(folder, num_clips=2, num_stills=2)
    assert main(["caption", str(folder), "--model", "demo", "--devices", "cpu"]) == 0
    good = texts(folder)
    name = sorted(good)[0]
    (folder / name).write_text("A dog barks, and it barks, and it barks" + " and it barks" * 20, encoding="utf-8")
    capsys.readouterr()
    arguments = ["repair", str(folder), "--rule", "loop", "--model", "demo", "--devices", "cpu"]
    assert main(arguments) == 0  # it was changed outside
    assert capsys.readouterr().out.startswith("0 captioned, 1 skipped, 0 failed")
    assert main([*arguments, "--changed-outside"]) == 0
    assert capsys.readouterr().out.startswith("1 captioned, 0 skipped, 0 failed")
    after = texts(folder)
    assert after[name]
    assert b"barks" not in after[name]
    assert {k: v for k, v in after.items() if k != name} == {k: v for k, v in good.items() if k != name}
