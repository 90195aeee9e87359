"""GET changes nothing, and no request is an error of the server, whatever it asks."""

from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioner.ui.server.guard import READING
from captioner.ui.server.routes import PREFIX

FAST = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def digest(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Gradio's own streams of events are asked for too: it may log that the client is gone.
@pytest.mark.logs_error("Exception in ASGI application", always=False)
def test_get_changes_nothing(web, user):
    services = web.services
    services.open_folder(web.folder, False)
    kept = [services.folder / name for name in ("settings.json", "prompts.json", "recent.json")]

    def state() -> tuple:
        files = {path: path.read_bytes() for path in kept if path.exists()}
        return digest(web.folder), files, services.library.scan.id, services.settings, services.events.snapshot().job

    before, scan = state(), services.library.scan.id
    with httpx.Client(base_url=user.base_url, cookies=dict(user.cookies), timeout=5) as client:
        for method, path in web.routes:
            if method in READING and path != "/logout":
                with client.stream(method, path, params={"scan": scan, "q": "x", "session_hash": "x"}) as answer:
                    assert answer.status_code < 500, path
    assert state() == before


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
    path=st.sampled_from(PATHS), entry_id=ids, query=queries, headers=headers, byte_range=st.one_of(st.none(), ranges),
    method=st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X"]),
)  # fmt: skip
def test_no_request_to_the_own_routes_is_an_error_of_the_server(
    local, web, path, entry_id, query, headers, byte_range, method
):
    scan = web.services.library.scan.id
    url = f"{PREFIX}/{path}".replace(
        "{}", "".join(f"%{byte:02x}" for byte in entry_id.replace("{scan}", scan).encode("utf-8", "replace"))
    )
    query = {name: text.replace("{scan}", scan) for name, text in query.items()}
    if byte_range is not None:
        headers = headers | {"Range": byte_range}
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
def test_endpoints_refuse_nonsense_in_one_line(local, web, name, data):
    folder = web.services.library.folder
    body = {"data": data if isinstance(data, list) else [data], "session_hash": "x"}
    if name == "start":  # of files that are not there
        body["data"] = [["gone"], *body["data"]]
    answer = local.post(f"/gradio_api/run/{name}", json=body)
    if answer.status_code >= 500:  # how Gradio reports an error of a handler
        assert set(answer.json()) <= {"error", "duration", "visible", "title", "detail"}
    assert "Traceback" not in answer.text
    assert web.services.library.folder == folder
