"""Requests that are refused, malformed, cancelled or fail: no error of the server and no traceback."""

import json
import logging
import socket
import time

import gradio as gr
import httpx
import pytest
from gradio import queueing, route_utils, routes

from captioner.system.error_log import ErrorLog, OneLine
from captioner.system.repeats import RepeatFilter
from captioner.ui.server.failures import log_failure

BODIES = {
    "empty": b"", "no json": b"{{{", "list": b"[]", "null": b"null", "deep": b"[" * 100_000, "latin": b"\xff\xfe",
    "unknown": b'{"data": [], "fn_index": 9999, "session_hash": "x"}',
    "negative": b'{"data": [], "fn_index": -5, "session_hash": "x"}',
    "huge": b'{"data": [], "fn_index": 1000000000000000000000000, "session_hash": "x"}',
    "no event": b'{"data": []}',
    "half a character": b'{"data": ["\\ud800"], "fn_index": 9999, "session_hash": "\\ud800", "event_id": 1}',
    "no number": b'{"data": [NaN], "fn_index": 9999, "event_id": NaN, "session_hash": NaN}',
}  # fmt: skip
PATHS = (
    "queue/join", "run/predict", "api/predict", "call/nope", "run/nope", "call/v2/nope", "queue/data", "cancel",
    "reset", "vcs/pulse", "upload",
)  # fmt: skip
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\nthe begin'
)


@pytest.fixture
def lines(tmp_path, caplog) -> list[str]:
    """The lines that a user would see on the terminal from here on."""
    shown: list[str] = []
    handler = logging.Handler(logging.WARNING)
    formatter, passes = OneLine(ErrorLog(tmp_path)), RepeatFilter()
    handler.addFilter(passes)
    handler.emit = lambda record: shown.append(formatter.format(record))
    logging.getLogger().addHandler(handler)
    yield shown
    logging.getLogger().removeHandler(handler)


@pytest.fixture(autouse=True)
def _nothing_printed(capfd):
    yield
    printed = "".join(capfd.readouterr())
    assert "Traceback" not in printed
    assert "Error" not in printed


@pytest.mark.parametrize("path", PATHS)
def test_a_malformed_or_unknown_event_is_refused(user, lines, path):
    for name, body in BODIES.items():
        answer = user.post(f"/gradio_api/{path}", content=body, headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500, (name, answer.text)
        answer.json()
    assert lines == []


def test_an_event_that_runs_in_the_browser_alone_is_refused(user, web, lines):
    numbers = [number for number, event in web.blocks.fns.items() if event.fn is None]
    assert len(numbers) > 10
    for number in numbers:
        for path in ("queue/join", "run/predict"):
            body = {"data": [], "fn_index": number, "session_hash": "x"}
            answer = user.post(f"/gradio_api/{path}", json=body)
            assert (answer.status_code, answer.json()) == (404, {"detail": "there is no such event"})
    assert lines == []


def test_wrong_values_for_every_event_write_few_lines(user, web, lines, tmp_path):
    for number, event in web.blocks.fns.items():
        for data in ([], [None] * len(event.inputs), [{"x": []}] * len(event.inputs)):
            body = {"data": data, "fn_index": number, "session_hash": "x", "event_data": "x"}
            answer = user.post(f"/gradio_api/{'queue/join' if event.queue else 'run/predict'}", json=body)
            assert "Traceback" not in answer.text
    time.sleep(1)  # the queue
    assert 0 < len(lines) < 15
    assert not [line for line in lines if "\n" in line]
    assert all("a request" in line for line in lines)
    assert (tmp_path / "errors.log").stat().st_size < 1_000_000


def test_refused_requests_write_nothing(web, user, lines):
    with web.client() as stranger:
        for client, method, path, status, options in (
            (stranger, "POST", "gradio_api/queue/join", 401, {"json": {}}),
            (stranger, "GET", "gradio_api/info", 403, {"headers": {"Origin": "https://evil.example"}}),
            (stranger, "POST", "login", 400, {"data": {"username": "x", "password": "y"}}),
            (stranger, "POST", "login", 422, {"json": []}),
            (user, "GET", "gradio_api/file=/etc/passwd", 404, {}),
            (user, "PUT", "login", 405, {}),
            (user, "GET", "gradio_api/vcs/rows.json?scan=x", 409, {}),
            (user, "GET", "gradio_api/vcs/rows.json", 422, {}),
            (user, "POST", "gradio_api/run/predict", 409, {"json": {}, "headers": {"X-Page-Version": "old"}}),
        ):
            assert client.request(method, f"/{path}", **options).status_code == status, path
    assert lines == []


def raw(web, user, head: str, body: bytes) -> bytes:
    """Send a request, leave after half a second, and return the begin of the answer."""
    url = httpx.URL(web.address)
    cookies = "; ".join(f"{name}={value}" for name, value in user.cookies.items())
    start, _, rest = head.partition("\n")
    lines = [start, f"Host: {url.host}:{url.port}", f"Cookie: {cookies}", *rest.splitlines(), "", ""]
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall("\r\n".join(lines).encode() + body)
        connection.settimeout(0.5)
        try:
            return connection.recv(20)
        except TimeoutError:
            return b""


def test_cancelled_requests_write_nothing(web, user, lines):
    form = "Content-Type: multipart/form-data; boundary=x\nContent-Length: 50000"
    for path, head, body in (
        ("gradio_api/upload", form, FORM),
        ("gradio_api/run/predict", "Content-Type: application/json\nContent-Length: 5000", b"{"),
        ("gradio_api/queue/join", "Content-Type: application/json\nContent-Length: 5000", b"{"),
        ("gradio_api/vcs/pulse", "Content-Length: 5000", b"["),
        ("login", "Content-Type: application/x-www-form-urlencoded\nContent-Length: 50", b"username"),
    ):
        assert raw(web, user, f"POST /{path} HTTP/1.1\n{head}\n", body) == b"", path
    time.sleep(0.5)
    assert lines == []


def test_a_browser_that_leaves_its_stream_of_events_writes_nothing(web, user, lines):
    number = next(number for number, event in web.blocks.fns.items() if event.queue and not event.inputs)
    for session in ("a", "b", "c"):
        event = {"data": [], "fn_index": number, "session_hash": session, "event_data": {}}
        user.post("/gradio_api/queue/join", json=event)
        with user.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
            next(stream.iter_bytes())
    time.sleep(0.5)
    assert len(lines) <= 1


def test_a_websocket_is_refused_without_a_line(web, user, lines):
    head = "GET /gradio_api/queue/join HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"
    assert raw(web, user, f"{head}Sec-WebSocket-Key: eA==\n", b"").startswith(b"HTTP/1.1 405")
    assert lines == []


def test_a_bug_is_one_line_and_its_traceback_is_in_the_log_of_errors(lines, tmp_path):
    for module in (queueing, route_utils, routes):
        try:
            json.loads("nonsense")
        except ValueError:
            module.traceback.print_exc()
    assert lines == [
        "WARNING a request failed: unexpected JSONDecodeError: Expecting value: line 1 column 1 (char 0); "
        f"details are in {tmp_path / 'errors.log'}"
    ]
    assert "Traceback" in (tmp_path / "errors.log").read_text()


def test_an_error_for_the_user_has_no_traceback(lines, tmp_path):
    try:
        raise gr.Error("Value: 3 is not in the list of choices")
    except gr.Error:
        log_failure()
    assert lines == ["WARNING a request was refused: 'Value: 3 is not in the list of choices'"]
    assert not (tmp_path / "errors.log").exists()
