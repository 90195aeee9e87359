"""The page in front of strangers: without a login, from another site, under another name, with anything they send."""

import asyncio
import itertools
import json
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import httpx
import pytest
from fastapi.testclient import TestClient
from gradio import processing_utils
from gradio.utils import get_upload_folder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocketDisconnect

from captioner.services import Services
from captioner.system.roots import Roots
from captioner.ui import page as layout
from captioner.ui.launch import launch
from captioner.ui.server import guard, login
from captioner.ui.server.guard import PUBLIC_PATHS, READING, CountedReceive, is_public, is_served
from captioner.ui.server.login import LoginLimiter
from captioner.ui.server.options import Access
from captioner.ui.server.routes import PREFIX
from captioner.ui.server.uploads import Limits
from tests.support.chromium import open_browser
from tests.support.media_maker import make_picture, make_video

LOGIN = ("me", "a long password")
EVIL = "https://evil.example"
FILLED = {
    "path": "x", "size": "64", "key": "x", "url_path": "x.hf.space/x", "path_or_url": "x", "event_id": "x", "run": "x",
    "session_hash": "x", "component_id": "1", "segment_id": "x", "ext": "ts", "api_name": "status", "id": "x",
    "version": "x", "environment": "client", "type": "x", "file_name": "x",
}  # fmt: skip
TOLD_TO_NOBODY = ("secret name", "SECRET CAPTION", "a long password")  # a file, its caption; the folder is added
FAST = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    make_video(folder / "secret name.mp4")
    (folder / "secret name.txt").write_text("SECRET CAPTION")
    make_picture(folder / "b.png")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def services(tmp_path_factory, folder) -> Iterator[Services]:
    with Services(tmp_path_factory.mktemp("state"), {"model": "demo"}, Roots([folder])) as services:
        yield services


@pytest.fixture(scope="module")
def page(services, folder):
    """As it is for others: (Blocks, address), with a login."""
    blocks, page = layout.build(services, folder, remote=True)
    address = launch(blocks, page, Access(services.roots, exposed=True, login=LOGIN))
    yield blocks, address.rstrip("/")
    blocks.close(verbose=False)


@pytest.fixture(scope="module")
def address(page) -> str:
    return page[1]


@pytest.fixture
def user(address) -> Iterator[httpx.Client]:
    """Logged in."""
    with httpx.Client(base_url=address, timeout=60) as client:
        assert client.post("/login", data=dict(zip(("username", "password"), LOGIN, strict=True))).status_code == 200
        yield client


@pytest.fixture(scope="module")
def local(services, folder) -> Iterator[httpx.Client]:
    services.open_folder(folder, False)
    blocks, page = layout.build(services, folder)
    address = launch(blocks, page)
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client
    blocks.close(verbose=False)


def routes_of(blocks) -> list[tuple[str, str]]:
    """(method, path) of all that the server has, with something in the place of each parameter."""
    found = []
    for route in itertools.chain.from_iterable(
        getattr(getattr(route, "original_router", None), "routes", [route]) for route in blocks.app.routes
    ):
        path = route.path.replace(":path", "").replace("{entry_id}", blocks.entry_id)
        path = path.format(**FILLED) if "{" in path else path
        found += [(method, path) for method in route.methods]
    return sorted(set(found))


@pytest.fixture(scope="module")
def routes(page, services) -> list[tuple[str, str]]:
    page[0].entry_id = f"{services.library.scan.id}-0"
    routes = routes_of(page[0])
    assert len(routes) > 70  # those of a mounted router as well
    return routes


# Without a login


def test_nothing_is_told_without_a_login(page, routes, folder, address):
    assert ("POST", "/gradio_api/queue/join") in routes
    with httpx.Client(base_url=address, timeout=30) as client:
        for method, path in routes:
            answer = client.request(method, path, json={} if method == "POST" else None)
            if is_public(path):
                assert answer.status_code < 500, (method, path)
            else:
                assert answer.status_code == (401 if is_served(path) else 404), (method, path)
            told = [text for text in (*TOLD_TO_NOBODY, str(folder)) if text in answer.text]
            assert not told, (method, path)


