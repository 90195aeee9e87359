"""Where the page listens: addresses, ports and variables of every kind, and an address that opens."""

import argparse
import errno
import os
import socket

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from captioner.errors import CaptionerError
from captioner.ui.server import listen
from captioner.ui.server.options import first_port, port_number, prepare_gradio

APP = Starlette(routes=[Route("/", lambda request: PlainTextResponse("the page"))])
UNKNOWN = "is not known; give an address of this machine, or a name without a port, with --host"


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
        ("0.0.0.0", "127.0.0.1"),
        pytest.param("::1", "[::1]", marks=needs_ipv6),
        pytest.param("::", "127.0.0.1", marks=needs_ipv6),
    ],
)
def test_printed_address_opens(monkeypatch, host, own):
    monkeypatch.setenv("WEB_CONCURRENCY", "auto")  # which uvicorn reads as a number
    _, port, address, server = listen.start_server(APP, host, 0)
    try:
        assert address == f"http://{own}:{port}/"
        assert httpx.get(address, trust_env=False).text == "the page"
    finally:
        server.close()


@needs_ipv6
def test_all_addresses_of_ipv6_include_those_of_ipv4():
    _, port, _, server = listen.start_server(APP, "::", 0)
    try:
        for own in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{own}:{port}/", trust_env=False).text == "the page"
    finally:
        server.close()


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("no-such-name.invalid", f"the host no-such-name.invalid {UNKNOWN}"),
        ("127.0.0.1:80", f"the host 127.0.0.1:80 {UNKNOWN}"),
        ("http://127.0.0.1", f"the host http://127.0.0.1 {UNKNOWN}"),
        ("a" * 70, f"the host {'a' * 70} {UNKNOWN}"),
        ("..", f"the host .. {UNKNOWN}"),
        ("\0\x1b[2J", f"the host ??[2J {UNKNOWN}"),
        ("\ud800", rf"the host \ud800 {UNKNOWN}"),
        ("192.0.2.77", "192.0.2.77 is not an address of this machine; give --listen for all of its addresses"),
        pytest.param(
            "2001:db8::77",
            "2001:db8::77 is not an address of this machine; give --listen for all of its addresses",
            marks=needs_ipv6,
        ),
        pytest.param(
            "ff02::1",
            "cannot listen on ff02::1: Invalid argument; give another --host, such as 127.0.0.1",
            marks=needs_ipv6,
        ),
    ],
)
def test_host_that_cannot_be_used_is_one_line(host, problem):
    with pytest.raises(CaptionerError) as caught:
        listen.bind(host, None)
    assert str(caught.value) == f"cannot serve the page: {problem}"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EADDRINUSE, "port 80 is in use by another program; give another --port, or none for a free one"),
        (errno.EACCES, "this user may not listen on port 80; give another --port, from 1024 on"),
        (errno.EADDRNOTAVAIL, "127.0.0.1 is not an address of this machine; give --listen for all of its addresses"),
        (errno.EAFNOSUPPORT, "this machine has no addresses of the kind of 127.0.0.1; give another --host, such as"),
        (errno.ENOBUFS, "cannot listen on 127.0.0.1: No buffer space available; give another --host, such as"),
    ],
)
def test_port_that_cannot_be_used_is_one_line(monkeypatch, number, advice):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(CaptionerError) as caught:
        listen.bind("127.0.0.1", 80)
    assert str(caught.value).startswith(f"cannot serve the page: {advice}")


def test_ports_that_are_taken_are_passed_over(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("GRADIO_SERVER_PORT", str(port))
        [opened] = listen.bind("127.0.0.1", None)
        with opened:
            assert opened.getsockname()[1] > port
        monkeypatch.setattr(listen, "NUM_PORTS", 1)
        with pytest.raises(CaptionerError, match=rf"the ports from {port} to {port} are in use; give another --port"):
            listen.bind("127.0.0.1", None)


def test_search_ends_at_the_last_port(monkeypatch):
    def refuse(address, **_):
        tried.append(address[1])
        raise OSError(errno.EADDRINUSE, "Address already in use")

    tried: list[int] = []
    monkeypatch.setenv("GRADIO_SERVER_PORT", "65530")
    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(CaptionerError, match=r"the ports from 65530 to 65535 are in use"):
        listen.bind("127.0.0.1", None)
    assert tried == [*range(65530, 65536)]


def test_name_of_an_address_family_that_is_missing_listens_on_the_other(monkeypatch):
    create, found = socket.create_server, socket.getaddrinfo("127.0.0.1", 0, type=socket.SOCK_STREAM)
    six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0))

    def create_server(address, **options):
        if options["family"] == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return create(address, **options)

    monkeypatch.setattr(socket, "create_server", create_server)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [six, *found])
    for port in (None, 0):
        [opened] = listen.bind("localhost", port)
        assert opened.getsockname()[0] == "127.0.0.1"
        opened.close()


def test_page_that_does_not_answer_at_its_address_is_one_line():
    with pytest.raises(CaptionerError, match=r"^cannot serve the page: it does not answer at http://127\.0\.0\.1:1/: "):
        listen._get("http://127.0.0.1:1/")
    with pytest.raises(CaptionerError, match=r"^cannot serve the page: it does not answer at "):
        listen._get("http://[fe80::1%eth0]:7860/")


@pytest.mark.parametrize(
    "text", ["abc", "", "-1", "65536", "99999999999", "9" * 5000, "1_000", "８０", "8e3", "0x50", "80.0", "80 81"]
)
def test_text_that_is_no_port_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"^give a port from 1 to 65535, or 0 for any free one, not '"):
        port_number(text)
    if text:
        with pytest.raises(CaptionerError, match=r"^GRADIO_SERVER_PORT: give a port from 1 to 65535"):
            first_port({"GRADIO_SERVER_PORT": text})


def test_ports_at_the_limits_are_read():
    assert [port_number(text) for text in ("0", "1", " 80 ", "0080", "65535")] == [0, 1, 80, 80, 65535]
    assert [first_port({"GRADIO_SERVER_PORT": text}) for text in ("", "  ", "0", "9000")] == [7860, 7860, 0, 9000]


def test_gradio_sees_no_variable_that_could_end_it_or_open_it(tmp_path, monkeypatch):
    junk = ("GRADIO_NODE_NUM_PORTS", "GRADIO_NUM_PORTS", "GRADIO_DEBUG", "GRADIO_VIBE_MODE", "GRADIO_ALLOWED_PATHS")
    for name in (*junk, "GRADIO_SERVER_PORT", "GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, " 8000 " if name == "GRADIO_SERVER_PORT" else "1")
    prepare_gradio(tmp_path)
    kept = {name: value for name, value in os.environ.items() if name.startswith("GRADIO_")}
    incoming = str(tmp_path / "incoming")
    assert kept == {
        "GRADIO_SERVER_PORT": "8000",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**9),
        "GRADIO_TEMP_DIR": incoming,
    }
