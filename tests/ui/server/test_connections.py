"""Half-open connections keep nobody out, fill neither the handles nor the log, and end by themselves."""

import contextlib
import logging
import socket
import subprocess
import sys
import time
from queue import Queue
from types import SimpleNamespace

import h11
import httpx
import psutil
import pytest

from captioner.system import handles
from captioner.system.repeats import RepeatFilter
from captioner.ui.server import connections
from captioner.ui.server.connections import Connections, network_of, new_connections
from tests.support.web_page import serve_page

HALVES = {
    "of a head": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
    "of a line": b"G",
    "nothing": b"",
    "of a body": b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nusername=",
    "refused body": b"POST /config HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nx",
    "second request": b"GET /robots.txt HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HTT",
}


def connect(address: str, text: bytes) -> socket.socket:
    url = httpx.URL(address)
    opened = socket.create_connection((url.host, url.port), timeout=10)
    opened.sendall(text)
    return opened


def seconds_until_closed(opened: socket.socket) -> float:
    started_s = time.monotonic()
    with opened:
        try:
            while opened.recv(65_536):
                pass
        except ConnectionResetError:
            pass
    return time.monotonic() - started_s


@pytest.mark.parametrize("half", HALVES)
def test_an_unfinished_request_is_closed(web, monkeypatch, half):
    for name in ("HEAD_S", "BODY_S", "DISCARD_S"):
        monkeypatch.setattr(connections, name, 0.5)
    assert seconds_until_closed(connect(web.address, HALVES[half])) < 4


def test_answers_are_sent_without_delay(web, monkeypatch):
    """Otherwise the body of each answer would wait 40 ms for the client to confirm its head."""
    options, made = [], connections.LimitedProtocol.connection_made

    def note_option(self, transport):
        made(self, transport)
        options.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(connections.LimitedProtocol, "connection_made", note_option)
    assert httpx.get(f"{web.address}/robots.txt").status_code == 200
    assert options == [1]


def test_one_byte_at_a_time_is_too_slow(web, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_S", 1.0)
    opened = connect(web.address, HALVES["of a head"])
    started_s = time.monotonic()
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            time.sleep(0.1)
            opened.sendall(b"a")
    assert time.monotonic() - started_s < 6


def test_a_client_that_takes_nothing_is_closed(web, user, monkeypatch):
    monkeypatch.setattr(connections, "READ_S", 0.5)
    monkeypatch.setattr(connections, "HEAD_S", 600)
    closed, lost = Queue(), connections.LimitedProtocol.connection_lost

    def note_end(self, exc):
        lost(self, exc)
        closed.put(self.client)

    monkeypatch.setattr(connections.LimitedProtocol, "connection_lost", note_end)
    cookie = "; ".join(f"{name}={value}" for name, value in user.cookies.items())
    with socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.connect(("127.0.0.1", httpx.URL(web.address).port))
        request = f"GET /config HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n".encode()
        opened.sendall(request * 50)  # 5 MB of answers
        while closed.get(timeout=60) != opened.getsockname():
            pass


def test_a_slow_upload_that_goes_on_is_not_closed(web, user, monkeypatch):
    for name in ("HEAD_S", "BODY_S", "DISCARD_S"):
        monkeypatch.setattr(connections, name, 1.2)

    def form():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range(10):
            time.sleep(0.3)
            yield b"x" * 10_000
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(sum(map(len, form())))}
    assert user.post("/gradio_api/upload", content=form(), headers=headers).status_code == 200


def test_half_open_connections_keep_nobody_out(services, tmp_path, monkeypatch):
    monkeypatch.setattr("captioner.ui.server.listen.new_connections", lambda: Connections(60, 30))
    with serve_page(services, tmp_path) as page:
        before = psutil.Process().num_fds()
        opened = [connect(page.address, HALVES["of a head"]) for _ in range(200)]
        for _ in range(20):
            assert httpx.get(page.address, timeout=5).status_code == 200
        assert psutil.Process().num_fds() - before < len(opened) + 60 + 20
        for one in opened:
            one.close()