def test_only_the_form_for_the_login_is_public(address):
    """What is on the list is looked at one by one here; another entry needs a reason."""
    with httpx.Client(base_url=address) as client:
        answers = {path: client.get(path) for path in PUBLIC_PATHS}
    assert {path: answer.status_code for path, answer in answers.items()} == {
        "/": 200, "/login": 405, "/logout": 302, "/theme.css": 200, "/favicon.ico": 200, "/manifest.json": 200,
        "/robots.txt": 200, "/gradio_api/theme.css": 200, "/gradio_api/startup-events": 200,
        "/gradio_api/login_check": 401,
    }  # fmt: skip
    config = json.loads(answers["/"].text.partition("window.gradio_config = ")[2].partition(";</script>")[0])
    assert (config["auth_required"], config["components"], config["dependencies"]) == (True, [], [])


@pytest.mark.parametrize(
    "trick", ["127.0.0.1/assets/x?", "127.0.0.1/?", "x/login#", "/assets/", "a@b/theme.css?", "[::1]/?"]
)
def test_no_host_or_path_looks_like_one_for_anyone(address, trick):
    for path in ("/config", f"{PREFIX}/list.json", "/gradio_api/info"):
        for url in (
            path,
            f"{path}?/assets/x",
            f"{path}%3F/assets/x",
            f"/assets/..{path}",
            f"//assets{path}",
            f"/%2e{path}",
        ):
            answer = httpx.get(httpx.URL(address + url), headers={"Host": trick})
            assert answer.status_code in (307, 401, 404), url
            assert not [text for text in TOLD_TO_NOBODY if text in answer.text]
        answer = httpx.get(
            address + path, headers={"X-Original-URL": "/", "X-Rewrite-URL": "/", "X-Forwarded-Prefix": "/"}
        )
        assert answer.status_code == 401


def test_no_event_of_the_page_runs_without_a_login(page, address, services):
    blocks, _ = page
    before = services.library.scan.id
    with httpx.Client(base_url=address) as client:
        for number, dependency in blocks.fns.items():
            body = {"data": [], "fn_index": number, "session_hash": "x", "event_data": {"typed": "/"}}
            for path in ("queue/join", "run/predict", "api/predict", f"run/{dependency.api_name}"):
                assert client.post(f"/gradio_api/{path}", json=body).status_code == 401
    assert services.library.scan.id == before


def test_a_made_up_or_old_cookie_is_no_login(address, user, page):
    app = page[0].app
    for name in ("access-token", f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}"):
        for value in ("", "x", "null", "undefined", "me"):
            answer = httpx.get(f"{address}{PREFIX}/list.json", headers={"Cookie": f"{name}={value}"})
            assert answer.status_code == 401
    cookies = dict(user.cookies)
    assert httpx.get(f"{address}{PREFIX}/list.json", cookies=cookies).status_code == 200
    user.get("/logout")
    assert httpx.get(f"{address}{PREFIX}/list.json", cookies=cookies).status_code == 401


@pytest.mark.browser
def test_in_a_browser_one_logs_in_and_uploads(address, tmp_path):
    picture = make_picture(tmp_path / "new.png")
    with open_browser(address) as (page, expect):
        expect(page.locator(".grid-tile")).to_have_count(0)
        page.locator("input").nth(0).fill(LOGIN[0])
        page.locator("input[type=password]").fill(LOGIN[1])
        page.get_by_role("button", name="Login").click()
        expect(page.locator(".grid-tile")).to_have_count(3)
        expect(page.locator(".grid-tile img").first).to_be_visible()
        page.locator("input[type=file]").first.set_input_files(str(picture))
        expect(page.locator(".grid-tile")).to_have_count(1)
        expect(page.locator(".grid-tile b")).to_have_text("new.png")


def test_a_page_for_others_needs_a_login(services):
    blocks, page = layout.build(services)
    with pytest.raises(Exception, match="needs a login"):
        launch(blocks, page, Access(services.roots, exposed=True))


# Tries to log in


def try_login(address: str, password: str) -> httpx.Response:
    return httpx.post(f"{address}/login", data={"username": LOGIN[0], "password": password})


