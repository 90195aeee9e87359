"""Slow requests of the routes wait for threads of their own, in which nothing else of the page runs."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from captioner.media.thumbnail import make_thumbnail
from captioner.media.thumbnail_cache import THUMBNAIL_WORKERS
from captioner.ui.server.routes import PREFIX
from tests.support.media_maker import make_picture
from tests.support.own_routes import serve_routes


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
    with serve_routes(services) as address, ThreadPoolExecutor(100) as pool:
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
    with serve_routes(services) as address, ThreadPoolExecutor() as pool, httpx.Client(timeout=60) as client:
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
