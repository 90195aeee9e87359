"""The list of files, the rows of tiles and the search, as the page fetches them."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from captioner.ui.server import routes
from tests.support.own_routes import NAMES, assert_private, client_of, error_of, wait_for_captions


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