def test_passwords_cannot_be_tried_out(services, folder, tmp_path):
    blocks, page = layout.build(services, folder)
    address = launch(blocks, page, Access(services.roots, exposed=True, login=LOGIN)).rstrip("/")
    try:
        cookies = try_login(address, LOGIN[1]).cookies
        with ThreadPoolExecutor(16) as pool:
            tries = list(pool.map(lambda number: try_login(address, str(number)), range(40)))
        codes = [answer.status_code for answer in tries]
        assert sorted(set(codes)) == [400, 429]
        assert codes.count(400) == login.MAX_ATTEMPTS
        refused = try_login(address, LOGIN[1])
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= login.PERIOD_S + 1
        assert httpx.get(f"{address}{PREFIX}/list.json", cookies=dict(cookies)).status_code == 200
    finally:
        blocks.close(verbose=False)


def test_tries_are_counted_by_address_and_together(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(login.time, "monotonic", lambda: now_s[0])
    tries = LoginLimiter(per_address=2, total=3, period_s=10)
    assert [tries.add("a"), tries.add("a")] == [0, 0]
    now_s[0] = 4
    assert tries.add("a") == 6
    assert tries.add("b") == 0
    assert tries.add("c") == 6
    tries.reset("a")
    assert tries.add("a") == 0
    now_s[0] = 10
    assert [tries.add("c"), tries.add("c")] == [0, pytest.approx(4)]


# From another site

CROSS = [
    {"Sec-Fetch-Site": "cross-site", "Origin": EVIL},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null", "Sec-Fetch-Mode": "navigate"},
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
]


@pytest.mark.parametrize("headers", CROSS)
def test_cross_site_requests_are_refused_everywhere(routes, user, services, headers):
    before = services.library.scan.id, services.settings
    for method, path in routes:
        if method not in READING or path != "/":
            answer = user.request(method, path, headers=headers, json={} if method == "POST" else None)
            assert answer.status_code == 403, (method, path)
    form = user.post("/gradio_api/run/open_folder", headers=headers, content='{"data": ["/", false]}')
    assert form.status_code == 403
    assert (services.library.scan.id, services.settings) == before
    assert user.get(f"{PREFIX}/list.json").status_code == 200  # nobody was logged out


def test_the_page_itself_asks_and_is_linked_to_from_anywhere(user, address):
    host = address.removeprefix("http://")
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": f"http://{host}"}, {}):
        assert user.get(f"{PREFIX}/list.json", headers=headers).status_code == 200
        assert user.post("/gradio_api/run/status", json={"data": []}, headers=headers).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert user.get("/?__theme=dark", headers=link).status_code == 200
    assert user.get("/logout", headers=link).status_code == 403
    assert user.get("/", headers=link | {"Sec-Fetch-Mode": "cors"}).status_code == 403


def test_no_other_site_may_read_an_answer(user):
    preflight = {"Origin": EVIL, "Access-Control-Request-Method": "POST", "Host": "captioner.example"}
    user.options("/gradio_api/queue/join", headers=preflight)  # Gradio allows it; what follows is refused all the same
    for method, path in (("POST", "/gradio_api/queue/join"), ("GET", "/config"), ("GET", f"{PREFIX}/list.json")):
        answer = user.request(method, path, headers={"Origin": EVIL, "Host": "captioner.example"})
        assert (answer.status_code, answer.json()) == (403, {"detail": "refused: the request comes from another site"})


# Under another name


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("evil.example", 400), ("127.0.0.1.evil.example", 400), ("localhost.evil.example", 400), ("0.0.0.0", 400),
        ("169.254.169.254", 400), ("evil.example@127.0.0.1.x", 400), ("[::1", 400), ("", 400), ("2130706433", 400),
        ("localhost", 200), ("localhost:7860", 200), ("127.0.0.1:1", 200), ("[::1]:7860", 200),
    ],
)  # fmt: skip
def test_a_page_of_this_machine_alone_answers_to_its_names_alone(local, host, code):
    for path in ("/", "/config", f"{PREFIX}/list.json"):
        assert local.get(path, headers={"Host": host}).status_code == code, path


def test_headers_are_on_every_answer(user, address):
    paths = ["/", "/config", "/nothing", "/assets/nothing", "/gradio_api/info", f"{PREFIX}/list.json", "/theme.css"]
    answers = [user.get(path) for path in paths] + [httpx.get(f"{address}/config"), httpx.post(f"{address}/login")]
    assert {200, 401, 404, 422} <= {answer.status_code for answer in answers}
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["content-security-policy"].endswith("frame-ancestors 'self'")
        assert "server" not in answer.headers or "uvicorn" in answer.headers["server"]


