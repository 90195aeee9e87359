"""The options of the app: who may reach it, with what login, and which folders; and a start with them."""

import os
import subprocess
from pathlib import Path

import pytest

from captioner.cli.command import parse
from captioner.cli.serve import build_parser
from captioner.errors import CaptionerError, FolderError
from captioner.ui.server.options import find_access, is_loopback, last_folder
from tests.support.media_maker import make_picture
from tests.ui.test_app import START_TIMEOUT_S, command, running_app


def access(*arguments: object, **environment: str):
    return find_access(parse(build_parser(), list(map(str, arguments))), environment)


def test_at_home_there_is_no_login_and_the_home_folder(tmp_path, monkeypatch):
    home, clips = tmp_path / "home", tmp_path / "clips"
    home.mkdir()
    clips.mkdir()
    monkeypatch.setenv("HOME", str(home))
    found = access(clips)
    assert (found.exposed, found.login, found.roots.folders) == (False, None, (clips, home))
    assert access("--root", clips, "--host", "localhost").roots.folders == (clips, home)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--listen"], {}),
        (["--host", "0.0.0.0"], {}),
        (["--host", "::"], {}),
        (["--host", "192.168.1.2"], {}),
        (["--host", "my.machine"], {}),
        (["--share"], {}),
        ([], {"SPACE_ID": "me/captions"}),
        ([], {"GRADIO_SERVER_NAME": "0.0.0.0"}),
    ],
)
def test_remote_users_need_a_login_and_open_only_the_given_folders(tmp_path, arguments, environment):
    first, second = access(*arguments, **environment), access(*arguments, **environment)
    assert (first.exposed, first.generated, first.roots.folders) == (True, True, ())
    assert first.login[1] != second.login[1]
    assert len(first.login[1]) >= 20
    found = access(*arguments, "--root", tmp_path, tmp_path / "any", **environment, CAPTIONER_LOGIN="me:pass:word")
    assert (found.login, found.generated, found.roots.folders) == (("me", "pass:word"), False, (tmp_path,))
    with pytest.raises(CaptionerError, match="--mcp cannot be combined with a login"):
        access(*arguments, "--mcp", **environment)


def test_folders_and_login_can_come_from_variables(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    variables = {"CAPTIONER_ROOTS": os.pathsep.join(map(str, folders)), "SPACE_ID": "me/x"}
    assert access(**variables).roots.folders == tuple(folders)
    assert access("--login", "a:b", CAPTIONER_LOGIN="c:d").login == ("a", "b")
    with pytest.raises(CaptionerError, match="the login must be NAME:PASSWORD"):
        access(CAPTIONER_LOGIN="me")
    with pytest.raises(FolderError, match="no such folder: /no/such"):
        access("--root", "/no/such")


@pytest.mark.parametrize(
    ("given", "host"),
    [("[::1]", "::1"), (" ::1 ", "::1"), ("::", "::"), ("[::]", "::"), ("", "127.0.0.1"), ("  ", "127.0.0.1")],
)
def test_addresses_are_read_as_they_stand_in_urls(given, host):
    for found in (access("--host", given), access(GRADIO_SERVER_NAME=given)):
        assert (found.host, found.exposed) == (host, host == "::")


@pytest.mark.parametrize("host", ["fe80::1%eth0", "[fe80::1%25eth0]", "fe80::1", "::1%lo", "fd00::2%eth0"])
def test_address_that_no_browser_opens_is_refused(host):
    with pytest.raises(CaptionerError, match=r"^browsers cannot open \S+, an address of one network alone; "):
        access("--host", host)


@pytest.mark.parametrize("path", ["https://example.com/captions", "/a b", "/../x", "/a//b", "/\x1b[2J", "/ä", "?x"])
def test_root_path_that_is_none_names_where_it_came_from(path):
    with pytest.raises(CaptionerError, match=r"^--root-path must be a path such as /captions, not '"):
        access("--root-path", path)
    with pytest.raises(CaptionerError, match=r"^GRADIO_ROOT_PATH must be a path such as /captions, not '"):
        access(GRADIO_ROOT_PATH=path)
    assert access("--root-path", "/mine/", GRADIO_ROOT_PATH=path).root_path == "/mine"


ONLY_GIVEN = "so only folders given with --root DIR can be opened"


@pytest.mark.parametrize("home", ["/", "//", "/tmp/..", "", "/."])
def test_home_folder_that_is_the_whole_disk_is_not_opened(tmp_path, monkeypatch, caplog, home):
    monkeypatch.setenv("HOME", home)
    assert access(tmp_path).roots.folders == (tmp_path,)
    assert caplog.messages == [f"the home folder is /, the whole disk, {ONLY_GIVEN}"]
    with pytest.raises(FolderError, match="is outside the allowed folders"):
        access().roots.resolve("/etc")
    assert access("--root", "/").roots.allows(tmp_path)  # somebody who wants it can have it


@pytest.mark.parametrize("home", ["/nonexistent", "/dev/null", "/dev/null/x"])
def test_home_folder_that_is_none_opens_nothing(monkeypatch, caplog, home):
    monkeypatch.setenv("HOME", home)
    roots = access().roots
    assert (roots.folders, roots.confined, roots.allows(Path("/etc"))) == ((), True, False)
    assert caplog.messages == [f"there is no home folder, {ONLY_GIVEN}"]


def test_loopback_addresses_are_recognized():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]")))
    others = (
        "0.0.0.0",
        "::",
        "",
        "127.0.0.1.example",
        "localhost.example",
        "2130706433",
        "0x7f.1",
        "127.1",
        "10.0.0.1",
    )
    assert not any(map(is_loopback, others))


def test_last_folder_is_not_opened_where_that_is_not_allowed(tmp_path, caplog):
    roots = access("--listen", "--root", tmp_path).roots
    assert last_folder(tmp_path, roots) == tmp_path
    assert last_folder(None, roots) is None
    for folder in (tmp_path / "gone", tmp_path.parent):
        assert last_folder(folder, roots) is None
    assert caplog.text.count("the last folder was not opened: ") == 2


def test_app_that_listens_tells_its_login_and_opens_no_other_folder(tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    make_picture(clips / "a.png")
    refused = subprocess.run(
        command(clips, "--listen", "--state", tmp_path / "state"),
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
    )
    assert refused.returncode == 2
    assert refused.stderr == (f"error: {clips} is outside the allowed folders; restart with --root DIR to allow it\n")
    with running_app(clips, "--listen", "--root", clips, "--state", tmp_path / "state") as (app, _):
        line = app.stdout.readline()
        assert line.startswith("Log in as captioner with the password ")
        assert len(line.split()[-1]) >= 20
