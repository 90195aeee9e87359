"""Thumbnails, originals and contact sheets, as the page fetches them."""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from captioner.media.contact_sheet import make_sheet
from captioner.media.thumbnail import make_thumbnail
from captioner.ui.gallery.panel import current_plan
from captioner.ui.server.routes import PREFIX
from captioner.values import Caption, GenerationOptions, SamplePlan
from tests.support.media_maker import make_video
from tests.support.own_routes import NAMES, assert_private, client_of, error_of, id_of, jpeg_size, serve_routes


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
        with serve_routes(services) as address, ThreadPoolExecutor(16) as pool:
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

    @pytest.mark.parametrize(
        ("head", "expected"),
        [
            (b"\0\0\0\x18ftypmp42", "video/mp4"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "video/webm"),
            (b"\x01\x02\x03", "application/octet-stream"),
        ],
    )
    def test_the_type_is_that_of_the_content(self, services, tmp_path, head, expected):
        folder = tmp_path / "one"
        folder.mkdir()
        (folder / "x.GIF").write_bytes(head)
        services.open_folder(folder, False)
        answer = client_of(services).get(f"media/{services.library.scan.id}-0")
        assert answer.headers["content-type"] == expected

    def test_a_web_page_is_not_sent(self, services, tmp_path):
        folder = tmp_path / "one"
        folder.mkdir()
        (folder / "x.mp4").write_bytes(b"<html><script>alert(1)</script>")
        services.open_folder(folder, False)
        answer = client_of(services).get(f"media/{services.library.scan.id}-0")
        assert error_of(answer) == (404, "a web page, not a video; download the file again")

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


def test_hostile_names_arrive_as_they_are_and_their_files_are_served(services, hostile_names):
    client = client_of(services)
    assert sorted(client.get("list.json").json()["names"]) == sorted(hostile_names)
    for name in hostile_names:
        file_id = id_of(services, name)
        assert jpeg_size(client.get(f"thumb/{file_id}.jpg").content) == (96, 64), name
        assert jpeg_size(client.get(f"sheet/{file_id}.jpg").content), name
        answer = client.get(f"media/{file_id}")
        assert answer.content == (services.library.folder / name).read_bytes()
        disposition = answer.headers["content-disposition"]
        assert re.fullmatch(r"inline; filename(=\"[\w. ]*\"|\*=utf-8''[\w.%~-]*)", disposition), name