def test_on_a_space_only_the_hub_may_frame_the_page(services, folder, monkeypatch):
    blocks, page = layout.build(services, folder, True)
    with monkeypatch.context() as patch:
        asked = {}
        patch.setattr(blocks, "launch", lambda **options: asked.update(options) or (None, "", None))
        patch.setenv("SPACE_ID", "me/captions")
        launch(blocks, page, Access(services.roots, exposed=True, login=LOGIN))
    [middleware] = asked["app_kwargs"]["middleware"]
    assert middleware.kwargs["framed_by"] == "'self' https://huggingface.co https://*.hf.space"
    assert (asked["auth"], asked["share"], asked["num_workers"], middleware.kwargs["loopback"]) == (
        LOGIN,
        False,
        0,
        False,
    )


def test_a_websocket_is_closed(page):
    client = TestClient(page[0].app)
    for path in ("/", "/gradio_api/queue/join", "/queue/join"):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(path):
            pass


# Files

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wanted_files(services, folder) -> list[str]:
    return [
        "/etc/passwd", "/etc/hostname", "/proc/self/environ", str(ROOT / "app.py"), "app.py", "README.md",
        str(services.folder / "captioner.sqlite"), str(services.folder / "settings.json"),
        str(folder / "secret name.mp4"), str(folder / "secret name.txt"), "http://127.0.0.1:1/", "https://evil.example/x",
    ]  # fmt: skip


def test_gradio_serves_no_file_of_this_machine(user, wanted_files):
    ways = (
        "/gradio_api/file={}",
        "/gradio_api/file/{}",
        "/file={}",
        "/gradio_api/proxy={}",
        "/gradio_api/deep_link?x={}",
    )
    ways += tuple(
        f"/{kind}/{dots}{{}}" for kind in ("static", "assets", "svelte") for dots in ("", "../../../../../..")
    )
    ways += tuple(f"/{kind}/..%2f..%2f..%2f..%2f..%2f..{{}}" for kind in ("static", "assets", "svelte"))
    ways += ("/gradio_api/custom_component/x/client/../{}", f"{PREFIX}/media/{{}}", f"{PREFIX}/thumb/..%2f{{}}.jpg")
    for way, file in itertools.product(ways, wanted_files):
        answer = user.get(httpx.URL(str(user.base_url).rstrip("/") + way.format(file)))
        assert answer.status_code in (403, 404), (way, file)
        assert b"root:" not in answer.content
        assert b"SQLite" not in answer.content


def test_an_upload_names_no_file_of_this_machine(page, user, folder):
    """What a browser says that it has uploaded must lie where uploads come in."""
    blocks, _ = page
    numbers = [number for number, fn in blocks.fns.items() if "receive" in (fn.name or "")]
    assert len(numbers) == 1
    for path in (folder / "secret name.mp4", Path("/etc/passwd"), ROOT / "docs" / "gallery.png"):
        file = {"path": str(path), "orig_name": "x.mp4", "meta": {"_type": "gradio.FileData"}}
        for data in ([[file]], [[{**file, "url": f"file://{path}"}]]):
            body = {"data": [*data, None][:1], "fn_index": numbers[0], "session_hash": "x"}
            answer = user.post("/gradio_api/run/predict", json=body)
            assert answer.status_code in (400, 422, 500), answer.text
            assert answer.status_code != 500 or "error" in answer.json()
    assert (folder / "secret name.mp4").exists()


NOT_FETCHED = "files are not downloaded from URLs; upload them"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.mp4", "https://evil.example/x", "https://evil.example"])
def test_no_endpoint_fetches_an_address(page, user, url):
    """Gradio takes any value of this form for a file, whatever the component."""
    blocks, _ = page
    incoming = Path(get_upload_folder())
    before = sorted(incoming.rglob("*"))
    file = {"path": url, "orig_name": "x.mp4", "meta": {"_type": "gradio.FileData"}}
    told = {}
    for number, function in blocks.fns.items():
        if function.inputs and function.fn:
            data = [[{"x": file}], *[None] * (len(function.inputs) - 1)]
            body = {"data": data, "fn_index": number, "session_hash": "x", "event_data": {}}
            answer = user.post("/gradio_api/run/predict", json=body)
            assert answer.status_code == 500, (function.name, answer.text)
            told[function.name] = answer.json()["error"]
    assert {name for name, error in told.items() if error == NOT_FETCHED} == set(told)
    assert {"get_caption", "set_caption", "receive"} <= set(told)
    assert sorted(incoming.rglob("*")) == before


