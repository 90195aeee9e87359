"""Uploads: names, limits, files that are not media; and in a real browser."""

import errno
import os
from pathlib import Path

import pytest
from gradio.utils import get_upload_folder

from captioner.ui.launch import launch
from captioner.ui.page import build
from captioner.ui.server import uploads as transfer
from captioner.ui.server.uploads import Limits, Received, UploadHandlers, Uploads, clean_name
from tests.support.chromium import open_browser
from tests.support.media_maker import make_picture, make_video
from tests.ui.test_gallery import event


@pytest.fixture
def sent(tmp_path) -> Path:
    """The folder where a browser's files arrive, each in its own subfolder."""
    folder = tmp_path / "sent"
    folder.mkdir()
    return folder


@pytest.fixture
def uploads(tmp_path) -> Uploads:
    return Uploads(tmp_path / "uploads")


def send_picture(sent: Path, name: str) -> Path:
    folder = sent / str(len(list(sent.iterdir())))
    folder.mkdir()
    make_picture(folder / "picture.png")
    return (folder / "picture.png").rename(folder / name)


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("clip 01.mp4", "clip 01.mp4"),
        ("Überraschung – 日本.MP4", "Überraschung – 日本.MP4"),
        ("U\u0308ber.mp4", "Über.mp4"),
        ("../../x.mp4", "x.mp4"),
        ("C:\\Users\\me\\x.mp4", "x.mp4"),
        ("/etc/passwd.mp4", "passwd.mp4"),
        ("a\nb.mp4", "a b.mp4"),
        ("a\x00\x1b[31m.mp4", "a [31m.mp4"),
        ("\u202egpj.exe.png", "gpj.exe.png"),
        ("half \udce4.mp4", "half _.mp4"),
        (".hidden.mp4", "hidden.mp4"),
        ("...mp4", "upload.mp4"),
        (".mp4", "upload.mp4"),
        ("  .mp4", "upload.mp4"),
        ("trailing. .mp4", "trailing.mp4"),
        ("CON.mp4", "_CON.mp4"),
        ("nul.tar.mp4", "_nul.tar.mp4"),
        ("COM1.png", "_COM1.png"),
        ("console.mp4", "console.mp4"),
        ('<a href="x">?*|.mp4', "_a href=_x_____.mp4"),
        ("x" * 300 + ".mp4", "x" * 176 + ".mp4"),
        ("日" * 300 + ".webm", "日" * 58 + ".webm"),
    ],
)
def test_names_are_made_plain(name, clean):
    assert clean_name(name) == clean
    assert clean_name(clean) == clean


def test_media_are_moved_into_one_folder_of_the_run(uploads, sent):
    assert uploads.folder is None
    files = [send_picture(sent, "a.png"), make_video(sent / "b.mp4")]
    assert uploads.add(files) == Received(("a.png", "b.mp4"), ())
    first = uploads.folder
    assert uploads.add([send_picture(sent, "c.png")]) == Received(("c.png",), ())
    assert uploads.folder == first
    assert sorted(os.listdir(first)) == ["a.png", "b.mp4", "c.png"]
    assert not any(path.is_file() for path in sent.rglob("*"))
    assert sorted(path.name for path in first.parent.iterdir()) == [first.name]


def test_nothing_is_overwritten(uploads, sent):
    for name in ("a.png", "a.png", "A.png", "a.png"):
        uploads.add([send_picture(sent, name)])
    assert sorted(os.listdir(uploads.folder)) == ["A (3).png", "a (2).png", "a (4).png", "a.png"]


def test_folders_of_two_runs_are_two(tmp_path, sent):
    first, second = Uploads(tmp_path / "up"), Uploads(tmp_path / "up")
    first.add([send_picture(sent, "a.png")])
    second.add([send_picture(sent, "a.png")])
    assert first.folder != second.folder


def test_files_that_are_not_media_are_deleted_with_a_reason(uploads, sent, tmp_path):
    (sent / "page.mp4").write_text("<html>" * 100)
    (sent / "page.png").write_text("<svg onload=alert(1)>" * 10)
    (sent / "notes.txt").write_text("notes")
    (sent / "run").write_text("#!/bin/sh")
    (sent / "empty.mp4").touch()
    outside = tmp_path / "outside.mp4"
    make_video(outside)
    (sent / "link.mp4").symlink_to(outside)
    received = uploads.add([*sorted(sent.iterdir()), sent / "gone.mp4"])
    assert received.kept == ()
    assert dict(received.refused) == {
        "empty.mp4": "file is empty",
        "gone.mp4": "no such file; it was moved or deleted",
        "link.mp4": "not a regular file",
        "notes.txt": "no video or image of this name was uploaded with it or before",
        "page.mp4": "a web page, not a video; download the file again",
        "page.png": "vector graphics (SVG), not an image; convert it to PNG",
        "run": "not a video or image: its extension is missing",
    }
    assert list(sent.iterdir()) == []
    assert uploads.folder is None  # nothing was taken
    assert outside.exists()


