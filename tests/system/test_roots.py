"""No hostile path reaches anything outside the allowed folders, through any interface."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import gradio as gr
import pytest
from fastapi.testclient import TestClient
from gradio.routes import App
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from captioner.cli.main import main
from captioner.errors import CaptionerError, FolderError
from captioner.media.discover import discover
from captioner.services import Services
from captioner.system.paths import plain_path
from captioner.system.roots import EVERYWHERE, SHOWN_LENGTH, Roots
from captioner.ui.gallery.folders import encode_path
from captioner.ui.gallery.tab import Gallery
from captioner.ui.server.api import Api
from captioner.ui.server.routes import PREFIX, media_routes
from tests.support.media_maker import make_picture

ROOT = Path(__file__).resolve().parents[2]
MANY = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SOME = settings(MANY, max_examples=150)

# Names in the folder `base` of the fixture, ways to write "..", and names that no file has.
PARTS = (
    "in", "in/sub", "sub", "out", "secret", "a.png", "deep", "to-out", "to-file", "to-base", "to-sub", "to-up", "loop",
    "other-loop", "chain0", "..", "../..", ".", "", "~", "~root", "~nobody", "...", ". .", "%2e%2e", "..%2f", "%252e",
    "..%c0%af", "..\\", "\\..\\..", "C:", "C:\\Windows", "c:/windows", "\\\\server\\share", "//server/share",
    "\\\\?\\C:", "CON", "NUL", "file:", "\0", "a\0", "\n", "x" * 300, "y" * 5000, "\udce4", "\ud800", "\u202e", "．．",
    "／", "etc", "passwd", "proc", "self", "root", "cwd", "fd", "dev", "*", "$HOME", "${HOME}", "`id`", "$(id)", "|",
)  # fmt: skip
OUTSIDE = "is outside the allowed folders; restart with --root DIR to allow it"
names = st.one_of(st.sampled_from(PARTS), st.text(max_size=12))


@st.composite
def hostile_paths(draw) -> str:
    """Draw a path relative to the root, to the folder above it, to the disk, or to nothing; perhaps encoded."""
    start = draw(st.sampled_from(["{in}/", "{in}", "{base}/", "/", "//", "", "~/", "./", "../", "file://{in}/"]))
    text = start + draw(st.sampled_from(["/", "//", "/./", "\\"])).join(draw(st.lists(names, max_size=7)))
    return draw(st.sampled_from([str, str, str, encoded, str.upper, os.path.normpath]))(text)


def encoded(text: str) -> str:
    return quote(text, errors="replace")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Make "in", which is allowed, with links out of it, inside it, in loops and in a long chain; and "out"."""
    base = tmp_path_factory.mktemp("base")
    for folder in ("in/sub/deep", "out/secret", "in-too"):
        (base / folder).mkdir(parents=True)
    for name in ("in/a.png", "in/sub/b.png", "out/secret.png", "in-too/c.png"):
        make_picture(base / name)
    for link, target in {
        "to-out": "../out", "to-file": "../out/secret.png", "to-base": str(base), "to-sub": "sub", "to-up": "..",
        "loop": "loop", "other-loop": "sub/back", "sub/back": "../other-loop", "to-etc": "/etc",
    }.items():  # fmt: skip
        (base / "in" / link).symlink_to(target)
    for number in range(1500):
        (base / "in" / f"chain{number}").symlink_to(f"chain{number + 1}")
    return base


@pytest.fixture(scope="module")
def roots(base) -> Roots:
    return Roots([base / "in"])


def filled_in(text: str, base: Path) -> str:
    return text.replace("{in}", str(base / "in")).replace("{base}", str(base))


