"""The media of comparisons: only files of the sample, and only in allowed folders."""

import pytest

from captioner.demo.clips import write_samples
from captioner.services import Services
from captioner.system.roots import Roots
from tests.support.compared import keep_comparison
from tests.support.own_routes import client_of


@pytest.fixture
def folder(services, tmp_path):
    folder = tmp_path / "clips"
    write_samples(folder, num_clips=1, num_stills=1)
    services.open_folder(folder, recursive=False)
    keep_comparison(services, folder, 2)
    return folder


def test_files_are_served_by_their_place_and_nothing_else_is(services, folder, tmp_path):
    names = [item.filename for item in services.library.items]
    client = client_of(services)
    services.open_folder(tmp_path, recursive=False)  # whatever is open
    for place, name in enumerate(names):
        assert client.get(f"compare/1/{place}").content == (folder / name).read_bytes()
        assert client.get(f"compare/1/{place}.jpg").headers["content-type"] == "image/jpeg"
    for path in ("compare/1/2", "compare/1/-1", "compare/2/0", "compare/0/0", "compare/1/2.jpg"):
        assert client.get(path).status_code == 404, path
    (folder / names[0]).unlink()
    (folder / names[0]).symlink_to(tmp_path / "none")
    assert client.get("compare/1/0").status_code == 404


def test_comparison_of_a_folder_that_is_not_allowed_is_not_served(services, folder, tmp_path):
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    secret = tmp_path / "secret.png"
    (folder / "still 01.png").rename(secret)
    (folder / "still 01.png").symlink_to(secret)
    for roots, statuses in ((Roots([allowed]), [404, 404]), (Roots([folder]), [200, 404])):
        with Services(services.folder, {"model": "demo"}, roots) as confined:
            client = client_of(confined)
            assert [client.get(f"compare/1/{place}").status_code for place in range(2)] == statuses
            assert [client.get(f"compare/1/{place}.jpg").status_code for place in range(2)] == statuses