def test_a_playlist_in_disguise_reads_no_other_file(uploads, sent, tmp_path):
    secret = make_video(tmp_path / "secret.mp4")
    (sent / "list.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n")
    (sent / "concat.mkv").write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    received = uploads.add(sorted(sent.iterdir()))
    assert received.kept == ()


def test_limits_are_shown_and_enforced(tmp_path, sent):
    assert str(Limits()) == "up to 200 files of 500 MB each, 10 GB in all"
    num_bytes = send_picture(sent, "size.png").stat().st_size
    few = Uploads(tmp_path / "few", Limits(max_files=2))
    received = few.add([send_picture(sent, f"{i}.png") for i in range(3)])
    assert received == Received(("0.png", "1.png"), (("2.png", "the limit of 2 files is reached"),))
    small = Uploads(tmp_path / "small", Limits(max_file_bytes=num_bytes - 1))
    [(_, reason)] = small.add([send_picture(sent, "a.png")]).refused
    assert reason == f"too large: {num_bytes} B; the limit is {num_bytes - 1} B"
    total = Uploads(tmp_path / "total", Limits(max_total_bytes=2 * num_bytes))
    received = total.add([send_picture(sent, f"{i}.png") for i in range(3)])
    assert [name for name, _ in received.refused] == ["2.png"]
    assert received.refused[0][1] == f"the limit of {2 * num_bytes} B for all uploads is reached"


