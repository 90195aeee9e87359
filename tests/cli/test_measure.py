"""The command `measure`: one line for each clip, or one object."""

import contextlib
import json
import os
import sqlite3

from captioner.cli.main import main
from captioner.media.measure import VERSION
from captioner.media.words import describe
from captioner.system.files import DATABASE
from captioner.values import Measured
from tests.support.motion_clips import Clip, Scene, encode, make, panning, render, still


def test_clips_of_a_folder_are_measured(tmp_path, capsys):
    folder = tmp_path / "clips"
    folder.mkdir()
    make(folder, Clip("pan", [(0.0, Scene("shapes", 0, panning(-0.1)))], ()))
    still_clip = Clip("cut", [(0.0, Scene("shapes", 0, still)), (2.0, Scene("clouds", 1, still))], (), noise=4)
    encode(folder / "sub \n.mp4", render(still_clip), 8)
    (folder / "broken.mp4").write_bytes(b"")
    assert main(["measure", str(folder), "--state", str(tmp_path / "state"), "--json"]) == 1
    out = capsys.readouterr()
    rows = {row["file"]: row for row in map(json.loads, out.out.splitlines())}
    assert set(rows) == {"pan.mp4", "sub \n.mp4"}
    assert (rows["pan.mp4"]["camera"], rows["pan.mp4"]["has_sound"]) == (["pan left"], False)
    (cut,) = rows["sub \n.mp4"]["cuts_s"]
    assert abs(cut - 2.0) < 0.35
    assert out.err.splitlines() == ["skipped broken.mp4: file is empty"]

    (folder / "broken.mp4").unlink()
    assert main(["measure", str(folder), "--state", str(tmp_path / "state")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pan.mp4: camera: pan left; no sound"
    assert lines[1].startswith("sub \\n.mp4: camera: static; 1 cut")


def test_line_names_all_that_was_measured():
    measured = Measured(
        ("pan left", "zoom in"), (1.0, 2.0), ((0.5, 1.0),), ((3.0, 4.5),), "gets darker", (0.1, 0.2), False
    )
    assert describe(measured) == (
        "camera: pan left, then zoom in; 2 cuts; frozen from 0:00.50 to 0:01.00; black from 0:03.00 to 0:04.50; "
        "gets darker; bars above and below; bars at the sides; no sound"
    )
    assert describe(Measured()) == ""


def test_measured_clips_are_kept_until_they_or_the_measurements_change(tmp_path, capsys):
    folder, state = tmp_path / "clips", tmp_path / "state"
    folder.mkdir()
    path = make(folder, Clip("pan", [(0.0, Scene("shapes", 0, panning(-0.1)))], ()))
    command = ["measure", str(folder), "--state", str(state)]
    assert main(command) == 0
    before, stat = capsys.readouterr().out, path.stat()
    path.write_bytes(b"x" * stat.st_size)  # it cannot be decoded any more, but looks unchanged
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert main(command) == 0
    assert capsys.readouterr().out == before

    with contextlib.closing(sqlite3.connect(state / DATABASE)) as database, database:
        database.execute("UPDATE media_facts SET info_json = replace(info_json, ?, '[0, {')", (f"[{VERSION}, {{",))
    assert main(command) == 1  # an older version measured it, so it is measured again
    assert "skipped pan.mp4" in capsys.readouterr().err


def test_captions_that_contradict_what_was_measured_are_found_and_files_are_listed_by_it(tmp_path, capsys):
    folder, state = tmp_path / "clips", ["--state", str(tmp_path / "state")]
    folder.mkdir()
    make(folder, Clip("pan", [(0.0, Scene("shapes", 0, panning(-0.1)))], ()))
    make(folder, Clip("cut", [(0.0, Scene("shapes", 0, still)), (2.0, Scene("clouds", 1, still))], (), noise=4))
    (folder / "pan.txt").write_text("A row of boats; the camera pans right.")
    (folder / "cut.txt").write_text("A single continuous shot of a harbor, filmed by a static camera.")
    assert main(["lint", str(folder), "--json", *state]) == 0  # nothing was measured yet
    assert main(["list", str(folder), "--measured", "moving", *state]) == 0
    out = capsys.readouterr()
    assert (out.out, out.err) == ("", "note: 2 clips not measured yet; run captioner measure\n")

    assert main(["measure", str(folder), *state]) == 0
    capsys.readouterr()
    assert main(["lint", str(folder), "--json", *state]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["file"], each["rule"], each["text"]) for each in found] == [
        ("cut.mp4", "cuts", "single continuous shot"),
        ("pan.mp4", "camera", "camera pans right"),
    ]
    for names, listed in ((["moving"], ["pan.mp4"]), (["static", "cuts"], ["cut.mp4"]), (["moving", "cuts"], [])):
        options = [part for name in names for part in ("--measured", name)]
        assert main(["list", str(folder), *options, *state]) == 0
        assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == listed
