"""Media files that name other files, addresses or programs cause no access to them."""

import http.server
import re
import struct
import sys
import threading
from collections.abc import Callable, Iterator

import av
import pytest
from PIL import Image

from captioner.errors import MediaError
from captioner.media.container import open_container
from captioner.media.kinds import VIDEO_EXTENSIONS
from captioner.media.picture import open_picture
from captioner.media.sample import sample
from tests.support.media_doors import NOT_A_PICTURE, NOT_A_VIDEO, PLAN, through_all_doors
from tests.support.media_maker import make_picture, make_video
from tests.support.watch import Watch


@pytest.fixture
def requests() -> Iterator[tuple[str, list[str]]]:
    """Return (address of a server, the paths requested from it)."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def watch(tmp_path) -> Iterator[Callable[[], set[str]]]:
    """Record the files that are opened in a folder of "neighbor" files, besides the tested one."""
    if sys.platform != "linux":
        pytest.skip("needs inotify")
    make_video(tmp_path / "neighbor.mp4")
    make_video(tmp_path / "neighbor.ts")
    make_picture(tmp_path / "neighbor1.png")
    watched = Watch(tmp_path)
    yield watched.opened
    watched.close()


LISTS = {
    "playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{address}/a.ts\n#EXTINF:2,\nneighbor.ts\n",
    "master playlist": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\n{address}/a.m3u8\n",
    "playlist with a key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{address}/k"\n#EXTINF:2,\nneighbor.ts\n',
    "concat list": "ffconcat version 1.0\nfile neighbor.mp4\nfile {address}/b.mp4\n",
    "DASH": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{address}/</BaseURL></MPD>',
    "SDP": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 59999 RTP/AVP 96\r\n",
    "RTSP redirect": "RTSPtext\r\nrtsp://127.0.0.1:1/a\r\n",
    "ASX": '<asx version="3.0"><entry><ref href="{address}/a.wmv"/></entry></asx>',
    "ASF reference": "[Reference]\r\nRef1={address}/a.asf?MSWMExt=.asf\r\n",
    "subtitles": "1\n00:00:00,000 --> 00:00:09,000\ntext\n",
    "VobSub": "# VobSub index file, v7 (do not modify this line!)\nsize: 720x576\nid: en, index: 0\n"
    "timestamp: 00:00:00:000, filepos: 000000000\n",
    "text art": "\x1b[2J\x1b[31mhello\n" * 200,
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_playlist_with_a_media_extension_reads_and_fetches_nothing(tmp_path, requests, watch, name):
    address, asked = requests
    for extension in VIDEO_EXTENSIONS:
        path = tmp_path / f"list.{extension}"
        path.write_text(LISTS[name].replace("{address}", address))
        watch()
        (reason,) = through_all_doors(path)
        assert re.match(rf"{re.escape(NOT_A_VIDEO)}$|a text file, |a list of addresses ", reason)
        with pytest.raises(MediaError, match=f"^{re.escape(NOT_A_VIDEO)}$"):
            open_container(path)  # where the look at the first bytes would not refuse it
        assert watch() - {""} == {path.name}
    assert asked == []


def test_the_watch_notices_an_opened_file(tmp_path, watch):
    path = tmp_path / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile neighbor.mp4\n")
    watch()
    av.open(str(path), format="concat").close()
    assert "neighbor.mp4" in watch()


def replace_box(data: bytes, trail: tuple[bytes, ...], new: bytes) -> bytes:
    """Replace the box at the end of the trail in an MP4, and correct the sizes of the boxes around it."""
    start = 0
    while data[start + 4 : start + 8] != trail[0]:
        start += struct.unpack_from(">I", data, start)[0]
    size = struct.unpack_from(">I", data, start)[0]
    if len(trail) > 1:
        new = data[start + 4 : start + 8] + replace_box(data[start + 8 : start + size], trail[1:], new)
        new = struct.pack(">I", 4 + len(new)) + new
    return data[:start] + new + data[start + size :]


def alias_to(filename: bytes) -> bytes:
    """Return a box of data references as Macs wrote them: the frames are in that file beside this one."""
    path = b"disk:folder:" + filename
    path += b"\0" * (len(path) % 2)
    alias = bytes(10) + b"\x04disk".ljust(28, b"\0") + bytes(12) + bytes([len(filename)]) + filename.ljust(63, b"\0")
    alias += bytes(16) + struct.pack(">HH", 1, 1) + bytes(16) + struct.pack(">HH", 2, len(path)) + path
    alias += struct.pack(">HH", 0xFFFF, 0) + bytes(20)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    return struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry


def test_movie_whose_frames_are_in_another_file_does_not_get_them(tmp_path, watch):
    own = make_video(tmp_path / "whole.mov", codec="mjpeg", pixels="yuvj420p").read_bytes()
    path = tmp_path / "a.mov"
    trail = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
    path.write_bytes(replace_box(own, trail, alias_to(b"neighbor.mp4")))
    watch()
    with av.open(str(path), options={"enable_drefs": "1"}) as opened:
        list(opened.demux())
    assert "neighbor.mp4" in watch()  # else this file would show nothing
    through_all_doors(path)
    assert "neighbor.mp4" not in watch()


def test_name_with_a_number_is_one_file(tmp_path, watch):
    path = make_picture(tmp_path / "x.png").rename(tmp_path / "neighbor%d.png")
    watch()
    assert sample(path, PLAN, "video").pixels.shape[0] == 1  # a picture by its content
    with pytest.raises(MediaError):
        open_container(path)
    assert watch() - {""} == {path.name}


def test_formats_that_run_other_programs_are_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    with Image.open(path) as image:
        assert image.format == "EPS"  # Pillow by itself would start Ghostscript
    assert through_all_doors(path) == {"a text file, not an image"}
    with pytest.raises(MediaError, match=f"^{re.escape(NOT_A_PICTURE)}$"), open_picture(path):
        pass
