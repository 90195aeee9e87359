"""Secrets: in no log, error, event, settings file or page, whatever a library says about them."""

import html
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode

import httpx
import pytest

from captioner import redaction
from captioner.errors import ModelError
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemFailed, JobEnded, ReplicaChanged
from captioner.redaction import HIDDEN, hide_secrets, redact, secret_values
from tests.ui.test_app import command, running_app

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "hf_" + "AbCdEfGh12345678" * 2
KEY = "a key of no known shape 4711"


@pytest.fixture
def secrets(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("OTHER_API_KEY", KEY)
    monkeypatch.setattr(redaction, "_known_secrets", lambda: secret_values(os.environ))


@pytest.mark.parametrize(
    "text",
    [
        f"401 for {TOKEN}",
        f"Authorization: Bearer {TOKEN}",
        "authorization: bearer eyJhbGciOi.J9.abc-_x",
        "Authorization: Basic bWU6c2VjcmV0cw==",
        "https://me:s3cret@huggingface.co/x",
        "https://cdn.example/x?X-Amz-Credential=abc%2Fd&X-Amz-Signature=abcdef0123&y=1",
        "https://cdn.example/x?Policy=abcd&Signature=abcd~x&Key-Pair-Id=abcd",
        "https://x.hf.space/?__sign=eyJhb.GciOi",
        f"the key was {KEY}, it seems",
    ],
)
def test_secrets_are_hidden(secrets, text):
    hidden = redact(text)
    assert HIDDEN in hidden
    for part in (TOKEN, KEY, "eyJ", "bWU6", "s3cret", "abc"):
        assert part not in hidden


@pytest.mark.parametrize(
    "text",
    [
        "no such folder: /data/tokens and keys/secret_cat.mp4", "A cat that holds a token.", "hf_transfer is missing",
        "https://huggingface.co/Qwen/Qwen3-VL-8B?revision=main", "4,096 tokens", "clip?x=1&y=2", "",
    ],
)  # fmt: skip
def test_other_text_stays(secrets, text):
    assert redact(text) == text


def test_variables_that_are_called_a_secret_are_found():
    environment = {
        "HF_TOKEN": "1" * 8, "MY_SECRET_X": "22222222", "A_PASSWORD": "3" * 9, "AWS_SECRET_ACCESS_KEY": "4" * 8,
        "CAPTIONER_LOGIN": "me:a long password", "SHORT_TOKEN": "1234567", "TOKENIZERS_PARALLELISM": "falsefalse",
        "HOME": "/home/someone", "PWD": "/home/someone", "GIT_AUTHOR_NAME": "Jane Longname",
    }  # fmt: skip
    assert set(secret_values(environment)) == {
        "1" * 8, "22222222", "3" * 9, "4" * 8, "me:a long password", "a long password"
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "HFTOKEN", "DBPASSWORD", "hf_token", "MYAPIKEY", "KEY", "SSHKEY2", "PGPASSWORD", "MYSQL_PWD", "DBPWD",
        "SMTP_PASS", "PASSPHRASE", "REDIS_AUTH", "AUTHORIZATION", "BASICAUTH", "AWSCREDENTIALS", "CREDENTIAL_X",
        "CLIENTSECRET", "SecretSauce", "NPM_CONFIG_//registry/:_authToken", "AZURE_STORAGE_KEY", "TOKENS",
    ],
)  # fmt: skip
def test_names_that_hold_a_word_for_secrets_are_found(name):
    assert secret_values({name: "tr0ub4dor&3"}) == ("tr0ub4dor&3",)


def test_paths_and_names_of_other_things_are_no_secrets(tmp_path):
    environment = {
        "SSH_AUTH_SOCK": str(tmp_path), "HF_TOKEN_PATH": str(tmp_path), "OLDPWD": "/home/someone",
        "XKB_KEYBOARD_MODEL": "pc105pc105", "GIT_AUTHOR_EMAIL": "me@example.org", "TOKENIZERS_PARALLELISM": "disabled",
    }  # fmt: skip
    assert secret_values(environment) == ()


SPECIAL = """it's <a> & "b"/c+d%e=ä\\f"""


@pytest.mark.parametrize(
    "spelling",
    [
        SPECIAL, quote(SPECIAL), quote(SPECIAL, safe=""), quote_plus(SPECIAL), urlencode({"k": SPECIAL})[2:],
        quote(SPECIAL, safe="").replace("%2F", "%2f").replace("%3C", "%3c").lower().replace("%c3%a4", "%c3%a4"),
        html.escape(SPECIAL), html.escape(SPECIAL, quote=False), html.escape(SPECIAL).replace("&#x27;", "&#39;"),
        json.dumps(SPECIAL)[1:-1], json.dumps(SPECIAL, ensure_ascii=False)[1:-1], repr(SPECIAL)[1:-1],
    ],
)  # fmt: skip
def test_every_spelling_of_a_secret_is_hidden(monkeypatch, spelling):
    monkeypatch.setattr(redaction, "_known_secrets", lambda: secret_values({"DBPASSWORD": SPECIAL}))
    assert redact(f"cannot reach x?p={spelling}!") == f"cannot reach x?p={HIDDEN}!"


