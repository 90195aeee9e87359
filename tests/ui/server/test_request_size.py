"""The limits on what one request may send, and on all uploads together."""

import shutil
import socket

import httpx
import pytest
from starlette.exceptions import HTTPException

from captioner.ui.server import guard
from captioner.ui.server.guard import CountedReceive
from captioner.ui.server.uploads import Limits
from tests.support.web_page import serve_page


def test_a_request_that_is_too_large_is_refused(user, local, monkeypatch):
    monkeypatch.setattr(guard, "MAX_BODY_BYTES", 1000)
    answer = user.post("/gradio_api/run/status", content=b'{"data": ["%s"]}' % (b"x" * 1000))
    assert answer.status_code == 413
    chunks = user.post("/gradio_api/run/status", content=iter([b"{}"]))
    assert chunks.status_code == 411
    files = {"files": ("x.mp4", b"x" * 1_200_000)}
    assert local.post("/gradio_api/upload", files=files).status_code == 413
    assert local.post("/gradio_api/upload", files={"files": ("x.json", b"{}")}).status_code == 200


def test_a_wrong_length_lets_nothing_in(web):
    """By HTTP's rules chunks count then, whatever length is announced."""
    host, _, port = web.address.removeprefix("http://").partition(":")
    start = f"POST /login HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    lengths = ("Content-Length: 30\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 30")
    for length in (*lengths, "Transfer-Encoding: chunked", f"Content-Length: {'9' * 19}", f"Content-Length: {10**8}"):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(f"{start}{length}\r\n\r\n".encode())
            assert connection.recv(1000).partition(b"\r\n")[0].split()[1] in (b"400", b"411", b"413"), length


@pytest.mark.anyio
async def test_no_more_is_received_than_was_announced():
    messages = iter([{"body": b"x" * 20, "more_body": True}, {"body": b"x" * 10}, {"body": b"x"}])

    async def receive() -> dict:
        return next(messages)

    body = CountedReceive(receive, 30)
    assert (len((await body())["body"]), body.left_bytes) == (20, 10)
    assert (len((await body())["body"]), body.left_bytes) == (10, 0)
    with pytest.raises(HTTPException) as refused:
        await body()
    assert refused.value.status_code == 413


def send(client: httpx.Client, name: str, data: bytes) -> int:
    return client.post("/gradio_api/upload", files={"files": (name, data)}).status_code


def test_files_that_are_sent_but_never_added_count_as_uploads(services, tmp_path, monkeypatch):
    """Otherwise they could fill the disk beyond the limits."""
    incoming = tmp_path / "incoming"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(incoming))
    with serve_page(services, tmp_path) as served, served.log_in() as client:

        def send_file(number: int, num_bytes: int) -> int:
            return send(client, f"{number}.mp4", b"%d" % number + b"x" * num_bytes)

        served.page.uploads.limits = Limits(max_total_bytes=1_000_000)
        assert [send_file(number, 400_000) for number in range(4)] == [200, 200, 413, 413]
        served.page.uploads.limits = Limits(max_files=3)
        assert [send_file(number, 10) for number in range(4, 7)] == [200, 413, 413]
        assert len([path for path in incoming.rglob("*") if path.is_file()]) == 3
        shutil.rmtree(incoming)
        assert send_file(7, 10) == 200


def test_a_file_over_the_limit_is_refused_while_it_arrives(services, tmp_path):
    with serve_page(services, tmp_path, limits=Limits(max_file_bytes=10_000)) as served, served.log_in() as client:
        assert send(client, "x.mp4", b"x" * 20_000) == 413
        assert send(client, "x.mp4", b"x" * 5_000) == 200