class Connection:
    """What `Connections` uses of a connection."""

    def __init__(self, address: str, waiting: bool = True) -> None:
        self.address, self.is_waiting, self.closed = address, lambda: waiting, False
        self.transport = SimpleNamespace(abort=self.close)

    def close(self) -> None:
        self.closed = True


def test_a_full_server_closes_the_oldest_waiting_connection_of_the_most_crowded_address():
    limits = Connections(4, 3)
    busy, first, second, other = Connection("a", False), Connection("a"), Connection("a"), Connection("b")
    assert all(limits.add(one) for one in (busy, first, second, other))
    third = Connection("a")
    assert limits.add(third)  # one address is at its limit
    assert (first.closed, second.closed, busy.closed, len(limits)) == (True, False, False, 4)
    assert limits.add(Connection("c"))  # all are at their limit
    assert (second.closed, other.closed, len(limits)) == (True, False, 4)


def test_a_server_full_of_requests_refuses_new_connections():
    limits = Connections(2, 2)
    assert limits.add(Connection("a", False))
    assert limits.add(Connection("b", False))
    assert not limits.add(Connection("c"))
    for one in limits:
        limits.remove(one)
        limits.remove(one)
    assert (len(limits), list(limits)) == (0, [])


@pytest.mark.parametrize(
    ("address", "expected"),
    [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8::1", "2001:db8::/64"),
     ("2001:db8:0:0:ffff::9", "2001:db8::/64"), ("fe80::1%eth0", "fe80::/64"), ("", "")],
)  # fmt: skip
def test_ipv6_addresses_of_one_network_count_together(address, expected):
    assert network_of(address) == expected


@pytest.mark.parametrize(("soft", "total"), [(100, 50), (1024, 393), (4096, 2000), (1_000_000, 2000)])
def test_handles_are_kept_for_the_job(monkeypatch, soft, total):
    monkeypatch.setattr(connections, "max_handles", lambda: soft)
    limits = new_connections()
    assert (limits._total, limits._per_address) == (total, total // 2)


def test_the_limit_of_handles_is_raised_and_a_low_one_is_named():
    code = "import logging; from captioner.system.handles import *; raise_limit(); print(max_handles())"
    outputs = []
    for limits in ("-S -n 300; ulimit -H -n 2000", "-n 300"):
        command = f"ulimit {limits}; exec {sys.executable} -c '{code}'"
        ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        outputs.append((ended.stdout.strip(), ended.stderr.count("only 300 files may be open at once")))
    assert outputs == [("2000", 0), ("300", 1)]
    assert handles.max_handles() > 300


def test_the_same_line_is_logged_once_in_a_while(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr("captioner.system.repeats.time.monotonic", lambda: now_s[0])
    repeats = RepeatFilter(60)

    def logged(text: str, level: int = logging.ERROR) -> str | None:
        record = logging.LogRecord("asyncio", level, "", 0, "socket %s: " + text, (now_s[0],), None)
        return record.getMessage() if repeats.filter(record) else None

    assert logged("failed") == "socket 0.0: failed"
    for _ in range(1000):
        now_s[0] += 0.05
        assert logged("failed") is None
    assert logged("other") is not None
    assert [logged("x", logging.INFO), logged("x", logging.INFO)] == [f"socket {now_s[0]}: x"] * 2
    now_s[0] = 61.0
    assert logged("failed") == "socket 61.0: failed (1,000 more in the last minutes)"


def test_states_of_a_connection_have_the_deadlines_that_fit():
    one = connections.LimitedProtocol.__new__(connections.LimitedProtocol)
    one._since_s, one._answered, one._blocked_s = 10.0, False, float("inf")
    one.flow = SimpleNamespace(read_paused=False)
    found = {}
    for name, state, answered, paused in (
        ("head", h11.IDLE, False, False), ("body", h11.SEND_BODY, False, False), ("rest", h11.SEND_BODY, True, False),
        ("app is slow", h11.SEND_BODY, False, True), ("answer", h11.DONE, False, False),
    ):  # fmt: skip
        one.conn, one._answered, one.flow.read_paused = SimpleNamespace(their_state=state), answered, paused
        found[name] = one.deadline_s()
    assert found == {"head": 30, "body": 40, "rest": 15, "app is slow": float("inf"), "answer": float("inf")}