def where_it_is(path: str | Path) -> Path:
    """Return the path as the kernel resolves it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink()
    finally:
        os.close(descriptor)


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel through /proc")


@needs_proc
@MANY
@given(text=hostile_paths())
@example(text="{in}/loop/../to-out")  # a lenient realpath() leaves what is behind a loop as it is
@example(text="{in}/chain0/../to-etc")
@example(text="{in}-too")
@example(text="{in}/" + "x" * 300 + "/../to-out")
@example(text="{in}/a.png/../../out")
def test_resolved_path_is_inside_or_refused_in_one_line(base, roots, text):
    text = filled_in(text, base)
    try:
        resolved = roots.resolve(text)
    except FolderError as error:
        assert_one_line(error)
        return
    assert resolved.is_relative_to(base / "in")
    assert where_it_is(resolved).is_relative_to(base / "in")
    assert roots.resolve(resolved) == resolved


def assert_one_line(error: object) -> None:
    message = str(error)
    assert message.isprintable(), repr(message)
    assert len(message) < SHOWN_LENGTH + 200
    message.encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give the path of a folder"),
        ("{in}/gone", "no such folder: {in}/gone"),
        ("{in}/loop", "cannot read the folder {in}/loop: Too many levels of symbolic links"),
        ("{in}/a.png/x", "not a folder: {in}/a.png/x"),
        ("{in}/to-out", f"{{in}}/to-out {OUTSIDE}"),
        ("{base}/gone", f"{{base}}/gone {OUTSIDE}"),
        ("{in}/\0", "no such folder: {in}/?"),
    ],
)  # fmt: skip
def test_the_message_says_why(base, roots, text, message):
    with pytest.raises(FolderError) as raised:
        roots.resolve(filled_in(text, base))
    assert str(raised.value) == filled_in(message, base)


def test_message_does_not_reveal_what_exists_outside(base, roots):
    messages = []
    for name in ("out", "gone"):
        with pytest.raises(FolderError) as raised:
            roots.resolve(base / name)
        messages.append(str(raised.value).replace(str(base / name), "X"))
    assert messages[0] == messages[1]


def test_a_local_user_has_the_home_folder_and_the_given_folders(base, monkeypatch):
    monkeypatch.setenv("HOME", str(base / "out"))
    roots = Roots.local([base / "in"])
    assert roots.folders == (base / "in", base / "out")
    assert roots.resolve("~/secret") == base / "out" / "secret"
    with pytest.raises(FolderError, match=r"^no such folder: /no/such$"):
        Roots.local(["/no/such"])
    monkeypatch.setenv("HOME", "/no/such")
    assert Roots.local([base / "in"]).folders == (base / "in",)


def test_a_folder_below_another_one_adds_nothing(base):
    roots = Roots([base / "in", base / "in" / "sub"])
    roots.add(base / "in" / "to-sub")
    assert roots.folders == (base / "in",)
    assert not Roots([]).allows(base)
    assert EVERYWHERE.allows(base)
    assert not EVERYWHERE.confined


# Through the doors


@pytest.fixture(scope="module")
def services(tmp_path_factory, base, roots):
    with Services(tmp_path_factory.mktemp("state"), {"model": "demo"}, roots) as services:
        services.open_folder(base / "in", True)
        yield services


def event(**data) -> gr.EventData:
    return gr.EventData(None, {"recursive": False, "edit": None, "typed": "", "key": "", **data})


def is_open_inside(services: Services, base: Path) -> bool:
    library = services.library
    return library.folder.is_relative_to(base / "in") and all(
        Path(os.path.realpath(item.path)).is_relative_to(base / "in") for item in library.items
    )


@SOME
@given(text=hostile_paths(), as_key=st.booleans(), recursive=st.booleans())
def test_page_opens_nothing_outside(base, services, text, as_key, recursive):
    text = filled_in(text, base)
    where = {"key": quote(text, errors="replace")} if as_key else {"typed": text}
    _, told = Gallery(services).bar.open(event(**where, recursive=recursive))
    assert_one_line(told["problem"]["text"])
    assert is_open_inside(services, base)


@SOME
@given(text=hostile_paths(), as_key=st.booleans())
def test_page_lists_nothing_outside(base, services, text, as_key):
    services.open_folder(base / "in", False)
    text = filled_in(text, base)
    where = {"key": quote(text, errors="replace")} if as_key else {"typed": text}
    listing = Gallery(services).bar.browse(event(**where))["listing"]
    inside = quote(str(base / "in"))
    keys = [listing["key"], listing["parent"], *(folder["key"] for folder in listing["folders"])]
    assert {key for key in keys if key and not f"{key}/".startswith(f"{inside}/")} == set()
    names = {folder["name"] for folder in listing["folders"]}
    assert names.isdisjoint({"secret", "out", "in-too", "etc", "bin"})


def test_page_can_go_from_one_allowed_folder_to_another(base, tmp_path):
    roots = Roots([base / "in", base / "in-too"])
    with Services(tmp_path / "state", {"model": "demo"}, roots) as services:
        bar = Gallery(services).bar
        start = bar.browse(event())["listing"]
        assert (start["key"], start["parent"]) == ("", "")
        assert [folder["key"] for folder in start["folders"]] == [encode_path(folder) for folder in roots.folders]
        first = bar.browse(event(key=start["folders"][0]["key"]))["listing"]
        assert first["place"] == str(base / "in")
        assert bar.browse(event(key=first["parent"]))["listing"] == start


@SOME
@given(text=hostile_paths(), recursive=st.booleans())
def test_api_opens_nothing_outside(base, services, text, recursive):
    try:
        Api(services).open_folder(filled_in(text, base), recursive)
    except CaptionerError as error:
        assert_one_line(error)
    assert is_open_inside(services, base)


@SOME
@example(text="../../..", kind="media/{}")  # the client asks for Gradio's page, which fails before launch()
@given(text=hostile_paths(), kind=st.sampled_from(["media/{}", "thumb/{}.jpg", "sheet/{}.jpg", "{}"]))
def test_routes_serve_nothing_by_a_path(base, services, client, text, kind):
    path = kind.format(quote(filled_in(text, base), safe="/%.~\\", errors="replace"))
    answer = client.get(f"{PREFIX}/{path}")
    if answer.request.url.path.startswith(PREFIX):
        assert answer.status_code in (404, 405, 422), (path, answer.status_code)
    assert "root:" not in answer.text


@pytest.fixture(scope="module")
def client(services) -> TestClient:
    app = App.create_app(gr.Blocks(), app_kwargs={"routes": media_routes(services).routes})
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)  # they are status 500


@SOME
@example(text="~x\0", name="models_folder")  # `expanduser` raises "embedded null byte"
@example(text="~x\0", name="model")
@given(text=hostile_paths(), name=st.sampled_from(["model", "models_folder"]))
def test_settings_name_no_folder_outside(base, services, text, name):
    before = getattr(services.settings, name)
    with contextlib.suppress(CaptionerError):
        services.change_settings({name: filled_in(text, base)})
    chosen = getattr(services.settings, name)
    if chosen not in (before, None):
        assert (
            where_it_is(chosen).is_relative_to(base / "in")
            if os.path.lexists(chosen)
            else "/" not in str(chosen).strip("/").partition("/")[2]
        )
    services.change_settings({"model": "demo", "models_folder": None})


# Links inside of an allowed folder


@pytest.fixture
def linked(tmp_path) -> Path:
    """Make a folder with links to a file inside, a file outside, and a caption outside."""
    folder, outside = tmp_path / "linked", tmp_path / "outside"
    for each in (folder, outside):
        each.mkdir()
    make_picture(folder / "own.png")
    make_picture(folder / "caption-out.png")
    make_picture(outside / "secret.png")
    (outside / "secret.txt").write_text("SECRET TEXT")
    (folder / "inside.png").symlink_to("own.png")
    (folder / "outside.png").symlink_to(outside / "secret.png")
    (folder / "caption-out.txt").symlink_to(outside / "secret.txt")
    (folder / "folder-out").symlink_to(outside)
    return folder


def test_links_that_lead_outside_are_skipped_with_a_warning(tmp_path, linked):
    with Services(tmp_path / "state", {"model": "demo"}, Roots([linked])) as services:
        library = services.open_folder(linked, True)
        assert [item.name for item in library.items] == ["inside.png", "own.png"]
        assert library.scan.warnings == (
            "caption-out.png: caption-out.txt links outside the allowed folders; skipped",
            "outside.png: outside.png links outside the allowed folders; skipped",
        )
        assert len(services.open_folder(linked, False).items) == 2
    with Services(tmp_path / "state", {"model": "demo"}, Roots([linked, tmp_path / "outside"])) as services:
        assert len(services.open_folder(linked, True).items) == 4


def test_caption_that_is_a_link_to_a_device_is_skipped_with_a_warning(linked):
    (linked / "own.txt").symlink_to("/dev/zero")
    found = discover(linked, escapes=Roots([linked]).escapes)
    assert [item.name for item in found.items] == ["inside.png"]
    assert "own.png: own.txt links outside the allowed folders; skipped" in found.warnings


def test_a_file_that_became_a_link_is_not_served(tmp_path, linked):
    with Services(tmp_path / "state", {"model": "demo"}, Roots([linked])) as services:
        services.open_folder(linked, False)
        ids = [f"{services.library.scan.id}-{index}" for index in range(2)]
        (linked / "own.png").unlink()
        (linked / "own.png").symlink_to(tmp_path / "outside" / "secret.png")
        app = App.create_app(gr.Blocks(), app_kwargs={"routes": media_routes(services).routes})
        client = TestClient(app, base_url=f"http://127.0.0.1{PREFIX}/")
        for entry_id in ids:
            for kind in ("media/{}", "thumb/{}.jpg", "sheet/{}.jpg"):
                assert client.get(kind.format(entry_id)).status_code == 404


def run_cli(*arguments: object, home: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "captioner", *map(str, arguments)]
    environment = {**os.environ, "HOME": str(home)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def test_command_line_follows_links_only_into_folders_that_were_given(tmp_path, linked):
    ended = run_cli("list", linked, "--json", home=linked)
    assert [json.loads(line)["name"] for line in ended.stdout.splitlines()] == ["inside.png", "own.png"]
    assert ended.stderr.count("links outside the allowed folders; skipped") == 2
    ended = run_cli("--root", tmp_path / "outside", "list", linked, home=linked)
    assert len(ended.stdout.splitlines()) == 4
    ended = run_cli("--root", "/no/such", "list", linked, home=linked)
    assert (ended.returncode, ended.stderr) == (2, "error: no such folder: /no/such\n")


DOORS = (
    ["list", "--json"],
    ["list", "--json", "--recursive"],
    ["edit", "--prefix", "x", "--dry-run"],
    ["approve", "--all"],
    ["caption", "--resume"],
)


def is_foreign(folder: str, base: Path) -> bool:
    """Return True for a folder outside `base`, such as "/", whose files other programs create and delete."""
    with contextlib.suppress(OSError, ValueError):
        return not Path(os.path.realpath(plain_path(folder), strict=True)).is_relative_to(base)
    return False


@needs_proc
@settings(MANY, max_examples=60)
@given(folder=hostile_paths(), root=st.none() | hostile_paths(), door=st.sampled_from(DOORS))
@example(folder="{in}", root=None, door=DOORS[1])
@example(folder="{in}", root="{base}/out", door=DOORS[1])
@example(folder="{in}/to-out", root=None, door=DOORS[0])
@example(folder="{base}", root=None, door=DOORS[1])
@example(folder="/", root=None, door=DOORS[1])
def test_command_line_opens_the_given_folder_or_gives_a_reason_in_one_line(base, folder, root, door):
    home, folder, root = base / "in" / "sub", filled_in(folder, base), root and filled_in(root, base)
    out, error = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        out.reconfigure = error.reconfigure = lambda **_: None
        patch.setenv("HOME", str(home))
        patch.setenv("CAPTIONER_STATE", str(base / "state"))
        if is_foreign(folder, base):
            door = [option for option in door if option != "--recursive"]
        status = main([f"--root={root}"] * (root is not None) + [*door, "--", folder])
        opened, allowed = Path(plain_path(folder)), []
        if status == 0:
            allowed = [where_it_is(plain_path(str(each))) for each in (home, opened, root or home)]
    assert status in (0, 2)
    if status == 2:
        assert out.getvalue() == ""
        assert error.getvalue().startswith("error: ")
        assert_one_line(error.getvalue().removesuffix("\n"))
    for line in out.getvalue().splitlines() if door[0] == "list" else ():
        file = where_it_is(opened / json.loads(line)["name"])
        assert any(file.is_relative_to(each) for each in allowed), file


def test_captioning_touches_nothing_outside(tmp_path, linked):
    before = {path: path.read_bytes() for path in (tmp_path / "outside").iterdir()}
    options = ("--model", "demo", "--existing", "overwrite", "--devices", "cpu")
    ended = run_cli("--state", tmp_path / "state", "caption", linked, *options, home=linked)
    assert ended.returncode == 0, ended.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "outside").iterdir()} == before
    assert sorted(path.name for path in linked.glob("*.txt") if not path.is_symlink()) == ["inside.txt", "own.txt"]
