"""What every command prints: no name, caption or argument controls the terminal, and no secret is shown."""

import json
import os
import re
from pathlib import Path

import pytest

from captioner.captions.flaws import REPEATS
from captioner.cli import caption, edit
from captioner.cli.main import main
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import JobNote
from captioner.redaction import HIDDEN, secret_values
from captioner.services import Services
from tests.support.media_maker import make_picture

pytestmark = pytest.mark.skipif(os.name == "nt", reason="such names are impossible on Windows")

EVIL = "\x1b]0;x\x07\x9b2J\r\u202e\n"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
SECRET = "topsecret-value-of-a-test"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of pictures with evil names, one with a caption that is a guess, and one whose caption name is taken."""
    folder = tmp_path / f"clips{EVIL}"
    folder.mkdir()
    for name in (f"a{EVIL}.png", f"b{EVIL}.png", f"b{EVIL}.webp"):
        make_picture(folder / name)
    (folder / f"a{EVIL}.txt").write_bytes(f"Grün{EVIL}".encode("cp1252", "replace"))
    (folder / f"b{EVIL}.txt").write_text(f"A cat.{EVIL}", encoding="utf-8")
    return folder


def run(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as error:  # of argparse
        return int(error.code or 0)


def commands(folder: Path) -> list[list[str]]:
    path, state = str(folder), str(folder.parent / f"state{EVIL}")
    return [
        ["--state", state, *words]
        for words in (
            ["list", path], ["list", path, "--json"], ["list", path, "--exclude", EVIL], ["list", f"{path}{EVIL}"],
            ["plan", path, "--model", "demo"], ["plan", path, "--model", "demo", "--json"],
            ["plan", path, "--model", EVIL],
            ["edit", path, "--find", "cat", "--replace", EVIL, "--dry-run"], ["edit", path, "--prefix", EVIL, "--yes"],
            ["edit", path, EVIL, "--prefix", "x"], ["edit", path, "--find", f"({EVIL}", "--regex", "--dry-run"],
            ["approve", path, EVIL], ["approve", path, "--all"], ["history"], ["undo"], ["undo", EVIL], ["undo", "7"],
            ["settings", f"trigger_word={EVIL}"], ["settings", f"folder={path}"], ["settings", EVIL], ["settings"],
            ["prompts", EVIL], ["frames", str(folder / f"a{EVIL}.png")], ["frames", str(folder / EVIL)],
            ["caption", path, "--model", EVIL], ["caption", path, "--devices", EVIL],
            ["caption", path, "--resume", EVIL], ["caption", path, f"--{EVIL}"], [EVIL],
            ["serve", path, "--port", EVIL], ["demo", f"/dev/null/{EVIL}"],
            ["bench", "engine", "--model", EVIL], ["bench", "engine", "--size", EVIL], ["bench", "sample", EVIL],
        )
    ]  # fmt: skip


def test_no_command_prints_control_characters(folder, capsys):
    for words in commands(folder):
        run(words)
        out, err = capsys.readouterr()
        assert not CONTROL.search(out + err), words
        assert "Traceback" not in err, words
        if "--json" in words:
            assert all(json.loads(line) for line in out.splitlines())


def test_summary_and_guesses_are_escaped(folder, capsys):
    caption._print_flaws({REPEATS: [f"a{EVIL}.mp4"]}, is_retried=False)
    with Services(folder.parent / "state") as services:
        services.open_folder(folder, False)
        edit._print_guesses(services.library, [item.name for item in services.library.items])
    err = capsys.readouterr().err
    assert not CONTROL.search(err)
    assert err.count(r"\x1b]0;x\x07\x9b2J\r\u202e\n") >= 2


@pytest.fixture
def secret(monkeypatch) -> str:
    monkeypatch.setenv("DBPASSWORD", SECRET)
    monkeypatch.setattr("captioner.redaction._known_secrets", lambda: secret_values(os.environ))
    return SECRET


def test_errors_and_notes_hide_secrets(folder, secret, capsys):
    plain = folder.parent / secret
    for words in (
        ["list", f"/no/{secret}"], ["caption", str(folder), "--model", secret],
        ["caption", str(folder), "--fps", secret], [secret], ["undo", secret], ["list", str(folder), f"--{secret}"],
        ["settings", f"fps={secret}"], ["settings", f"{secret}=1"], ["prompts", secret], ["frames", str(plain)],
        ["bench", "engine", "--model", secret],
    ):  # fmt: skip
        assert run(words) == 2
        err = capsys.readouterr().err
        assert secret not in err, words
        assert HIDDEN in err or words[0] == secret, words


def test_notes_of_a_job_hide_secrets(secret):
    log = EventLog()
    log.append(JobNote(job=1, text=f"the file system of /mnt/{secret} does not allow everything"))
    assert log.since(0)[0].text == f"the file system of /mnt/{HIDDEN} does not allow everything"
