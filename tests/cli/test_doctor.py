"""`captioner doctor`: its output, exit status, and repairs that can be undone."""

import json
import re
from pathlib import Path

import pytest

from captioner.cli.main import main
from captioner.dataset.doctor.examine import CHECKS
from captioner.dataset.doctor.finding import codes
from captioner.dataset.trainers import trainer, trainers
from tests.support.media_maker import make_picture


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(3):
        make_picture(folder / f"{number}.png", (64, 64))
        (folder / f"{number}.txt").write_text(f"a red ball, {number}")
    return folder


def doctor(folder, capsys, *options):
    status = main(["doctor", str(folder), *options])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def found(folder, capsys, *options):
    status, out, _ = doctor(folder, capsys, "--json", *options)
    return status, [(each["file"], each["code"]) for each in map(json.loads, out.splitlines())]


def test_a_clean_folder_prints_no_finding(folder, capsys):
    assert found(folder, capsys, "--trainer", "sd-scripts") == (0, [])
    status, out, _ = doctor(folder, capsys, "--trainer", "sd-scripts")
    assert (status, out) == (0, "nothing found in 3 media files for sd-scripts\n")


def test_json_has_one_object_a_line(folder, capsys):
    (folder / "1.txt").unlink()
    status, out, _ = doctor(folder, capsys, "--trainer", "musubi", "--json")
    assert status == 1
    assert json.loads(out) == {
        "file": "1.png",
        "code": "image-without-caption",
        "severity": "error",
        "message": "no 1.txt; musubi-tuner leaves the image out without a word",
        "fix": "caption it, or move it away",
        "source": "media_utils.py:58-82 glob_images",
        "can_repair": False,
    }


def test_only_errors_make_the_status_one(folder, capsys):
    (folder / "gone.txt").write_text("a red ball")
    assert found(folder, capsys, "--trainer", "musubi") == (0, [("gone.txt", "caption-orphan")])
    (folder / "1.txt").write_text("")
    assert found(folder, capsys, "--trainer", "musubi")[0] == 1


def test_text_names_the_rule_its_fix_and_its_source(folder, capsys):
    (folder / "1.txt").write_text("one\ntwo")
    _, out, _ = doctor(folder, capsys, "--trainer", "sd-scripts", "--target", "flux2")
    assert out.splitlines() == [
        "error: Caption of several lines [caption-lines]",
        "  1.png: its caption has 2 lines; sd-scripts takes the first line alone unless enable_wildcard is set",
        "  fix: put the caption on one line (--fix)",
        "  source: train_util.py:1965-1968",
        "1 error in 3 media files for sd-scripts and FLUX.2",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainer", "fluxgym"], "no trainer named fluxgym"),
        (["--trainer", "musubi", "--target", "wan9"], "wan9"),
    ],
)
def test_unknown_names_are_answered_in_one_line(folder, capsys, options, message):
    status, out, err = doctor(folder, capsys, *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_repairs_are_one_operation_that_undo_reverses_byte_for_byte(folder, capsys):
    (folder / "0.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    (folder / "1.txt").write_bytes("a café".encode("utf-16"))
    (folder / "2.txt").rename(folder / "2.caption")
    make_picture(folder / "3.png", (64, 64))
    (folder / "3.txt").write_bytes(b" \n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    wrong = ["caption-extension", "caption-empty", "caption-encoding", "caption-lines", "caption-mark"]
    assert [code for _, code in found(folder, capsys, "--trainer", "sd-scripts")[1]] == wrong

    status, out, err = doctor(folder, capsys, "--trainer", "sd-scripts", "--fix", "--json")
    assert "repaired 5 caption files; undo with: captioner undo 1" in err
    assert (status, [json.loads(line)["code"] for line in out.splitlines()]) == (1, ["image-without-caption"])
    texts = {path.name: path.read_bytes() for path in folder.glob("*.txt")}
    assert texts == {"0.txt": b"one two", "1.txt": "a café".encode(), "2.txt": b"a red ball, 2"}
    assert not (folder / "2.caption").exists()

    assert main(["undo"]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_approved_captions_are_not_repaired(folder, capsys):
    (folder / "1.txt").write_text("one\ntwo")
    assert main(["approve", str(folder), "1.png"]) == 0
    _, _, err = doctor(folder, capsys, "--trainer", "sd-scripts", "--fix")
    assert "kept 1.png: approved" in err
    assert (folder / "1.txt").read_text() == "one\ntwo"


def test_a_guess_is_not_repaired_until_the_user_names_the_encoding(folder, capsys):
    (folder / "1.txt").write_bytes("a café".encode("latin-1"))
    assert found(folder, capsys, "--trainer", "musubi", "--fix") == (1, [("1.png", "caption-encoding")])
    assert main(["settings", "caption_encoding=latin-1"]) == 0
    capsys.readouterr()
    assert found(folder, capsys, "--trainer", "musubi", "--fix") == (0, [])
    assert (folder / "1.txt").read_text("utf-8") == "a café"


def test_trainers_that_have_the_option_read_another_extension(folder, capsys):
    for path in folder.glob("*.txt"):
        path.rename(path.with_suffix(".caption"))
    options = ["--caption-extension", ".caption"]
    assert found(folder, capsys, "--trainer", "sd-scripts", *options) == (0, [])
    assert {code for _, code in found(folder, capsys, "--trainer", "simpletuner", *options)[1]} == {"caption-extension"}


def test_subfolders_are_examined_if_the_trainer_reads_them_or_on_demand(folder, capsys):
    (folder / "more").mkdir()
    make_picture(folder / "more" / "4.png", (64, 64))
    assert found(folder, capsys, "--trainer", "ai-toolkit")[1] == [("more/4.png", "image-without-caption")]
    assert found(folder, capsys, "--trainer", "musubi")[1] == []
    assert found(folder, capsys, "--trainer", "musubi", "--recursive")[1] == [("more/4.png", "media-subfolder")]
    assert found(folder, capsys, "--trainer", "onetrainer", "--recursive")[1][0][1] == "image-without-caption"


def test_every_code_has_a_check_and_a_rule_that_uses_it():
    used = {
        code
        for name in trainers()
        for target in ("none", "wan2.1", "minimax-h3")
        for code in trainer(name, target).rules
    }
    assert set(codes()) == set(CHECKS) == used


def test_the_docs_have_the_table_of_the_codes():
    text = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (error|warning|note) \| (.*?)( \(`--fix`\))? \|$", text, re.MULTILINE)
    known = [(code, about.severity, about.title, about.repair) for code, about in codes().items()]
    assert [(code, severity, title, bool(fix)) for code, severity, title, fix in rows] == known