def test_files_are_copied_where_they_cannot_be_linked(uploads, sent, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(transfer.os, "link", refuse)
    file = send_picture(sent, "a.png")
    data = file.read_bytes()
    assert uploads.add([file]).kept == ("a.png",)
    assert (uploads.folder / "a.png").read_bytes() == data
    assert not file.exists()


def test_captions_come_along_with_their_media(uploads, sent, tmp_path):
    def text(name: str) -> Path:
        (tmp_path / name).write_text(f"Of {name}.")
        return tmp_path / name

    first = [send_picture(sent, "a.png"), text("a.txt"), text("b.txt")]
    received = uploads.add(first)
    assert received == Received(
        ("a.png", "a.txt"), (("b.txt", "no video or image of this name was uploaded with it or before"),)
    )
    again = uploads.add([text("a.txt"), send_picture(sent, "a.png")])  # another a
    assert again.kept == ("a (2).png", "a (2).txt")
    assert uploads.add([text("a.txt")]).refused == (("a.txt", "there is already a caption of this name"),)
    assert uploads.add([send_picture(sent, "b.png"), text("b.png.txt")]).kept == ("b.png", "b.png.txt")
    (tmp_path / "b.txt").write_bytes(b"x" * (transfer.MAX_CAPTION_BYTES + 1))
    assert uploads.add([tmp_path / "b.txt"]).refused == (("b.txt", "too large for a caption"),)
    assert (uploads.folder / "a (2).txt").read_text() == "Of a.txt."
    assert not list(tmp_path.glob("*.txt"))


def test_files_of_one_name_in_two_folders_keep_their_own_captions_and_are_said_by_name(uploads, sent, tmp_path):
    files, names = [], ["day/a.png", "night/a.png", "day/a.txt", "night/a.txt", "dawn/a.txt"]
    for number, name in enumerate(names):
        (sent / f"f{number}").mkdir()
        file = sent / f"f{number}" / Path(name).name
        make_picture(file) if name.endswith("png") else file.write_text(f"By {Path(name).parent}.")
        files.append(file)
    received = uploads.add(files, names=names)
    assert received.kept == ("a.png", "a (2).png", "a.txt", "a (2).txt")
    assert received.renamed == (("night/a.png", "a (2).png"),)
    assert received.refused == (("dawn/a.txt", "no video or image of this name was uploaded with it or before"),)
    texts = {path.name: path.read_text() for path in uploads.folder.glob("*.txt")}
    assert texts == {"a.txt": "By day.", "a (2).txt": "By night."}


def test_only_files_that_have_just_arrived_are_taken(services, tmp_path):
    secret = make_picture(tmp_path / "secret.png")
    handlers = UploadHandlers(services, Uploads(tmp_path / "uploads"))
    inside = Path(get_upload_folder(), "x", "a.png")
    inside.parent.mkdir(parents=True, exist_ok=True)
    (inside.parent / "link.png").symlink_to(secret)
    make_picture(inside)
    paths = [str(secret), str(inside.parent / "link.png"), f"{inside.parent}/../../{secret.name}", str(inside)]
    told = handlers.receive(event(files=[(path, "a.png") for path in paths]))["result"]
    assert (told["kept"], told["refused"], secret.exists()) == (1, [], True)


DROP_JS = """names => {
  const dataTransfer = new DataTransfer();
  for (const [name, text] of names) dataTransfer.items.add(new File([text], name));
  document.body.dispatchEvent(new DragEvent('dragenter', {dataTransfer, bubbles: true}));
  const isShown = !document.querySelector('.upload-drop').hidden;
  document.body.dispatchEvent(new DragEvent('drop', {dataTransfer, bubbles: true, cancelable: true}));
  return isShown;
}"""


@pytest.mark.browser
def test_browser_uploads_and_sees_what_was_refused(services, sent):
    picture, fake = send_picture(sent, "<b>.png"), sent / "fake.mp4"
    fake.write_text("no video")
    (sent / "<b>.txt").write_text("A picture.")
    blocks, page_ = build(services, remote=True)
    with open_browser(launch(blocks, page_)) as (page, expect):
        expect(page.locator(".upload-zone")).to_contain_text("Up to 200 files of 500 MB each, 10 GB in all")
        chosen = [str(picture), str(fake), str(sent / "<b>.txt")]
        page.locator("#uploads input").set_input_files(chosen)
        box = page.locator(".upload-box")
        expect(box.locator("header b")).to_have_text("2 files uploaded · 1 refused")
        expect(box.locator("li")).to_contain_text("fake.mp4")
        expect(box.locator("li span")).to_contain_text("not a readable video")
        expect(page.locator(".grid-tile p")).to_have_text("A picture.")
        expect(page.locator(".upload-zone")).to_be_hidden()
        assert page.evaluate(DROP_JS, [["run.exe", "x"], ["._run.mp4", "x"], ["_b_.txt", "Again."]])
        expect(page.locator(".upload-drop")).to_be_hidden()
        expect(box.locator("header b")).to_have_text("0 files uploaded · 2 refused")
        expect(box.locator("li")).to_have_count(2)
        expect(box.locator("li").first).to_contain_text("not a video, an image or a caption")
        expect(page.locator("#more-menu [data-act=upload]")).not_to_have_attribute("hidden", "")
    assert services.library.folder == page_.uploads.folder
    blocks.close(verbose=False)


def drop(page, *paths: Path) -> None:
    """Drop files and folders of the disk as a person does, with real folder entries."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})


def wait_for(page, held: list, count: int):
    """Return the last of so many requests once they are there."""
    while len(held) < count:
        page.wait_for_timeout(20)
    return held[count - 1]


@pytest.mark.browser
def test_a_dropped_folder_and_what_follows_it_are_uploaded_and_each_new_name_is_said(services, tmp_path):
    for name in ("day/a.png", "day/deep/b.png", "night/a.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        make_picture(tmp_path / "set" / name)
        (tmp_path / "set" / name).with_suffix(".txt").write_text(name)
    (tmp_path / "set/day/empty.mp4").touch()
    blocks, page_ = build(services, remote=True)
    with open_browser(launch(blocks, page_)) as (page, expect):
        box, bar, held = page.locator(".upload-box"), page.locator("progress"), []
        expect(page.locator(".upload-zone")).to_be_visible()
        page.route("**/gradio_api/upload", lambda route: route.continue_() if len(held) > 1 else held.append(route))
        drop(page, tmp_path / "set")
        expect(box.locator("header b")).to_have_text("Uploading 1 of 7 files")
        drop(page, make_picture(tmp_path / "c.png"))  # meanwhile
        expect(bar).to_have_js_property("value", 0)
        wait_for(page, held, 1).continue_()
        expect(box.locator("header b")).to_have_text("Uploading 2 of 8 files")
        sizes = {path: path.stat().st_size for path in [tmp_path / "c.png", *(tmp_path / "set").rglob("*.*")]}
        first = sizes[tmp_path / "set/day/a.png"]
        assert bar.evaluate("bar => bar.value") == pytest.approx(first / sum(sizes.values()))
        wait_for(page, held, 2).continue_()
        expect(box.locator("header b")).to_have_text("7 files uploaded · 1 renamed · 1 refused")
        expect(bar).to_be_hidden()
        rows = dict(row.split("\n") for row in box.locator("li").all_inner_texts())
        taken = {"set/night/a.png": "its name was taken: uploaded as a (2).png"}
        assert rows == taken | {"set/day/empty.mp4": "file is empty"}
    assert {path.name: path.read_text() for path in page_.uploads.folder.glob("*.txt")} == {
        "a.txt": "day/a.png", "a (2).txt": "night/a.png", "b.txt": "day/deep/b.png"
    }  # fmt: skip
    blocks.close(verbose=False)