def test_addresses_are_fetched_on_no_other_way(page):
    block = gr.File(render=False)
    with pytest.raises(gr.Error, match=NOT_FETCHED):
        block.move_resource_to_block_cache("https://evil.example/x")
    for get in (processing_utils.async_ssrf_protected_get, processing_utils.async_ssrf_protected_download):
        with pytest.raises(gr.Error, match=NOT_FETCHED):
            asyncio.run(get("https://evil.example/x", cache_dir=""))


def test_no_component_has_functions_for_the_browser(page):
    for block in page[0].blocks.values():
        names = [name for name in dir(type(block)) if getattr(getattr(type(block), name, None), "_is_server_fn", False)]
        assert names == [], block


# How much


def test_too_much_at_once_is_refused(user, services, folder, address, monkeypatch):
    monkeypatch.setattr(guard, "MAX_BODY_BYTES", 1000)
    answer = user.post("/gradio_api/run/status", content=b'{"data": ["%s"]}' % (b"x" * 1000))
    assert answer.status_code == 413
    chunks = user.post("/gradio_api/run/status", content=iter([b"{}"]))
    assert chunks.status_code == 411
    blocks, page = layout.build(services, folder)
    local = launch(blocks, page)
    try:
        files = {"files": ("x.mp4", b"x" * 1_200_000)}
        assert httpx.post(f"{local}gradio_api/upload", files=files).status_code == 413
        assert httpx.post(f"{local}gradio_api/upload", files={"files": ("x.json", b"{}")}).status_code == 200
    finally:
        blocks.close(verbose=False)


def test_a_length_that_is_not_the_true_one_lets_nothing_in(address):
    """HTTP says that chunks count then, whatever length is announced."""
    host, _, port = address.removeprefix("http://").partition(":")
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


def test_files_that_are_only_sent_count_as_uploaded(services, tmp_path, monkeypatch):
    """Whoever sends files and never tells the page of them fills the disk no further than the limits."""
    incoming = tmp_path / "incoming"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(incoming))
    blocks, page = layout.build(services, remote=True)
    address = launch(blocks, page, Access(services.roots, exposed=True, login=LOGIN))

    def send(number: int, num_bytes: int) -> int:
        files = {"files": (f"{number}.mp4", b"%d" % number + b"x" * num_bytes)}
        return httpx.post(f"{address}gradio_api/upload", files=files, cookies=cookies).status_code

    try:
        cookies = dict(try_login(address.rstrip("/"), LOGIN[1]).cookies)
        page.uploads.limits = Limits(max_total_bytes=1_000_000)
        assert [send(number, 400_000) for number in range(4)] == [200, 200, 413, 413]
        page.uploads.limits = Limits(max_files=3)
        assert [send(number, 10) for number in range(4, 7)] == [200, 413, 413]
        assert len([path for path in incoming.rglob("*") if path.is_file()]) == 3
        shutil.rmtree(incoming)
        assert send(7, 10) == 200
    finally:
        blocks.close(verbose=False)


def test_a_file_over_the_limit_is_refused_while_it_comes(services, tmp_path):
    blocks, page = layout.build(services, remote=True)
    page.uploads.limits = type(page.uploads.limits)(max_file_bytes=10_000)
    address = launch(blocks, page, Access(services.roots, exposed=True, login=LOGIN))
    try:
        cookies = dict(try_login(address.rstrip("/"), LOGIN[1]).cookies)
        for size, code in ((20_000, 413), (5_000, 200)):
            files = {"files": ("x.mp4", b"x" * size)}
            assert httpx.post(f"{address}gradio_api/upload", files=files, cookies=cookies).status_code == code
    finally:
        blocks.close(verbose=False)


# GET changes nothing


