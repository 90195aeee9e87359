"""The routes behind outside edits (outside.json) and the facts of a file (info.json)."""

import pytest

from captioner.services import Services
from captioner.system.roots import Roots
from tests.support.media_maker import make_video
from tests.support.own_routes import NAMES, assert_private, error_of, id_of


@pytest.fixture
def services(tmp_path):
    """With one folder that may be opened, that of the fixture `folder`."""
    (tmp_path / "media").mkdir()
    with Services(tmp_path / "state", {"model": "demo"}, Roots([tmp_path / "media"])) as services:
        yield services


@pytest.fixture
def ask(client, services):
    """Ask which captions were changed outside, of all files; gives their rows."""

    def ask(ids: str = "0-3") -> list[dict]:
        answer = client.get("outside.json", params={"scan": services.library.scan.id, "ids": ids})
        assert answer.status_code == 200
        assert_private(answer)
        assert answer.json()["scan"] == services.library.scan.id
        return answer.json()["rows"]

    ask()  # from now on, only what changes is a change
    return ask


class TestOutside:
    def test_each_change_of_another_program_is_told_once(self, ask, folder):
        assert ask() == []
        (folder / "a.txt").write_text("Theirs.")
        (folder / "broken.txt").write_text("New.")
        (folder / "sub" / "a.txt").unlink()
        rows = {NAMES[row["index"]]: row["preview"] for row in ask()}
        assert rows == {"a.mp4": "Theirs.", "broken.mp4": "New.", "sub/a.mp4": ""}
        assert ask() == []

    def test_only_the_files_that_were_asked_for(self, ask, folder):
        (folder / "a.txt").write_text("Theirs.")
        assert ask("1-3,99,x") == []
        assert [row["preview"] for row in ask("0")] == ["Theirs."]

    def test_a_caption_that_became_a_link_out_of_the_folders_is_not_read(self, ask, folder, tmp_path):
        secret = tmp_path / "secret.txt"
        secret.write_text("SECRET")
        (folder / "a.txt").unlink()
        (folder / "a.txt").symlink_to(secret)
        assert "SECRET" not in str(ask())

    def test_another_scan_is_a_conflict(self, client):
        assert error_of(client.get("outside.json", params={"scan": "0"})) == (409, "another folder was opened")
        assert client.get("outside.json").status_code == 422


class TestInfo:
    def test_it_is_what_stepping_through_the_frames_needs(self, client, services):
        for name, frames, width, height in (("a.mp4", 50, 96, 64), ("sub/a.mp4", 25, 64, 96)):
            answer = client.get(f"info/{id_of(services, name)}.json")
            facts = answer.json()
            assert (facts["frames"], facts["width"], facts["height"]) == (frames, width, height)
            assert facts["fps"] > 0
            assert_private(answer)
        picture = client.get(f"info/{id_of(services, 'b.png')}.json").json()
        assert (picture["frames"], picture["fps"]) == (1, 0)

    def test_a_broken_an_unknown_and_a_moved_file_are_said(self, client, services, folder):
        assert error_of(client.get(f"info/{id_of(services, 'broken.mp4')}.json"))[0] == 404
        for unknown in ("0-0", f"{services.library.scan.id}-99", "x"):
            assert error_of(client.get(f"info/{unknown}.json"))[0] == 404
        entry = id_of(services, "a.mp4")
        (folder / "a.mp4").unlink()
        assert error_of(client.get(f"info/{entry}.json"))[0] == 404

    def test_a_clip_that_became_a_link_out_of_the_folders_is_refused(self, client, services, folder, tmp_path):
        entry, outside = id_of(services, "a.mp4"), make_video(tmp_path / "outside.mp4", 7)
        (folder / "a.mp4").unlink()
        (folder / "a.mp4").symlink_to(outside)
        answer = client.get(f"info/{entry}.json")
        assert error_of(answer) == (404, "no such file in the open folder; open the folder again")


def test_both_need_a_login(web, user):
    scan = web.services.library.scan.id
    for path in (f"outside.json?scan={scan}&ids=0", f"info/{scan}-0.json"):
        with web.client() as anybody:
            refused = anybody.get(f"/gradio_api/vcs/{path}")
        assert refused.status_code == 401
        assert "secret" not in refused.text.lower()
        assert user.get(f"/gradio_api/vcs/{path}").status_code in (200, 404)  # the first file may be the broken one
