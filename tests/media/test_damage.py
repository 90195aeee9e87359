"""Sampling of damaged files, and of files that are not media."""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from captioner.errors import MediaError
from captioner.media import container, picture, video
from captioner.media.sample import sample
from tests.support.full_decode import EIGHT, THIRTY_TWO, assert_frames_are_those_shown
from tests.support.media_doors import NOT_A_VIDEO
from tests.support.media_maker import make_audio, make_picture, make_video


def test_cut_off_clip_gives_its_remaining_frames_and_a_warning(tmp_path):
    whole = make_video(tmp_path / "a.mp4", num_frames=100, container_options={"movflags": "faststart"}).read_bytes()
    path = tmp_path / "b.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    frames = sample(path, EIGHT)
    assert frames.warning.endswith("s of 4.0 s: it may be cut off")
    assert_frames_are_those_shown(path, frames)


def test_damaged_packets_are_skipped_and_counted(tmp_path):
    path = make_video(tmp_path / "a.mp4", num_frames=60, keyframe_every=999, max_b_frames=0)
    data = bytearray(path.read_bytes())
    with av.open(path) as opened:
        packets = [packet for packet in opened.demux() if packet.size]
    for packet in packets[20:23]:
        data[packet.pos + 4 : packet.pos + packet.size] = b"\xff" * (packet.size - 4)
    path.write_bytes(data)
    frames = sample(path, THIRTY_TWO)
    assert frames.warning == "3 damaged packets skipped"
    assert_frames_are_those_shown(path, frames)


def cut(path: Path, name: str, size_bytes: int) -> Path:
    target = path.with_name(name)
    target.write_bytes(path.read_bytes()[:size_bytes])
    return target


def bad_inputs(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that cannot be sampled, and the message for each."""
    clip = make_video(folder / "good.mp4")
    still = make_picture(folder / "good.png")
    (folder / "text.mp4").write_text("a line of text\n" * 500)
    (folder / "text.jpg").write_text("a line of text\n" * 500)
    (folder / "empty.mp4").touch()
    (folder / "empty.png").touch()
    (folder / "folder.mp4").mkdir()
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://192.0.2.1/a.ts\n")
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    (folder / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT"
    )
    yield folder / "text.mp4", "a text file, not a video"
    yield cut(clip, "start.mp4", 400), NOT_A_VIDEO
    yield folder / "list.mp4", "a list of addresses (M3U8), not a video"
    yield folder / "text.jpg", "a text file, not an image"
    yield folder / "empty.mp4", "file is empty"
    yield folder / "empty.png", "file is empty"
    yield folder / "folder.mp4", "a folder, not a file"
    yield folder / "missing.mp4", "no such file; it was moved or deleted"
    yield still.rename(folder / "a.xyz"), "not a video or image: its extension is .xyz"
    yield make_audio(folder / "sound.mp4"), "no video stream (audio only)"
    yield (
        cut(make_picture(folder / "half.jpg", (400, 300)), "half2.jpg", 3000),
        "damaged or cut off (image file is truncated",
    )
    yield (
        cut(make_picture(folder / "half.png", (400, 300)), "half2.png", 900),
        "damaged or cut off (image file is truncated",
    )
    yield folder / "bomb.png", "its size is over the limit of 150 megapixels; make it smaller first"


def test_bad_files_are_refused_with_one_line(tmp_path):
    for path, message in bad_inputs(tmp_path):
        with pytest.raises(MediaError) as caught:
            sample(path, EIGHT)
        assert str(caught.value).startswith(message), path.name
        assert "\n" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("audio-only-opus.mp4", "no video stream (audio only)"),
        ("broken-chunk-out-of-range.mp4", "not a readable video (damaged, cut off, or another kind of file)"),
        ("broken-header-only.mp4", "cut off after its header: it has no video packets; get a complete copy"),
        ("broken-vp9-bitstream.webm", "no frame could be decoded (51 decoder errors)"),
        ("empty-file.webm", "file is empty"),
        ("broken-not-a-png.png", "not a readable picture (damaged, cut off, or another kind of file)"),
        ("broken-truncated.jpg", "damaged or cut off (image file is truncated (8 bytes not processed))"),
        ("broken-truncated.png", "damaged or cut off (image file is truncated)"),
        ("bomb-66066x66063.gif", "its size is over the limit of 150 megapixels; make it smaller first"),
        ("bomb-text-chunk.png", "damaged or cut off (Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK)"),
    ],
)
def test_real_damaged_files_are_refused_with_one_line(shared_media, name, message):
    with pytest.raises(MediaError) as caught:
        sample(shared_media / name, EIGHT)
    assert str(caught.value) == message


def test_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match=r"^not a regular file$"):
        sample(tmp_path / "a.mp4", EIGHT)


def test_limits_are_checked_before_decoding(tmp_path, monkeypatch):
    clip = make_video(tmp_path / "a.mp4")
    still = make_picture(tmp_path / "a.png")
    monkeypatch.setattr(video, "MAX_DURATION_S", 2.0)
    with pytest.raises(
        MediaError, match=r"^lasts .* hours, over the limit of 0; cut it into shorter clips, or repair its timestamps$"
    ):
        sample(clip, EIGHT)
    monkeypatch.setattr(container, "MAX_PIXELS", 96 * 64 - 1)
    monkeypatch.setattr(picture, "MAX_PIXELS", 96 * 64 - 1)
    with pytest.raises(
        MediaError, match=r"^its size of 96x64 is over the limit of 0 megapixels; make it smaller first$"
    ):
        sample(clip, EIGHT)
    with pytest.raises(
        MediaError, match=r"^its size of 96x64 is over the limit of 0 megapixels; make it smaller first$"
    ):
        sample(still, EIGHT)