def digest(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_get_changes_nothing(routes, user, services, folder):
    services.open_folder(folder, False)
    kept = ("settings.json", "prompts.json", "recent.json")

    def state() -> tuple:
        files = {name: (services.folder / name).read_bytes() for name in kept if (services.folder / name).exists()}
        return digest(folder), files, services.library.scan.id, services.settings, services.events.snapshot().job

    before = state()
    scan = services.library.scan.id
    with httpx.Client(base_url=user.base_url, cookies=dict(user.cookies), timeout=5) as client:
        for method, path in routes:
            if method in READING and path != "/logout":
                with client.stream(method, path, params={"scan": scan, "q": "x", "session_hash": "x"}) as answer:
                    assert answer.status_code < 500, path
    assert state() == before


# Anything

texts = st.one_of(
    st.text(max_size=40), st.from_regex(r"[0-9a-f]{1,12}-[-0-9]{0,12}", fullmatch=True), st.integers().map(str)
)
ids = st.one_of(
    st.sampled_from(["{scan}-0", "{scan}-1", "{scan}-2", "{scan}-3", "{scan}--1", "{scan}", "{scan}-0-0"]), texts
)
queries = st.dictionaries(
    st.sampled_from(["scan", "ids", "q", "v", "x"]), st.one_of(ids, st.text(max_size=300)), max_size=4
)
ranges = st.one_of(
    st.sampled_from(
        ["bytes=0-0", "bytes=-1", "bytes=1-0", "bytes=99999999-", "bytes=", "bytes=0-1,3-4", "bytes=a-b", "x"]
    ),
    st.builds("bytes={}-{}".format, st.integers(-10, 10**20), st.integers(-10, 10**20)),
    st.lists(st.integers(0, 5000), max_size=40).map(lambda at: "bytes=" + ",".join(f"{a}-{a + 3}" for a in at)),
)
plain = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=60)
plain = plain.map(lambda text: text.strip().encode("latin-1"))
headers = st.dictionaries(
    st.sampled_from(["If-None-Match", "If-Range", "If-Modified-Since", "Accept-Encoding", "Cookie", "X-Forwarded-For"]),
    st.one_of(plain, st.sampled_from(['"x"', 'W/"x"', "*", "gzip;q=0", "Thu, 01 Jan 1970 00:00:00 GMT"])),
    max_size=3,
)  # fmt: skip
PATHS = ("list.json", "rows.json", "search.json", "thumb/{}.jpg", "media/{}", "sheet/{}.jpg", "captions.zip", "{}")


@settings(FAST, max_examples=600)
@given(
    path=st.sampled_from(PATHS), entry_id=ids, query=queries, headers=headers, asked=st.one_of(st.none(), ranges),
    method=st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X"]),
)  # fmt: skip
def test_nothing_that_is_asked_of_the_media_routes_is_an_error_of_the_server(
    local, services, path, entry_id, query, headers, asked, method
):
    scan = services.library.scan.id
    url = f"{PREFIX}/{path}".replace(
        "{}", "".join(f"%{byte:02x}" for byte in entry_id.replace("{scan}", scan).encode("utf-8", "replace"))
    )
    query = {name: text.replace("{scan}", scan) for name, text in query.items()}
    if asked is not None:
        headers = headers | {"Range": asked}
    answer = local.request(method, url, params=query, headers=headers)
    assert answer.status_code < 500, (method, url, query, headers, answer.text)
    assert len(answer.content) < 2_000_000


bodies = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)


@settings(FAST, max_examples=150)
@given(
    name=st.sampled_from(["open_folder", "list", "get_caption", "set_caption", "start", "models"]),
    data=bodies,
)
def test_endpoints_refuse_what_makes_no_sense_in_one_line(local, services, name, data):
    folder = services.library.folder
    body = {"data": data if isinstance(data, list) else [data], "session_hash": "x"}
    if name == "start":  # of files that are not there
        body["data"] = [["gone"], *body["data"]]
    answer = local.post(f"/gradio_api/run/{name}", json=body)
    if answer.status_code >= 500:  # Gradio's way to tell an error of a handler
        assert set(answer.json()) <= {"error", "duration", "visible", "title", "detail"}
    assert "Traceback" not in answer.text
    assert services.library.folder == folder
