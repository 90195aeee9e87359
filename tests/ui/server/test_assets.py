"""Gradio's files are sent from memory, and what a page needs is named in its head."""

from pathlib import Path

import pytest
from gradio.routes import BUILD_PATH_LIB

from captioner.ui import scripts
from captioner.ui.server import assets


@pytest.mark.parametrize("kind", [".js", ".css"])
def test_every_file_is_sent_as_it_is_and_kept_by_browsers(web, kind):
    folder = Path(BUILD_PATH_LIB)
    names = sorted(path.name for path in folder.glob(f"*{kind}"))[:5]
    assert set(names) <= set(assets.paths())
    with web.client() as client:
        for name in names:
            plain = client.get(f"/assets/{name}", headers={"Accept-Encoding": "identity"})
            packed = client.get(f"/assets/{name}", headers={"Accept-Encoding": "gzip, br"})
            assert plain.content == packed.content == (folder / name).read_bytes()
            assert (plain.headers.get("content-encoding"), packed.headers["content-encoding"]) == (None, "gzip")
            for answer in (plain, packed):
                assert "immutable" in answer.headers["cache-control"]
                assert "accept-encoding" in answer.headers["vary"].lower()
                assert (
                    answer.headers["content-type"].split(";")[0] == {".js": "text/javascript", ".css": "text/css"}[kind]
                )


def test_only_files_of_the_folder_are_sent(web):
    with web.client() as client:
        for name in ("none.js", "../index.html", "..%2findex.html", "%2fetc%2fpasswd", ".", "%2e%2e"):
            assert client.get(f"/assets/{name}").status_code in (403, 404), name


def test_a_page_names_the_scripts_and_the_list_in_its_head_and_the_login_form_does_not(web, user):
    with web.client() as client:
        form = client.get("/").text
    page = user.get("/").text.partition("</head>")[0]
    for name in ("list.json", *map(scripts.address, scripts.modules())):
        assert f'{name}"' in page
    assert "preload" not in form
