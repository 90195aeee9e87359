"""`captioner stats`: its output, the report in a browser without a network, comparisons of folders and of jobs."""

import json

import pytest

from captioner.cli.main import main
from tests.support.chromium import open_browser
from tests.support.hostile import FOLDER_NAME, MARKUP, STEMS
from tests.support.media_maker import make_picture

ROWS = [f"A woman with red hair walks, seen in soft light, number {number}." for number in range(19)]


@pytest.fixture
def folder(tmp_path):
    """Captions without media, of which one contradicts the others and itself."""
    folder = tmp_path / "set"
    folder.mkdir()
    for number, text in enumerate([*ROWS, "A woman with brown hair. A static shot. The camera pans."]):
        (folder / f"{number:02d}.txt").write_text(text, encoding="utf-8")
    return folder


def run(capsys, *arguments):
    status = main(["stats", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def rows(capsys, *arguments):
    status, out, err = run(capsys, *arguments, "--json")
    assert (status, err) == (0, "")
    return list(map(json.loads, out.splitlines()))


def test_text_has_what_calls_for_something_first(folder, capsys):
    status, out, _ = run(capsys, folder, "--top", "2", "--trigger-word", "woman")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "captions: 20"
    assert (
        lines[lines.index("  100%       20  hair (20 times)") + 1]
        == "   95%       19  woman with red hair walks (19 times)"
    )
    assert any(
        line.startswith("    5%        1  Hair color: brown, not red (“brown hair”; 19 say red") for line in lines
    )
    assert any(line.startswith("    5%        1  Camera: static and moving") for line in lines)
    assert lines.count(" " * 17 + "19.txt") == 2


def test_json_has_one_object_for_each_row(folder, capsys):
    first, *others = rows(capsys, folder)
    assert (first["captions"], first["tokens_are_exact"], first["over_limit"]) == (20, False, [])
    assert first["words_per_caption"] == {"mean": 11.9, "median": 12.0, "least": 11, "most": 12}
    found = [each for each in others if each["section"] == "contradictions"]
    assert [(each["text"], each["files"]) for each in found] == [
        ("Hair color: brown, not red", ["19.txt"]),
        ("Camera: static and moving", ["19.txt"]),
    ]
    assert {each["text"] for each in others if each["section"] == "phrases-2"} >= {"red hair", "soft light"}


def test_folders_are_compared(folder, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    for number, text in enumerate(ROWS):
        (other / f"{number}.txt").write_text(text.replace("soft light", "hard light"), encoding="utf-8")
    found = [each for each in rows(capsys, folder, "--against", other) if each["section"] == "differences"]
    shares = {each["text"]: (each["share"], each["share_there"]) for each in found}
    assert shares.items() >= {"soft": (0.95, 0), "hard light": (0, 1)}.items()
    assert "Differences" in run(capsys, folder, "--against", other)[1]
    assert "none that could not be chance" in run(capsys, folder, "--against", folder)[1]


def test_jobs_are_compared_as_they_wrote_their_captions(tmp_path, capsys):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in "abc":
        make_picture(folder / f"{name}.png", (64, 64))
    for prefix in ("soft light,", "hard light,"):
        options = ("--model", "demo", "--devices", "cpu", "--existing", "overwrite", "--caption-prefix", prefix)
        assert main(["caption", str(folder), *options]) == 0
    capsys.readouterr()
    (folder / "a.txt").write_text("Changed by hand.", encoding="utf-8")
    found = rows(capsys, folder, "--job", 1, "--against-job", 2)
    assert found[0]["captions"] == 3
    shares = {each["text"]: (each["share"], each["share_there"]) for each in found if each["section"] == "differences"}
    assert shares.items() >= {"soft light": (1, 0), "hard light": (0, 1)}.items()
    assert {each["text"]: each["captions"] for each in rows(capsys, folder) if each["section"] == "jobs"} == {
        "job 2": 3
    }
    status, _, err = run(capsys, folder, "--job", 9)
    assert (status, err) == (2, "error: job 9 wrote no captions; see `captioner history`\n")


@pytest.mark.browser
def test_report_opens_without_a_network_and_shows_hostile_texts_as_texts(tmp_path, capsys):
    folder = tmp_path / FOLDER_NAME.replace("/", "")
    folder.mkdir()
    for number, stem in enumerate(STEMS):
        (folder / f"{stem}.txt").write_text(
            f"{MARKUP} \u202egnp {stem} number {number}", encoding="utf-8", errors="replace"
        )
    (folder / "long.txt").write_text("word " * 2_000_000, encoding="utf-8")
    (folder / "empty.txt").write_text("", encoding="utf-8")
    path = tmp_path / "report.html"
    status, _, err = run(capsys, folder, "--html", path)
    assert status == 1
    assert "skipped long.txt" in err
    requests = []
    with open_browser("about:blank") as (page, expect):
        page.context.set_offline(True)
        page.on("request", lambda request: requests.append(request.url))
        page.on("dialog", lambda dialog: requests.append(dialog.message))
        page.goto(path.as_uri())
        expect(page.locator("h2").first).to_have_text("Constants")
        expect(page.locator("h1")).to_contain_text("<img src=x onerror=alert(1)>")
        page.locator("summary").first.click()
        assert page.evaluate("document.images.length + document.scripts.length") == 0
        assert "alert" in page.locator("body").inner_text()
    assert [url for url in requests if url != path.as_uri()] == []


@pytest.mark.parametrize(
    "options",
    [
        ("--constant", "100"), ("--top", "0"), ("--html", "report.txt"), ("--against", "nowhere"),
        ("--against", ".", "--against-job", "1"), ("--target", "none such"),
    ],
)  # fmt: skip
def test_wrong_options_are_one_line(folder, capsys, options):
    status, out, err = run(capsys, folder, *options)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_report_replaces_nothing_unless_told(folder, tmp_path, capsys):
    path = tmp_path / "report.html"
    path.write_text("mine")
    status, _, err = run(capsys, folder, "--html", path)
    assert (status, path.read_text()) == (2, "mine")
    assert "add --overwrite" in err
    assert run(capsys, folder, "--html", path, "--overwrite")[0] == 0
    assert path.read_text().startswith("<!DOCTYPE html>")
