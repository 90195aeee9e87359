"""`captioner compare`: from the captions over blind votes to the settings, without a page."""

import io
import json
import os
import subprocess
import sys
import time

import pytest

from captioner.cli.main import main
from captioner.demo.clips import write_samples
from captioner.library.comparisons.store import ComparisonStore


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTIONER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CAPTIONER_MODEL", "demo")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "set"
    write_samples(folder, num_clips=2, num_stills=2)
    return folder


def compare(capsys, *options):
    status = main(["compare", *map(str, options)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_from_captions_to_settings_without_a_page(folder, tmp_path, capsys):
    files = sorted(path.name for path in folder.iterdir())
    status, out, err = compare(capsys, folder, "--prompts", "Detailed,Short", "--files", 3, "--json")
    result = json.loads(out)
    assert (status, result["comparison"], result["files"], result["captions_left"]) == (0, 1, 3, 0)
    assert "comparison 1: 2 contenders on 3 files" in err
    assert [each["chance"] for each in result["contenders"]] == [None, None]
    assert all(each["seconds_per_1000"] > 0 < each["tokens_per_1000"] for each in result["contenders"])
    assert sorted(path.name for path in folder.iterdir()) == files

    _, out, _ = compare(capsys, "--ballots")
    ballots = lines(out)
    assert len(ballots) == 3
    assert not any(word in out for word in ("Detailed", "Short", "demo", "Describe"))
    shorter = [{"file": each["file"], "pick": 1 + min((0, 1), key=lambda at: len(each["captions"][at])),
                "ballot": each["ballot"]} for each in ballots]  # fmt: skip
    votes = tmp_path / "votes.jsonl"
    votes.write_text("\n".join(map(json.dumps, shorter)))
    status, out, err = compare(capsys, "--votes", votes)
    assert status == 0
    assert "counted 3 votes" in err
    assert out.splitlines()[1].startswith("Short")
    assert out.splitlines()[-1] == "Short is ahead, but not by enough to be sure: 3 of 3 picks agree with this ranking."
    assert [(each["file"], each["pick"]) for each in lines(compare(capsys, "--export-votes")[1])] == [
        (each["file"], each["pick"]) for each in shorter
    ]

    status, _, err = compare(capsys, "--apply")
    assert status == 0
    assert "the settings are now those of Short: prompt_name" in err
    assert main(["settings"]) == 0
    assert "prompt_name        Short" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "there is no comparison yet"),
        (("--number", "4"), "there is no comparison 4"),
        (("FOLDER",), "say what to compare with --prompts, --models or --try"),
        (("FOLDER", "--prompts", "Short"), "compare 2 to 6 contenders, not 1"),
        (("FOLDER", "--models", "demo,demo"), "have the same settings"),
        (("FOLDER", "--try", "", "--try", "devices=cpu"), "devices cannot be compared"),
        (("FOLDER", "--try", "", "--try", "fps"), "write SETTING=VALUE"),
        (("FOLDER", "--prompts", "Short,Detailed", "--files", "0"), "compare on 1 to 200 files, not 0"),
        (("FOLDER", "--prompts", "Short,Detailed", "--resume"), "leave out FOLDER"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder, capsys, options, message):
    status, out, err = compare(capsys, *(folder if option == "FOLDER" else option for option in options))
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_damaged_votes_count_nothing(folder, tmp_path, capsys):
    compare(capsys, folder, "--prompts", "Detailed,Short", "--files", 1)
    assert compare(capsys, "--apply")[2].startswith("error: there is no winner yet")
    assert compare(capsys, "--use", "Warm")[2].startswith("error: there is no contender 'Warm'; there are Detailed, ")
    votes = tmp_path / "votes.jsonl"
    for text, message in (
        ("{", "votes.jsonl, line 1: "),
        ('\n{"file": "other.mp4", "pick": 1}', "has no captions to vote on for other.mp4"),
        ("\xff", "cannot read the votes"),
    ):
        votes.write_text(text, encoding="latin-1")
        status, _, err = compare(capsys, "--votes", votes)
        assert (status, err.count("\n")) == (2, 1)
        assert message in err
    assert compare(capsys, "--votes", tmp_path / "none")[0] == 2
    assert json.loads(compare(capsys, "--json")[1])["votes"] == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_comparison_is_deleted_after_a_question_and_brought_back(folder, tmp_path, capsys, monkeypatch):
    compare(capsys, folder, "--prompts", "Detailed,Short", "--files", 1)
    store = ComparisonStore(tmp_path / "state")
    assert compare(capsys, "--delete")[2].startswith("error: name the comparison with --number")
    status, _, err = compare(capsys, "--number", 1, "--delete")
    assert (status, err) == (1, "nothing was changed; add --yes to delete it\n")
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    status, out, _ = compare(capsys, "--number", 1, "--delete")
    assert (status, out) == (1, "Delete comparison 1 with its captions and votes? [y/N] ")
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    status, _, err = compare(capsys, "--number", 1, "--delete")
    assert (status, store.numbers()) == (0, [])
    assert err == "deleted comparison 1; undo with: captioner compare --number 1 --restore\n"
    assert compare(capsys, "--number", 1, "--restore")[0] == 0
    assert store.numbers() == [1]
    assert compare(capsys, "--number", 1, "--delete", "--yes")[0] == 0


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_killed_comparison_goes_on_with_what_is_missing(folder, tmp_path, capsys):
    for path in sorted(folder.iterdir()):
        for number in range(4):
            os.link(path, folder / f"copy {number} of {path.name}")
    store, options = ComparisonStore(tmp_path / "state"), ["--try", "", "--try", "max_frames=4", "--batch-size", "1"]
    command = [sys.executable, "-m", "captioner", "compare", folder, *options, "--files", "20"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (store.numbers() and any(store.get().answers)):
        assert running.poll() is None
        time.sleep(0.02)
    running.kill()
    running.wait()
    kept = store.get()
    assert kept.num_left

    status, out, _ = compare(capsys, "--resume", "--json")
    assert (status, json.loads(out)["captions_left"]) == (0, 0)
    done = store.get()
    for before, after in zip(kept.answers, done.answers, strict=True):
        assert len(after) == 20
        assert all(answer.text for answer in after.values())
        assert before.items() <= after.items()
    assert not any(folder.glob("*.txt"))
