"""Probing."""

import os
from fractions import Fraction

import pytest

from captioner.errors import MediaError
from captioner.media.probe import probe
from captioner.media.video import VideoFile
from tests.support.media_maker import make_animation, make_picture, make_video

as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")


def test_probe_reads_the_packets(tmp_path):
    info = probe(make_video(tmp_path / "a.mp4", num_frames=50, fps=25))
    assert (info.width, info.height, info.num_frames, info.rotation, info.codec) == (96, 64, 50, 0, "h264")
    assert info.duration_s == pytest.approx(2.0)
    assert info.fps == pytest.approx(25)


def test_probe_gives_the_size_as_displayed(tmp_path):
    turned = probe(make_video(tmp_path / "a.mp4", num_frames=3, rotation_ccw=-90))
    assert (turned.width, turned.height, turned.rotation) == (64, 96, 90)
    wide = probe(make_video(tmp_path / "b.mp4", num_frames=3, sample_aspect=Fraction(2, 1)))
    assert (wide.width, wide.height) == (192, 64)


def test_probe_finds_the_duration_that_a_container_does_not_state(tmp_path):
    path = make_video(tmp_path / "a.webm", num_frames=50, codec="libvpx", container_options={"live": "1"})
    info = probe(path)
    assert (info.num_frames, info.codec) == (50, "vp8")
    assert info.duration_s == pytest.approx(2.0)


def test_probe_of_one_frame(tmp_path):
    info = probe(make_video(tmp_path / "a.mp4", num_frames=1))
    assert (info.num_frames, info.fps) == (1, 0)
    assert info.duration_s == pytest.approx(0.04)


def test_probe_decodes_one_frame_only(tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mp4", num_frames=100)
    decoded = []
    try_decode = VideoFile._try_decode
    monkeypatch.setattr(
        VideoFile, "_try_decode", lambda self, packet: decoded.append(packet) or try_decode(self, packet)
    )
    assert probe(path).num_frames == 100
    assert len(decoded) < 8


@pytest.mark.parametrize(("orientation", "size"), [(1, (96, 64)), (3, (96, 64)), (6, (64, 96)), (8, (64, 96))])
@pytest.mark.parametrize("filename", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_probe_of_a_still(tmp_path, filename, orientation, size):
    info = probe(make_picture(tmp_path / filename, orientation=orientation))
    assert (info.width, info.height) == size
    assert (info.num_frames, info.duration_s, info.fps, info.rotation) == (1, 0, 0, 0)


def test_probe_of_an_animation(tmp_path):
    info = probe(make_animation(tmp_path / "a.gif", [100, 200, 300, 400]))
    assert (info.num_frames, info.duration_s, info.codec) == (4, 1.0, "gif")
    assert info.fps == pytest.approx(3 / 0.6)


def test_kind_may_be_given_for_any_extension(tmp_path):
    path = make_picture(tmp_path / "a.png").rename(tmp_path / "a.upload")
    assert probe(path, "image").width == 96
    with pytest.raises(MediaError, match=r"^not a video or image: its extension is \.upload$"):
        probe(path)


def test_link_loop_is_one_line(tmp_path):
    (tmp_path / "a.mp4").symlink_to(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match=r"^cannot be opened: Too many levels of symbolic links$"):
        probe(tmp_path / "a.mp4")


@as_root
def test_file_without_permission_is_one_line(tmp_path):
    path = make_picture(tmp_path / "a.png")
    path.chmod(0)
    with pytest.raises(MediaError, match=r"^no permission to read it$"):
        probe(path)
