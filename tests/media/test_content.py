"""Content decides how a file is read, not its extension."""

from pathlib import Path

import av
import pytest
from PIL import Image

from captioner.errors import MediaError
from captioner.media.content import check_file, content_type
from captioner.media.discover import discover, find_item
from captioner.media.kinds import KINDS
from captioner.media.probe import probe
from captioner.media.sample import sample
from captioner.media.thumbnail import make_thumbnail
from captioner.values import SamplePlan
from tests.support.media_maker import make_video, numbered_picture

CASES = Path(__file__).resolve().parents[2] / ".." / "shared" / "cases" / "media"


@pytest.mark.parametrize("name", ["a.gif", "b.webp", "c.jpg", "d.avi", "e.mpg", "f.tiff"])
def test_clip_of_any_name_is_a_clip(tmp_path, name):
    make_video(tmp_path / name, 20, container_format="mp4")
    info = probe(tmp_path / name)
    assert (info.codec, info.num_frames) == ("h264", 20)
    assert len(sample(tmp_path / name, SamplePlan()).pixels) == 8
    (item,) = discover(tmp_path).items
    assert item.kind == KINDS[name[2:]]
    assert make_thumbnail(item).duration_s == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("container", "name", "codec", "expected"),
    [
        ("matroska", "a.mp4", "libx264", "video/x-matroska"),
        ("mpegts", "a.mpg", "libx264", "video/mp2t"),
        ("webm", "a.mov", "libvpx", "video/webm"),
        ("avi", "a.mp4", "mpeg4", "video/x-msvideo"),
        ("flv", "a.mp4", "libx264", "video/x-flv"),
        ("asf", "a.mp4", "wmv2", "video/x-ms-wmv"),
        ("mpeg", "a.mp4", "mpeg1video", "video/mpeg"),
        ("mxf", "a.mp4", "mpeg2video", "application/mxf"),
        ("nut", "a.mp4", "ffv1", "video/x-other"),
        ("ivf", "a.mp4", "libvpx", "video/x-other"),
        ("yuv4mpegpipe", "a.y4m", "rawvideo", "video/x-other"),
        ("mpegts", "a.MTS", "libx264", "video/mp2t"),
        ("3gp", "a.3gp", "libx264", "video/mp4"),
        ("ogg", "a.ogv", "libvpx", "video/ogg"),
        ("vob", "a.vob", "mpeg2video", "video/mpeg"),
        ("dv", "a.dv", "dvvideo", "video/x-other"),
    ],
)
def test_containers_are_known_by_their_content(tmp_path, container, name, codec, expected):
    size = (720, 576) if container == "dv" else (96, 64)
    make_video(tmp_path / name, 60, size=size, codec=codec, container_format=container)
    assert (check_file(tmp_path / name), content_type(tmp_path / name)) == ("video", expected)
    assert len(sample(tmp_path / name, SamplePlan()).pixels) >= 8


@pytest.mark.parametrize("name", ["a.mp4", "a.JPG", "a.heif"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"])
def test_picture_of_any_name_is_a_picture(tmp_path, form, name):
    Image.fromarray(numbered_picture(1)).save(tmp_path / name, form)
    assert check_file(tmp_path / name) == "image"
    assert (probe(tmp_path / name).width, sample(tmp_path / name, SamplePlan()).pixels.shape[0]) == (96, 1)
    assert make_thumbnail(find_item(tmp_path / name)).duration_s == 0


@pytest.mark.parametrize("extension", ["jpe", "jfif", "jp2", "j2k", "ppm", "pgm", "tga", "apng"])
def test_rarer_pictures_are_listed_and_read(tmp_path, extension):
    form = {"jpe": "JPEG", "jfif": "JPEG", "apng": "PNG"}.get(extension)
    Image.fromarray(numbered_picture(1)).save(tmp_path / f"a.{extension}", form)
    (item,) = discover(tmp_path).items
    assert sample(item.path, SamplePlan(), item.kind).pixels.shape == (1, 64, 96, 3)


@pytest.mark.parametrize("name", ["heic.heic", "heic-named.JPG", "jpeg.jfif", "camcorder.MTS", "mp4-named.gif"])
def test_cases_are_listed_and_read(name):
    if not CASES.is_dir():
        pytest.skip("the cases are not here")
    item = find_item(CASES / name)
    assert sample(item.path, SamplePlan(), item.kind).pixels.any()
    assert make_thumbnail(item).data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer, not the file itself"),
        (b"<!DOCTYPE html><title>404</title>", "a web page, not a video; download the file again"),
        (b"\xef\xbb\xbf \n<HTML>denied</HTML>", "a web page, not a video"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a text file, not a video"),
        (b"#EXTM3U\nhttp://example.org/a.ts\n", "a list of addresses (M3U8), not a video"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "vector graphics (SVG), not a video"),
        (b"\0" * 5000, "begins with zeros instead of a video"),
        (b"PK\x03\x04" + bytes(40), "an archive, not a video"),
        (b"ID3\x04" + bytes(40), "a sound file, not a video"),
        (b"\0\0\0\x18ftypcrx " + bytes(40), "a camera raw file, not a video"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "a camera raw file, not a video"),
    ],
)
def test_what_only_looks_like_a_clip_is_told_as_what_it_is(tmp_path, data, words):
    (tmp_path / "a.mp4").write_bytes(data)
    for read in (probe, check_file, lambda path: sample(path, SamplePlan())):
        with pytest.raises(MediaError, match=f"^{words.replace('(', '[(]').replace(')', '[)]')}"):
            read(tmp_path / "a.mp4")


@pytest.mark.parametrize("name", ["a.cr2", "a.psd", "a.svg"])
def test_kinds_that_cannot_be_read_are_refused_in_words(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(MediaError, match="files of this kind cannot be read"):
        check_file(tmp_path / name)


def test_demuxers_read_one_file_each():
    from captioner.media.container import DEMUXERS

    known = {name for names in av.formats_available for name in names.split(",")}
    assert set(DEMUXERS.split(",")) <= known
    assert not {"hls", "dash", "concat", "image2", "sdp", "rtsp", "lavfi", "ffmetadata"} & set(DEMUXERS.split(","))
