"""Nothing of the page is shown without a login, and passwords cannot be tried out."""

import json
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
import httpx
import pytest
from fastapi.testclient import TestClient
from gradio.routes import App

from captioner.errors import CaptionerError
from captioner.ui import scripts
from captioner.ui.launch import launch
from captioner.ui.page import build
from captioner.ui.server import login
from captioner.ui.server.guard import PUBLIC_PATHS, is_public, is_served
from captioner.ui.server.login import LoginLimiter
from captioner.ui.server.options import Access
from captioner.ui.server.routes import PREFIX, media_routes
from tests.support.chromium import open_browser
from tests.support.compared import keep_comparison
from tests.support.media_maker import make_picture
from tests.support.own_routes import error_of, id_of, serve_routes
from tests.support.web_page import LOGIN, SECRETS, serve_page


def test_no_route_reveals_anything_without_a_login(web):
    assert ("POST", "/gradio_api/queue/join") in web.routes
    with web.client() as client:
        for method, path in web.routes:
            answer = client.request(method, path, json={} if method == "POST" else None)
            if is_public(path):
                assert answer.status_code < 500, (method, path)
            else:
                assert answer.status_code == (401 if is_served(path) else 404), (method, path)
            revealed = [text for text in (*SECRETS, str(web.folder)) if text in answer.text]
            assert not revealed, (method, path)


def test_only_the_login_form_is_public(web):
    """The public paths are listed here one by one; another one needs a reason."""
    with web.client() as client:
        answers = {path: client.get(path) for path in PUBLIC_PATHS}
    assert {path: answer.status_code for path, answer in answers.items()} == {
        "/": 200, "/login": 405, "/logout": 302, "/theme.css": 200, "/favicon.ico": 200, "/manifest.json": 200,
        "/robots.txt": 200, "/gradio_api/theme.css": 200, "/gradio_api/startup-events": 200,
        "/gradio_api/login_check": 401, "/gradio_api/vcs/reach": 204,
    }  # fmt: skip
    config = json.loads(answers["/"].text.partition("window.gradio_config = ")[2].partition(";</script>")[0])
    assert (config["auth_required"], config["components"], config["dependencies"]) == (True, [], [])


@pytest.mark.parametrize(
    "trick", ["127.0.0.1/assets/x?", "127.0.0.1/?", "x/login#", "/assets/", "a@b/theme.css?", "[::1]/?"]
)
def test_no_host_or_path_passes_for_a_public_one(web, trick):
    for path in ("/config", f"{PREFIX}/list.json", "/gradio_api/info"):
        tricks = (f"{path}?/assets/x", f"{path}%3F/assets/x", f"/assets/..{path}", f"//assets{path}", f"/%2e{path}")
        for url in (path, *tricks):
            answer = httpx.get(httpx.URL(web.address + url), headers={"Host": trick})
            assert answer.status_code in (307, 401, 404), url
            assert not [text for text in SECRETS if text in answer.text]
        headers = {"X-Original-URL": "/", "X-Rewrite-URL": "/", "X-Forwarded-Prefix": "/"}
        assert httpx.get(web.address + path, headers=headers).status_code == 401


def test_no_event_of_the_page_runs_without_a_login(web):
    before = web.services.library.scan.id
    with web.client() as client:
        for number, dependency in web.blocks.fns.items():
            body = {"data": [], "fn_index": number, "session_hash": "x", "event_data": {"typed": "/"}}
            for path in ("queue/join", "run/predict", "api/predict", f"run/{dependency.api_name}"):
                assert client.post(f"/gradio_api/{path}", json=body).status_code == 401
    assert web.services.library.scan.id == before


def test_a_made_up_or_old_cookie_is_not_a_login(web, user):
    app, url = web.blocks.app, f"{web.address}{PREFIX}/list.json"
    for name in ("access-token", f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}"):
        for value in ("", "x", "null", "undefined", "me"):
            assert httpx.get(url, headers={"Cookie": f"{name}={value}"}).status_code == 401
    cookies = dict(user.cookies)
    assert httpx.get(url, cookies=cookies).status_code == 200
    user.get("/logout")
    assert httpx.get(url, cookies=cookies).status_code == 401


def test_a_logout_ends_the_login_of_one_browser_alone(web):
    with web.log_in() as here, web.log_in() as there:
        before, path = dict(here.cookies), f"{PREFIX}/list.json"
        answer = here.get("/logout")
        assert (answer.status_code, answer.headers["location"]) == (302, "./")
        deleted = answer.headers.get_list("set-cookie")
        assert len(deleted) == 2
        assert all("Max-Age=0" in cookie for cookie in deleted)
        assert httpx.get(f"{web.address}{path}", cookies=before).status_code == 401
        assert here.get(path).status_code == 401
        for trick in ("/logout?all_session=true", "/logout"):
            assert httpx.get(f"{web.address}{trick}", cookies=before).status_code == 302
            assert there.get(path).status_code == 200


