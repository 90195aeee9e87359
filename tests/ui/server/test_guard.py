"""The guard: requests from other sites, under other names, of paths and connections that the page does not use."""

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from captioner.ui.launch import launch
from captioner.ui.page import build
from captioner.ui.server.guard import READING
from captioner.ui.server.options import Access
from captioner.ui.server.routes import PREFIX
from tests.support.web_page import LOGIN

EVIL = "https://evil.example"
CROSS_SITE = [
    {"Sec-Fetch-Site": "cross-site", "Origin": EVIL},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null", "Sec-Fetch-Mode": "navigate"},
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
]


@pytest.mark.parametrize("headers", CROSS_SITE)
def test_cross_site_requests_are_refused_everywhere(web, user, headers):
    services = web.services
    before = services.library.scan.id, services.settings
    for method, path in web.routes:
        if method not in READING or path != "/":
            answer = user.request(method, path, headers=headers, json={} if method == "POST" else None)
            assert answer.status_code == 403, (method, path)
    form = user.post("/gradio_api/run/open_folder", headers=headers, content='{"data": ["/", false]}')
    assert form.status_code == 403
    assert (services.library.scan.id, services.settings) == before
    assert user.get(f"{PREFIX}/list.json").status_code == 200  # nobody was logged out


def test_the_page_makes_requests_and_any_site_links_to_it(web, user):
    origin = {"Origin": web.address}
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, origin, {}):
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
        assert answer.status_code == 403
        assert answer.json()["detail"].startswith("refused: the request comes from another site")


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("evil.example", 400), ("127.0.0.1.evil.example", 400), ("localhost.evil.example", 400), ("0.0.0.0", 400),
        ("169.254.169.254", 400), ("evil.example@127.0.0.1.x", 400), ("[::1", 400), ("", 400), ("2130706433", 400),
        ("localhost", 200), ("localhost:7860", 200), ("127.0.0.1:1", 200), ("[::1]:7860", 200),
    ],
)  # fmt: skip
def test_a_page_for_this_machine_answers_only_to_its_names(local, host, code):
    for path in ("/", "/config", f"{PREFIX}/list.json"):
        assert local.get(path, headers={"Host": host}).status_code == code, path


def test_security_headers_are_on_every_answer(web, user):
    paths = ["/", "/config", "/nothing", "/assets/nothing", "/gradio_api/info", f"{PREFIX}/list.json", "/theme.css"]
    with web.client() as client:
        answers = [*map(user.get, paths), client.get("/config"), client.post("/login")]
    assert {200, 401, 404, 422} <= {answer.status_code for answer in answers}
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["content-security-policy"].endswith("frame-ancestors 'self'")
        assert "server" not in answer.headers or "uvicorn" in answer.headers["server"]


def test_on_a_space_only_the_hub_may_frame_the_page(web, monkeypatch):
    blocks, page = build(web.services, web.folder, True)
    options = {}
    monkeypatch.setattr(blocks, "launch", lambda **given: options.update(given) or (None, "", None))
    monkeypatch.setenv("SPACE_ID", "me/captions")
    launch(blocks, page, Access(web.services.roots, exposed=True, login=LOGIN))
    [middleware] = options["app_kwargs"]["middleware"]
    assert middleware.kwargs["framed_by"] == "'self' https://huggingface.co https://*.hf.space"
    assert middleware.kwargs["loopback"] is False
    assert (options["auth"], options["share"], options["num_workers"]) == (LOGIN, False, 0)


def test_a_websocket_is_closed(web):
    client = TestClient(web.blocks.app)
    for path in ("/", "/gradio_api/queue/join", "/queue/join"):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(path):
            pass
