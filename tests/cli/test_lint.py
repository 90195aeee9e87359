"""`captioner lint`: its output, exit status, and what it keeps from run to run."""

import json

import pytest

from captioner.cli.main import main
from captioner.dataset.lint import folder as folder_module
from tests.support.media_maker import make_picture


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for name, text in (("a", "A red ball on a table."), ("b", "The image shows a dog."), ("c", "A dog barks loudly.")):
        make_picture(folder / f"{name}.png", (64, 64))
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def lint(folder, capsys, *options):
    status = main(["lint", str(folder), *options])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def found(folder, capsys, *options):
    status, out, _ = lint(folder, capsys, "--json", *options)
    return status, [(each["file"], each["rule"]) for each in map(json.loads, out.splitlines())]


def test_json_has_one_object_a_line(folder, capsys):
    status, out, _ = lint(folder, capsys, "--json")
    first, second = map(json.loads, out.splitlines())
    assert status == 1
    assert first == {
        "file": "b.png",
        "rule": "opener",
        "text": "The image shows",
        "why": "it says that there is a picture instead of what is in it",
    }
    assert (second["file"], second["rule"], second["text"]) == ("c.png", "sound", "dog barks")


def test_text_is_in_groups_with_a_fix(folder, capsys):
    status, out, _ = lint(folder, capsys, "--rule", "opener")
    assert status == 1
    assert out.splitlines() == [
        'Opener such as "The video shows" [opener]',
        "  b.png: it says that there is a picture instead of what is in it: The image shows",
        "  fix: captioner edit --trim-openers",
        "1 of 3 captions faulty: opener 1",
    ]


def test_clean_folder_has_status_zero(folder, capsys):
    status, out, _ = lint(folder, capsys, "--no-rule", "opener", "--no-rule", "sound")
    assert (status, out) == (0, "0 of 3 captions faulty\n")


def test_only_what_changed_is_read_again(folder, capsys, monkeypatch):
    assert found(folder, capsys)[1] == [("b.png", "opener"), ("c.png", "sound")]
    texts = []
    check = folder_module.lint_draft
    monkeypatch.setattr(
        folder_module, "lint_draft", lambda draft, *rest: texts.append(draft.text) or check(draft, *rest)
    )
    assert found(folder, capsys)[1] == [("b.png", "opener"), ("c.png", "sound")]
    assert texts == []
    (folder / "b.txt").write_text("A brown dog.", encoding="utf-8")
    assert found(folder, capsys)[1] == [("c.png", "sound")]
    assert texts == ["A brown dog."]
    monkeypatch.setattr(folder_module, "_digest_of_code", lambda: "of another version")
    assert found(folder, capsys)[1] == [("c.png", "sound")]
    assert len(texts) == 4, "what other rules found is not kept"
    assert found(folder, capsys, "--trigger-word", "sks", "--rule", "trigger-missing") == (
        1,
        [(f"{name}.png", "trigger-missing") for name in "abc"],
    )


def test_target_and_waivers(folder, capsys, tmp_path):
    assert found(folder, capsys, "--target", "ideogram4", "--rule", "form")[1] == [(f"{n}.png", "form") for n in "abc"]
    waivers = tmp_path / "waivers.jsonl"
    _, out, _ = lint(folder, capsys, "--json")
    rows = [json.loads(line) | {"reason": "seen"} for line in out.splitlines()]
    waivers.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert found(folder, capsys, "--waivers", str(waivers)) == (0, [])
    (folder / "b.txt").write_text("This picture depicts a dog.", encoding="utf-8")
    assert found(folder, capsys, "--waivers", str(waivers)) == (1, [("b.png", "opener")])


def test_captions_without_media_and_in_subfolders(tmp_path, capsys):
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    (folder / "one.txt").write_text("A man picks up a", encoding="utf-8")
    (folder / "deep" / "two.txt").write_text("I'm sorry, but I can't help.", encoding="utf-8")
    assert found(folder, capsys)[1] == [("one.txt", "cut")]
    assert found(folder, capsys, "--recursive")[1] == [("one.txt", "cut"), ("deep/two.txt", "refusal")]


@pytest.mark.parametrize(
    "options", [["--rule", "none"], ["--tune", "loop=1"], ["--waivers", "none.jsonl"], ["--script", "Runes"]]
)
def test_wrong_options_are_one_line(folder, capsys, options):
    status, out, err = lint(folder, capsys, *options)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