@pytest.mark.browser
def test_a_browser_logs_in_and_uploads(web, tmp_path):
    picture = make_picture(tmp_path / "new.png")
    with open_browser(web.address) as (page, expect):
        expect(page.locator(".grid-tile")).to_have_count(0)
        page.locator("input").nth(0).fill(LOGIN[0])
        page.locator("input[type=password]").fill(LOGIN[1])
        page.get_by_role("button", name="Log in").click()
        expect(page.locator(".grid-tile")).to_have_count(3)
        expect(page.locator(".grid-tile img").first).to_be_visible()
        page.locator("input[type=file]").first.set_input_files(str(picture))
        expect(page.locator(".grid-tile")).to_have_count(1)
        expect(page.locator(".grid-tile b")).to_have_text("new.png")


def test_a_page_for_others_needs_a_login(services):
    blocks, page = build(services)
    with pytest.raises(CaptionerError, match="needs a login"):
        launch(blocks, page, Access(services.roots, exposed=True))


def test_a_login_holds_on_this_machine_alone_too(services, tmp_path):
    make_picture(tmp_path / "a.png")
    blocks, page = build(services, tmp_path)
    address = launch(blocks, page, Access(services.roots, login=LOGIN))
    try:
        with httpx.Client(base_url=address) as client:
            for path in ("gradio_api/vcs/list.json", "config", "gradio_api/info"):
                assert client.get(path).status_code == 401, path
            assert client.post("gradio_api/queue/join", json={"data": [], "fn_index": 0}).status_code == 401
            client.post("login", data={"username": LOGIN[0], "password": LOGIN[1]})
            assert client.get("gradio_api/vcs/list.json").json()["names"] == ["a.png"]
    finally:
        blocks.close(verbose=False)


def test_passwords_cannot_be_tried_out(services, tmp_path):
    with serve_page(services, tmp_path) as page:
        cookies = page.try_login().cookies
        with ThreadPoolExecutor(16) as pool:
            attempts = list(pool.map(lambda number: page.try_login(str(number)), range(40)))
        codes = [answer.status_code for answer in attempts]
        assert sorted(set(codes)) == [400, 429]
        assert codes.count(400) == login.MAX_ATTEMPTS
        refused = page.try_login()
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= login.PERIOD_S + 1
        assert httpx.get(f"{page.address}{PREFIX}/list.json", cookies=dict(cookies)).status_code == 200


def test_attempts_are_limited_by_address_and_in_total(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(login.time, "monotonic", lambda: now_s[0])
    logins = LoginLimiter(per_address=2, total=3, period_s=10)
    assert [logins.add("a"), logins.add("a")] == [0, 0]
    now_s[0] = 4
    assert logins.add("a") == 6
    assert logins.add("b") == 0
    assert logins.add("c") == 6
    logins.reset("a")
    assert logins.add("a") == 0
    now_s[0] = 10
    assert [logins.add("c"), logins.add("c")] == [0, pytest.approx(4)]


def test_every_own_route_needs_the_login(services, folder):
    scan, file_id = services.library.scan.id, id_of(services, "a.mp4")
    comparison = keep_comparison(services, folder, 2)
    compared, place = comparison.number, [file.name for file in comparison.files].index("a.mp4")
    paths = [
        "list.json", f"rows.json?scan={scan}&ids=0", f"outside.json?scan={scan}&ids=0", f"search.json?scan={scan}&q=a",
        f"thumb/{file_id}.jpg", f"media/{file_id}", f"sheet/{file_id}.jpg", f"info/{file_id}.json",
        f"captions.zip?scan={scan}", f"compare/{compared}/{place}", f"compare/{compared}/{place}.jpg",
        scripts.address("common.js").removeprefix(f"{PREFIX[1:]}/"),
    ]  # fmt: skip
    assert len(paths) == len(media_routes(services).routes)
    with serve_routes(services, LOGIN) as address, httpx.Client(base_url=f"{address}{PREFIX[1:]}/") as client:
        for path in [*paths, "thumb/0-0.jpg", "rows.json", "captions.zip?scan=0"]:
            assert error_of(client.get(path)) == (401, "log in first")
            assert client.get(path, headers={"Cookie": "access-token-x=y"}).status_code == 401
        answer = httpx.post(f"{address}login", data={"username": LOGIN[0], "password": LOGIN[1]})
        client.cookies.update(answer.cookies)
        assert [client.get(path).status_code for path in paths] == [200] * len(paths)
        client.cookies.clear()
        assert client.get("list.json").status_code == 401


def test_an_external_login_is_asked_as_gradio_asks_it(services, folder):
    async def user_of(request) -> str | None:
        return request.headers.get("x-user")

    app = App.create_app(gr.Blocks(), app_kwargs={"routes": media_routes(services).routes}, auth_dependency=user_of)
    client = TestClient(app)
    assert client.get(f"{PREFIX}/list.json").status_code == 401
    assert client.get(f"{PREFIX}/list.json", headers={"x-user": "me"}).status_code == 200
