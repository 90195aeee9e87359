"""Thumbnails: their picture and their duration."""

import io
import time

import av
import numpy as np
import pytest
from PIL import Image

from captioner.errors import MediaError
from captioner.media.discover import discover
from captioner.media.thumbnail import make_thumbnail
from tests.support.media_doors import item_of
from tests.support.media_maker import make_animation, make_picture, make_video, numbered_picture


def pixels_of(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        return np.asarray(image).astype(int)


class TestPicture:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [((640, 360), (320, 180)), ((100, 60), (100, 60)), ((90, 900), (32, 320)), ((2000, 2), (320, 1))],
    )
    def test_longest_side_is_320_and_nothing_is_enlarged(self, tmp_path, size, expected):
        made = make_thumbnail(item_of(make_picture(tmp_path / "a.png", size)))
        height, width, _ = pixels_of(made.data).shape
        assert ((width, height), made.duration_s) == (expected, 0)

    def test_photo_is_upright(self, tmp_path):
        made = make_thumbnail(item_of(make_picture(tmp_path / "a.jpg", (96, 64), orientation=6)))
        expected = np.rot90(numbered_picture(5), -1)
        assert np.abs(pixels_of(made.data) - expected).mean() < 12

    def test_an_animation_shows_its_first_frame(self, tmp_path):
        made = make_thumbnail(item_of(make_animation(tmp_path / "a.webp", [100] * 4)))
        assert np.abs(pixels_of(made.data) - numbered_picture(0)).mean() < 12


class TestVideo:
    @pytest.mark.parametrize("filename", ["a.mp4", "a.mov", "a.mkv", "a.avi", "a.ts", "a.flv"])
    def test_has_a_frame_and_the_duration(self, tmp_path, filename):
        made = make_thumbnail(item_of(make_video(tmp_path / filename, 50)))
        assert np.abs(pixels_of(made.data) - numbered_picture(0)).mean() < 12
        assert made.duration_s == pytest.approx(2, abs=0.1)

    def test_takes_the_keyframe_before_a_tenth_of_the_clip(self, tmp_path):
        clip = make_video(tmp_path / "a.mp4", 100, fps=10, keyframe_every=5, options={"sc_threshold": "0"})
        assert np.abs(pixels_of(make_thumbnail(item_of(clip)).data) - numbered_picture(10)).mean() < 12

    @pytest.mark.parametrize("turn", [90, 180, 270])
    def test_phone_clip_is_upright(self, tmp_path, turn):
        made = make_thumbnail(item_of(make_video(tmp_path / "a.mp4", 30, rotation_ccw=turn)))
        assert np.abs(pixels_of(made.data) - np.rot90(numbered_picture(0), turn // 90)).mean() < 14

    def test_black_start_is_skipped(self, tmp_path):
        path = tmp_path / "a.mp4"
        with av.open(path, "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = 96, 64, "yuv420p", 10
            for number in range(100):
                picture = numbered_picture(number) if number >= 30 else np.zeros((64, 96, 3), np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        assert pixels_of(make_thumbnail(item_of(path)).data).mean(axis=2).std() > 30

    def test_a_clip_of_one_frame_works(self, tmp_path):
        made = make_thumbnail(item_of(make_video(tmp_path / "a.mp4", 1)))
        assert pixels_of(made.data).shape == (64, 96, 3)

    def test_1080p_takes_well_under_a_tenth_of_a_second(self, tmp_path):
        clip = item_of(make_video(tmp_path / "a.mp4", 30, size=(1920, 1080), options={"preset": "ultrafast"}))
        started_s = time.thread_time()
        make_thumbnail(clip)
        assert time.thread_time() - started_s < 0.1

    def test_real_files_give_a_thumbnail_or_a_reason(self, shared_media):
        reasons, num_made = {}, 0
        for item in discover(shared_media).items:
            try:
                assert max(pixels_of(make_thumbnail(item).data).shape) <= 320
                num_made += 1
            except MediaError as error:
                reasons[item.filename] = str(error)
        assert num_made >= 35
        assert reasons["audio-only-opus.mp4"] == "no video stream (audio only)"
        assert reasons["empty-file.webm"] == "file is empty"
        assert not any("\n" in reason or str(shared_media) in reason for reason in reasons.values())