def test_lines_of_a_private_key_are_hidden(monkeypatch):
    key = "-----BEGIN KEY-----\n" + "A1b2" * 16 + "\n" + "C3d4" * 16 + "\n-----END KEY-----\n"
    monkeypatch.setattr(redaction, "_known_secrets", lambda: secret_values({"DEPLOYKEY": key}))
    assert redact(f"bad line {'C3d4' * 16}") == f"bad line {HIDDEN}"
    assert redact(f"bad key {key.strip()!r}") == f"bad key '{HIDDEN}'"


def test_the_saved_token_is_known(tmp_path, monkeypatch):
    (tmp_path / "token").write_text(f"{TOKEN[3:]}\n")
    monkeypatch.delenv("HF_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert redaction._saved_token() == TOKEN[3:]
    monkeypatch.setenv("HF_HOME", str(tmp_path / "gone"))
    assert redaction._saved_token() == ""


def test_errors_and_events_hold_none(secrets):
    assert str(ModelError(f"the download failed: 403 for {TOKEN}")) == f"the download failed: 403 for {HIDDEN}"
    log = EventLog()
    failed = log.append(ItemFailed(job=1, item="a.mp4", path=Path("a.mp4"), reason=f"RuntimeError: {KEY}"))
    assert failed.reason == f"RuntimeError: {HIDDEN}"
    log.append(ReplicaChanged(replica="cpu", state="lost", detail=f"ValueError: {TOKEN}"))
    log.append(JobEnded(job=1, outcome="failed", done=0, failed=1, skipped=0, reason=f"lost: {TOKEN}"))
    told = repr(log.since(0)) + repr(log.snapshot())
    assert TOKEN not in told
    assert KEY not in told


@pytest.fixture
def hidden(secrets):
    before = logging.getLogRecordFactory()
    hide_secrets()
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.logs_error("as an argument")
@pytest.mark.logs_error("in the stack")
def test_logs_hold_none_in_message_arguments_and_traceback(hidden):
    stream = io.StringIO()
    logger, handler = logging.getLogger("a library"), logging.StreamHandler(stream)  # of its own
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        raise ValueError(f"in the traceback: {TOKEN}")
    except ValueError:
        logger.exception("as an argument: %s; %s", {"token": KEY}, b"x")
    logger.error("in the stack", stack_info=True)  # of this line, which is no secret
    logger.removeHandler(handler)
    text = stream.getvalue()
    assert text.startswith(f"ERROR as an argument: {{'token': '{HIDDEN}'}}; b'x'\nTraceback")
    assert f"ValueError: in the traceback: {HIDDEN}\nERROR in the stack\nStack" in text
    assert TOKEN not in text


LOGGING = f"""
import contextlib, logging
from captioner.redaction import hide_secrets
from captioner.replicas import process
with contextlib.suppress(SystemExit):
    %s
from huggingface_hub import snapshot_download
for name in ("huggingface_hub.file_download", "anything"):
    logging.getLogger(name).error("%%s with %%s", "https://cdn.example/x?X-Amz-Signature=abcdef0123", "{TOKEN}")
"""


@pytest.mark.parametrize(
    ("start", "handlers"),
    [("logging.basicConfig(), hide_secrets()", 3), ("process.worker_main(None, None, None, 1)", 3)],
)
def test_libraries_with_handlers_of_their_own_log_no_secret(start, handlers, tmp_path):
    """In the app's process, and in that of a replica, which gets no further than to a broken torch here."""
    (tmp_path / "torch.py").write_text("raise ImportError")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    program = [sys.executable, "-c", LOGGING % start]
    ended = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count(f"https://cdn.example/x?{HIDDEN} with {HIDDEN}") == handlers
    assert TOKEN not in ended.stderr
    assert "abcdef" not in ended.stderr
    assert "Traceback" not in ended.stderr  # it is in the log of errors


def test_nothing_that_the_app_shows_or_keeps_holds_a_secret(tmp_path, monkeypatch):
    """The environment of a real app, its page, its output, and all files that it leaves."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("CAPTIONER_LOGIN", "me:the password of the page")
    state = tmp_path / "state"
    with running_app("--demo", "--state", state) as (app, address), httpx.Client(base_url=address) as client:
        client.post("/login", data={"username": "me", "password": "the password of the page"})
        config = client.get("/config").json()
        texts = [client.get(path).text for path in ("/", "/config", "/gradio_api/info", "/gradio_api/vcs/list.json")]
        for number, dependency in enumerate(config["dependencies"]):
            if dependency.get("api_name") in ("status", "models", "list"):
                texts.append(client.post("/gradio_api/run/predict", json={"data": [], "fn_index": number}).text)
        assert '"demo"' in texts[-1] + texts[1]
        app.terminate()
        app.wait(timeout=30)
        texts += [app.stdout.read(), app.stderr.read()]
    out = subprocess.run(
        [sys.executable, "-m", "captioner", "--state", str(state), "settings", "max_frames=16"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    texts += [out.stdout, *(path.read_bytes().decode("latin-1") for path in state.rglob("*") if path.is_file())]
    for secret in (TOKEN, KEY, "the password of the page"):
        assert not [text[:200] for text in texts if secret in text]


def test_the_command_line_hides_what_it_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    ended = subprocess.run(command(f"/no/{TOKEN}", "--state", tmp_path), capture_output=True, text=True, timeout=60)
    assert ended.stderr == f"error: no such folder: /no/{HIDDEN}\n"
    cli = [sys.executable, "-m", "captioner", "list", f"/no/{TOKEN}"]
    ended = subprocess.run(cli, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.stderr == f"error: no such folder: /no/{HIDDEN}\n"
