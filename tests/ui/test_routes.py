"""The page's own routes, inside of Gradio's app as in the real page: what they answer, to whom, in which threads."""

import io
import json
import logging
import os
import re
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import httpx
import pytest
from fastapi.testclient import TestClient
from gradio.routes import App
from PIL import Image

from captioner.media.contact_sheet import make_sheet
from captioner.media.discover import KINDS
from captioner.media.thumbnail import make_thumbnail
from captioner.media.thumbnail_cache import THUMBNAIL_WORKERS
from captioner.services import Services
from captioner.ui.gallery.grid import entry_id
from captioner.ui.gallery.sheet import current_plan
from captioner.ui.server import routes
from captioner.ui.server.routes import CONTENT_TYPES, PREFIX, media_routes
from captioner.values import Caption, GenerationOptions, SamplePlan
from tests.support.media_maker import make_audio, make_picture, make_video

NAMES = ["a.mp4", "b.png", "broken.mp4", "sub/a.mp4"]  # as the Library lists them
HOSTILE = [
    "<script>alert(1)<script>.png", "a & 'b' \"c\".png", "${x} {{y}}.png", "line\nbreak\r\n.png", "back\\..\\slash.png",
    "猫の動画.png", "\u202egnp.exe.png", "%2e%2e%2f #?&=+.png", os.fsdecode(b"h\xe4lf.png"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, services) -> Path:
    """Open: two clips of the same name, a picture, and a clip that is broken. Two of the four have a caption."""
    folder = tmp_path / "media"
    (folder / "sub").mkdir(parents=True)
    make_video(folder / "a.mp4", 50)
    make_video(folder / "sub" / "a.mp4", 25, size=(64, 96))
    make_picture(folder / "b.png")
    make_audio(folder / "broken.mp4")
    (folder / "a.txt").write_text("A cat.")
    (folder / "b.txt").write_text(" \n")
    (folder / "sub" / "a.txt").write_text("Ein Kätzchen.", encoding="utf-8")
    services.open_folder(folder, True)
    read_captions(services)
    assert [item.name for item in services.library.items] == NAMES
    return folder


def read_captions(services: Services) -> None:
    """As the Library does by itself once it was listed; it notices the blank one."""
    for name in NAMES:
        services.library.lookup.find(name)


@pytest.fixture
def client(services, folder) -> TestClient:
    return client_of(services)


def client_of(services: Services) -> TestClient:
    app = App.create_app(gr.Blocks(), app_kwargs={"routes": media_routes(services).routes})
    return TestClient(app, base_url=f"http://127.0.0.1{PREFIX}/")


def id_of(services: Services, name: str) -> str:
    return entry_id(services.library, services.library.lookup.find(name).item)


def error_of(answer: httpx.Response) -> tuple[int, str]:
    assert_private(answer)
    return answer.status_code, answer.json()["detail"]


def assert_private(answer: httpx.Response) -> None:
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"].startswith("private")


def jpeg_size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "JPEG"
        return image.size


def wait_for_captions(services: Services) -> None:
    """Wait for the thread that does so after the first look at the list: then nothing changes any more by itself."""
    services.library.listing()
    for thread in [thread for thread in threading.enumerate() if thread.name == "captions"]:
        thread.join()


class TestList:
    def test_it_is_the_listing(self, client, services):
        wait_for_captions(services)
        answer = client.get("list.json")
        assert answer.status_code == 200
        assert answer.json() == services.library.listing()
        assert answer.json()["names"] == NAMES
        assert_private(answer)

    @pytest.mark.parametrize("accepted", ["gzip", "gzip, deflate, br, zstd"])
    def test_it_is_compressed_once_for_all_browsers(self, client, services, monkeypatch, accepted):
        monkeypatch.setattr(routes, "LIST_CACHE_S", 60.0)
        calls, listing = [], services.library.listing
        monkeypatch.setattr(services.library, "listing", lambda: calls.append(1) or listing())
        headers = {"Accept-Encoding": accepted}
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: client.get("list.json", headers=headers), range(20)))
        assert {answer.headers["content-encoding"] for answer in answers} == {"gzip"}
        assert {answer.headers["vary"] for answer in answers} == {"Accept-Encoding"}
        assert len({answer.content for answer in answers}) == len(calls) == 1

    def test_it_is_plain_for_who_takes_no_gzip(self, client):
        answer = client.get("list.json", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in answer.headers
        assert json.loads(answer.read())["names"] == NAMES

    def test_an_unchanged_list_is_not_sent_again(self, client, services, monkeypatch):
        monkeypatch.setattr(routes, "LIST_CACHE_S", 0.0)
        wait_for_captions(services)
        first = client.get("list.json")
        listing = services.library.listing()
        assert first.headers["etag"].startswith(f'W/"{listing["scan"]}-{listing["revision"]}-')
        again = client.get("list.json", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert_private(again)
        services.library.edits.save(services.library.items[1], "By hand.")
        changed = client.get("list.json", headers={"If-None-Match": first.headers["etag"]})
        assert (changed.status_code, changed.json()["lengths"][1]) == (200, len("By hand."))

    def test_another_folder_is_listed_at_once(self, client, services, folder):
        assert len(client.get("list.json").json()["names"]) == 4
        services.open_folder(folder / "sub", False)
        assert client.get("list.json").json()["names"] == ["a.mp4"]

    def test_it_is_empty_before_a_folder_is_open(self, services):
        answer = client_of(services).get("list.json")
        assert (answer.status_code, answer.json()["names"]) == (200, [])


class TestRowsAndSearch:
    def test_rows_are_those_of_the_library(self, client, services):
        scan = services.library.scan.id
        answer = client.get("rows.json", params={"scan": scan, "ids": "0-1,3,99,x,0"})
        assert answer.json() == {"scan": scan, "rows": services.library.lookup.rows(NAMES[i] for i in (0, 1, 3))}
        assert_private(answer)
        assert client.get("rows.json", params={"scan": scan}).json()["rows"] == []

    def test_search_gives_ranges(self, client, services):
        scan = services.library.scan.id
        for words, ids in (("", "0-3"), ("a.mp4", "0,3"), ("KÄTZCHEN", "3"), ("sub", "3"), ("dog", "")):
            assert client.get("search.json", params={"scan": scan, "q": words}).json() == {"scan": scan, "ids": ids}

    @pytest.mark.parametrize("path", ["rows.json", "search.json", "captions.zip"])
    def test_another_scan_is_a_conflict(self, client, path):
        answer = client.get(path, params={"scan": "0"})
        assert error_of(answer) == (409, "another folder was opened")
        assert client.get(path).status_code == 422


class TestThumbnails:
    def test_it_is_a_small_jpeg_kept_by_the_browser_and_on_disk(self, client, services):
        answer = client.get(f"thumb/{id_of(services, 'sub/a.mp4')}.jpg", params={"v": 1})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.headers["cache-control"] == "private, max-age=86400"
        assert jpeg_size(answer.content) == (64, 96)
        assert len(list((services.folder / "thumbnails").rglob("*.jpg"))) == 1

    def test_files_of_the_same_name_have_their_own(self, client, services):
        sizes = [jpeg_size(client.get(f"thumb/{id_of(services, n)}.jpg").content) for n in ("a.mp4", "sub/a.mp4")]
        assert sizes == [(96, 64), (64, 96)]

    def test_the_duration_becomes_known(self, client, services):
        assert services.library.listing()["durations"] == [0, 0, 0, 0]
        for name in NAMES:
            client.get(f"thumb/{id_of(services, name)}.jpg")
        assert services.library.listing()["durations"] == [2.0, 0, 0, 1.0]

    def test_a_broken_file_gives_a_stand_in_and_the_reason(self, client, services):
        file_id = id_of(services, "broken.mp4")
        for _ in range(2):
            answer = client.get(f"thumb/{file_id}.jpg")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
            assert answer.headers["cache-control"] == "private, no-store"
            assert answer.text.startswith("<svg")
            assert_private(answer)
        assert services.library.lookup.find("broken.mp4").problem == "no video stream (audio only)"
        assert services.library.lookup.rows(["broken.mp4"])[0]["problem"] == "no video stream (audio only)"

    def test_one_that_many_ask_for_is_made_once(self, services, folder, monkeypatch):
        made = []

        def make_slowly(item):
            made.append(item.name)
            time.sleep(0.1)
            return make_thumbnail(item)

        monkeypatch.setattr(services.sandbox, "thumbnail", make_slowly)
        with serve(services) as address, ThreadPoolExecutor(16) as pool:
            url = f"{address}{PREFIX.removeprefix('/')}/thumb/{id_of(services, 'a.mp4')}.jpg"
            answers = list(pool.map(httpx.get, [url] * 16))
        assert {answer.status_code for answer in answers} == {200}
        assert (made, len({answer.content for answer in answers})) == (["a.mp4"], 1)


class TestOriginal:
    @pytest.mark.parametrize(
        ("asked", "first", "last"),
        [("bytes=0-9", 0, 9), ("bytes=100-199", 100, 199), ("bytes=-5", -5, -1), ("bytes=50-", 50, -1)],
    )
    def test_parts_of_it(self, client, services, folder, asked, first, last):
        data = (folder / "a.mp4").read_bytes()
        first, last = first % len(data), last % len(data)
        answer = client.get(f"media/{id_of(services, 'a.mp4')}", headers={"Range": asked})
        assert (answer.status_code, answer.content) == (206, data[first : last + 1])
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(data)}"
        assert answer.headers["content-type"] == "video/mp4"
        assert_private(answer)

    def test_the_whole_of_it(self, client, services, folder):
        answer = client.get(f"media/{id_of(services, 'a.mp4')}")
        assert (answer.status_code, answer.content) == (200, (folder / "a.mp4").read_bytes())
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["content-disposition"] == 'inline; filename="a.mp4"'
        assert_private(answer)

    def test_a_part_behind_its_end_does_not_exist(self, client, services, folder):
        answer = client.get(f"media/{id_of(services, 'a.mp4')}", headers={"Range": "bytes=99999999-"})
        assert answer.status_code == 416
        assert answer.headers["content-range"] == f"bytes */{(folder / 'a.mp4').stat().st_size}"
        assert_private(answer)

    @pytest.mark.parametrize("extension", KINDS)
    def test_every_extension_has_its_type(self, services, tmp_path, extension):
        folder = tmp_path / "one"
        folder.mkdir()
        (folder / f"x.{extension.upper()}").write_bytes(b"<html>")
        services.open_folder(folder, False)
        answer = client_of(services).get(f"media/{services.library.scan.id}-0")
        assert answer.headers["content-type"] == CONTENT_TYPES[extension]
        assert CONTENT_TYPES[extension].split("/")[0] == KINDS[extension]

    def test_what_is_gone_or_no_file_any_more_is_not_found(self, client, services, folder):
        file_id = id_of(services, "b.png")
        (folder / "b.png").unlink()
        for kind in ("media/{}", "thumb/{}.jpg", "sheet/{}.jpg"):
            answer = client.get(kind.format(file_id))
            assert error_of(answer) == (404, "no such file; it was moved or deleted")
        assert services.library.lookup.find("b.png").problem == "no such file; it was moved or deleted"
        os.mkfifo(folder / "b.png")
        assert error_of(client.get(f"media/{file_id}")) == (404, "not a regular file")

    @pytest.mark.parametrize("kind", ["media/{}", "thumb/{}.jpg", "sheet/{}.jpg"])
    def test_an_unknown_id_is_not_found(self, client, services, kind):
        scan = services.library.scan.id
        for file_id in (f"{scan}-4", f"{scan}--1", f"{scan}-x", "0-0", "x", f"{scan}-0-0"):
            assert error_of(client.get(kind.format(file_id)))[0] == 404
        for file_id in ("..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "../../config"):
            answer = client.get(kind.format(file_id))
            assert answer.status_code == 404
            assert "root:" not in answer.text

    def test_an_id_of_the_folder_before_is_not_found(self, client, services, folder):
        file_id = id_of(services, "a.mp4")
        services.open_folder(folder / "sub", False)
        assert client.get(f"media/{file_id}").status_code == 404


class TestSheet:
    def test_it_shows_what_the_model_would_see_now(self, client, services):
        url = f"sheet/{id_of(services, 'a.mp4')}.jpg"
        first = client.get(url)
        assert (first.status_code, first.headers["content-type"]) == (200, "image/jpeg")
        assert current_plan(services).min_frames == 8
        services.change_settings({"max_frames": 2})
        second = client.get(url)
        assert second.headers["etag"] != first.headers["etag"]
        areas = [size[0] * size[1] for size in (jpeg_size(first.content), jpeg_size(second.content))]
        assert areas[0] > 2 * areas[1]
        again = client.get(url, headers={"If-None-Match": second.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")

    def test_it_shows_what_the_model_saw_for_its_caption_until_the_file_is_another(self, client, services, folder):
        url, item = f"sheet/{id_of(services, 'a.mp4')}.jpg", services.library.items[0]
        services.change_settings({"max_frames": 4})
        before = client.get(url)
        services.captions.write(
            item, Caption("Seen.", "m", "p", GenerationOptions(), frame_times_s=(0.0, 0.5, 1.0, 1.5)), "skip"
        )
        services.change_settings({"max_frames": 8})
        assert client.get(url).content == before.content
        os.utime(item.path, (time.time() + 9, time.time() + 9))
        services.open_folder(folder, False)
        now = client.get(f"sheet/{id_of(services, 'a.mp4')}.jpg")
        assert jpeg_size(now.content) > jpeg_size(before.content)

    def test_a_still_and_a_broken_file(self, client, services):
        assert jpeg_size(client.get(f"sheet/{id_of(services, 'b.png')}.jpg").content)
        broken = client.get(f"sheet/{id_of(services, 'broken.mp4')}.jpg")
        assert broken.headers["content-type"] == "image/svg+xml"
        assert services.library.lookup.rows(["broken.mp4"])[0]["problem"] == "no video stream (audio only)"

    def test_many_large_frames_are_made_smaller(self, services, folder):
        make_video(folder / "a.mp4", 64, size=(640, 640), options={"preset": "ultrafast"})
        plan = SamplePlan(max_frames=64, fps=30, frame_size=640)
        width, height = jpeg_size(make_sheet(services.library.items[0], plan))
        assert 12_000_000 < width * height < 18_000_000


class TestZip:
    def test_it_holds_the_captions_as_in_the_folder(self, client, services):
        answer = client.get("captions.zip", params={"scan": services.library.scan.id})
        assert answer.headers["content-type"] == "application/zip"
        assert answer.headers["content-disposition"] == 'attachment; filename="captions.zip"'
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert_private(answer)
        archive = zipfile.ZipFile(io.BytesIO(answer.content))
        assert archive.testzip() is None
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
        assert texts == {"a.txt": "A cat.", "sub/a.txt": "Ein Kätzchen."}

    def test_only_of_the_files_asked_for(self, client, services):
        answer = client.get("captions.zip", params={"scan": services.library.scan.id, "ids": "1-3"})
        assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == ["sub/a.txt"]
        for ids in ("1-2", ""):
            answer = client.get("captions.zip", params={"scan": services.library.scan.id, "ids": ids})
            assert error_of(answer) == (404, "none of these files has a caption yet")

    def test_one_that_cannot_be_read_is_left_out_and_logged(self, client, services, folder, caplog):
        (folder / "a.txt").unlink()
        (folder / "a.txt").mkdir()
        with caplog.at_level(logging.WARNING):
            answer = client.get("captions.zip", params={"scan": services.library.scan.id})
        assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == ["sub/a.txt"]
        assert "left out of the zip: cannot read the caption" in caplog.text


class TestHostileNames:
    @pytest.fixture
    def client(self, services, tmp_path) -> TestClient:
        folder = tmp_path / "hostile"
        folder.mkdir()
        for name in HOSTILE:
            file = make_picture(folder / "x.png").rename(folder / name)
            file.with_suffix(".txt").write_text("Text.")
        services.open_folder(folder, False)
        return client_of(services)

    def test_they_arrive_as_they_are(self, client):
        assert sorted(client.get("list.json").json()["names"]) == sorted(HOSTILE)

    @pytest.mark.parametrize("name", HOSTILE)
    def test_their_files_are_served(self, client, services, name):
        file_id = id_of(services, name)
        assert jpeg_size(client.get(f"thumb/{file_id}.jpg").content) == (96, 64)
        assert jpeg_size(client.get(f"sheet/{file_id}.jpg").content)
        answer = client.get(f"media/{file_id}")
        assert answer.content == (services.library.folder / name).read_bytes()
        disposition = answer.headers["content-disposition"]
        assert re.fullmatch(r"inline; filename(=\"[\w. ]*\"|\*=utf-8''[\w.%~-]*)", disposition)

    def test_their_captions_cannot_leave_the_folder_they_are_unpacked_in(self, client, services):
        answer = client.get("captions.zip", params={"scan": services.library.scan.id})
        names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
        assert len(set(names)) == len(HOSTILE)
        assert not any("\\" in name or "/" in name for name in names)
        assert "h_udce4lf.txt" in names


class serve:
    """A real server with the routes, as the page is launched; gives its address."""

    def __init__(self, services: Services, auth: tuple[str, str] | None = None) -> None:
        self.services, self.auth = services, auth

    def __enter__(self) -> str:
        with gr.Blocks() as self.blocks:
            gr.Button("Pulse").click(lambda: "beat", None, gr.Textbox(), api_name="pulse", queue=False)
        _, address, _ = self.blocks.launch(
            server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, auth=self.auth, ssr_mode=False,
            app_kwargs={"routes": media_routes(self.services).routes},
        )  # fmt: skip
        return address

    def __exit__(self, *_: object) -> None:
        self.blocks.close(verbose=False)


def test_without_a_login_nothing_is_told(services, folder):
    scan, file_id = services.library.scan.id, id_of(services, "a.mp4")
    paths = [
        "list.json", f"rows.json?scan={scan}&ids=0", f"search.json?scan={scan}&q=a", f"thumb/{file_id}.jpg",
        f"media/{file_id}", f"sheet/{file_id}.jpg", f"captions.zip?scan={scan}",
    ]  # fmt: skip
    assert len(paths) == len(media_routes(services).routes)
    with serve(services, ("user", "secret")) as address, httpx.Client(base_url=f"{address}{PREFIX[1:]}/") as client:
        for path in [*paths, "thumb/0-0.jpg", "rows.json", "captions.zip?scan=0"]:
            assert error_of(client.get(path)) == (401, "log in first")
            assert client.get(path, headers={"Cookie": "access-token-x=y"}).status_code == 401
        login = httpx.post(f"{address}login", data={"username": "user", "password": "secret"})
        client.cookies.update(login.cookies)
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


def test_the_page_goes_on_while_thumbnails_wait(services, tmp_path, monkeypatch):
    """100 requests for thumbnails of which none comes to an end: more than there are threads for handlers."""
    folder, may_end = tmp_path / "many", threading.Event()
    folder.mkdir()
    data = make_picture(tmp_path / "x.png").read_bytes()
    for number in range(100):
        (folder / f"{number}.png").write_bytes(data)
    services.open_folder(folder, False)

    def make_when_allowed(item):
        may_end.wait()
        return make_thumbnail(item)

    monkeypatch.setattr(services.sandbox, "thumbnail", make_when_allowed)
    with serve(services) as address, ThreadPoolExecutor(100) as pool:
        root = f"{address}{PREFIX[1:]}"
        urls = [f"{root}/thumb/{services.library.scan.id}-{index}.jpg" for index in range(100)]
        with httpx.Client(timeout=60, limits=httpx.Limits(max_connections=None)) as client:
            waiting = [pool.submit(client.get, url) for url in urls]
            try:
                while not waiting[-1].running():
                    time.sleep(0.01)
                beat = httpx.post(f"{address}gradio_api/run/pulse", json={"data": []}, timeout=10)
                assert beat.json()["data"] == ["beat"]
                assert httpx.get(f"{root}/list.json", timeout=10).status_code == 200
                assert not any(answer.done() for answer in waiting)
            finally:
                may_end.set()
            assert {answer.result().status_code for answer in waiting} == {200}


def test_who_has_gone_away_is_passed_over(services, tmp_path, monkeypatch):
    folder, may_end, made = tmp_path / "many", threading.Event(), []
    folder.mkdir()
    for number in range(12):
        make_picture(folder / f"{number}.png")
    services.open_folder(folder, False)

    def make_when_allowed(item):
        made.append(item.name)
        may_end.wait()
        return make_thumbnail(item)

    monkeypatch.setattr(services.sandbox, "thumbnail", make_when_allowed)
    with serve(services) as address, ThreadPoolExecutor() as pool, httpx.Client(timeout=60) as client:
        urls = [f"{address}{PREFIX[1:]}/thumb/{services.library.scan.id}-{index}.jpg" for index in range(12)]
        try:
            served = [pool.submit(client.get, url) for url in urls[:THUMBNAIL_WORKERS]]
            while len(made) < THUMBNAIL_WORKERS:
                time.sleep(0.01)
            for url in urls[THUMBNAIL_WORKERS:-1]:  # given up, as by a browser that scrolls on
                with pytest.raises(httpx.ReadTimeout):
                    client.get(url, timeout=httpx.Timeout(10, read=0.1))
        finally:
            may_end.set()
        served.append(pool.submit(client.get, urls[-1]))
        assert [answer.result().status_code for answer in served] == [200] * len(served)
    assert made[THUMBNAIL_WORKERS:] == ["11.png"]
