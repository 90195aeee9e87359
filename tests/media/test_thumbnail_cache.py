"""The thumbnail cache: storage on disk, and making each thumbnail only once."""

import io
import itertools
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from captioner.errors import MediaError
from captioner.media import thumbnail_cache
from captioner.media.thumbnail import Thumbnail, make_thumbnail
from captioner.media.thumbnail_cache import ThumbnailCache
from captioner.values import MediaItem
from tests.support.media_doors import item_of
from tests.support.media_maker import make_audio, make_picture, make_video


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def kept(tmp_path) -> Path:
    return tmp_path / "state" / "thumbnails"


@pytest.fixture
def makes() -> list[str]:
    """The names of the files that were read to make a thumbnail."""
    return []


@pytest.fixture
def make(makes) -> Callable[[MediaItem], Thumbnail]:
    """Make a thumbnail slowly, so that calls overlap."""

    def make_slowly(item):
        makes.append(item.filename)
        time.sleep(0.05)
        return make_thumbnail(item)

    return make_slowly


class TestKept:
    def test_a_second_app_finds_it_on_disk(self, tmp_path, kept, make, makes):
        item = item_of(make_video(tmp_path / "a.mp4", 50))
        first = ThumbnailCache(kept, make).get(item)
        again = ThumbnailCache(kept, make)
        assert again.find(item) == again.get(item) == first
        assert makes == ["a.mp4"]
        (file,) = files_in(kept)
        assert (file.suffix, len(file.stem), file.parent.name) == (".jpg", 32, file.stem[:2])

    def test_equal_names_in_two_folders_are_two_files(self, tmp_path, kept):
        paths = [tmp_path / name / "a.bmp" for name in ("one", "two")]
        for path, color in zip(paths, ("red", "blue"), strict=True):
            path.parent.mkdir()
            Image.new("RGB", (64, 48), color).save(path)
            os.utime(path, (1e9, 1e9))
        items = [item_of(path) for path in paths]
        assert len({item[4:6] for item in items}) == 1  # the same size and time
        cache = ThumbnailCache(kept, make_thumbnail)
        red, blue = (Image.open(io.BytesIO(cache.get(item).data)).getpixel((0, 0)) for item in items)
        assert red[0] > 250 > 5 > blue[0]

    @pytest.mark.parametrize("change", [{"size_bytes": 1}, {"modified_s": 1.5}])
    def test_a_changed_file_is_another_one(self, tmp_path, kept, change):
        item = item_of(make_picture(tmp_path / "a.png"))
        cache = ThumbnailCache(kept, make_thumbnail)
        cache.get(item)
        assert cache.find(item._replace(**change)) is None

    def test_names_that_are_not_utf8_are_kept_too(self, tmp_path, kept):
        path = make_picture(tmp_path / "a.png").rename(tmp_path / os.fsdecode(b"h\xe4lf\n'<b>.png"))
        made = ThumbnailCache(kept, make_thumbnail).get(item_of(path))
        assert ThumbnailCache(kept, make_thumbnail).find(item_of(path)) == made

    @pytest.mark.parametrize("damage", [b"", b"\xff\xd8 half a picture", b"\xff\xd8\xff\xd9no number\n"])
    def test_damaged_thumbnail_is_made_again(self, tmp_path, kept, damage):
        item = item_of(make_picture(tmp_path / "a.png"))
        made = ThumbnailCache(kept, make_thumbnail).get(item)
        files_in(kept)[0].write_bytes(damage)
        assert ThumbnailCache(kept, make_thumbnail).find(item) is None
        assert ThumbnailCache(kept, make_thumbnail).get(item) == made

    def test_the_folder_may_vanish(self, tmp_path, kept):
        item = item_of(make_picture(tmp_path / "a.png"))
        cache = ThumbnailCache(kept, make_thumbnail)
        made = cache.get(item)
        shutil.rmtree(kept)
        assert cache.get(item) == made
        assert len(files_in(kept)) == 1

    def test_folder_that_cannot_be_written_is_logged_once(self, tmp_path, make, makes, caplog):
        (tmp_path / "state").mkdir(exist_ok=True)
        in_the_way = tmp_path / "state" / "thumbnails"
        in_the_way.write_text("a file")
        items = [item_of(make_picture(tmp_path / name)) for name in ("a.png", "b.png")]
        cache = ThumbnailCache(in_the_way, make)
        with caplog.at_level(logging.WARNING):
            for item in items * 2:
                assert cache.get(item) == cache.find(item)
        assert makes == ["a.png", "b.png"]
        assert [record.getMessage().split(":")[0] for record in caplog.records] == [
            "thumbnails are kept in memory only"
        ]

    def test_least_recently_used_are_deleted_when_the_folder_is_too_large(self, tmp_path, kept):
        items = [item_of(make_picture(tmp_path / f"{number}.png")) for number in range(10)]
        cache = ThumbnailCache(kept, make_thumbnail, max_bytes=10**9)
        size_bytes = sum(len(cache.get(item).data) for item in items)
        cache.prune()
        assert len(files_in(kept)) == 10
        day_s = 86400
        for number, file in enumerate(cache._path(thumbnail_cache._key(item)) for item in items):
            os.utime(file, (time.time() - (20 - number) * day_s,) * 2)
        assert cache.find(items[0])  # used, so it stays
        ThumbnailCache(kept, make_thumbnail, max_bytes=size_bytes // 2).prune()
        left = [number for number, item in enumerate(items) if cache.find(item)]
        assert left[0] == 0
        assert left[1:] == list(range(10 - len(left) + 1, 10))
        assert 3 <= len(left) <= 5

    def test_it_prunes_after_the_first_write_and_from_time_to_time(self, tmp_path, kept, monkeypatch):
        monkeypatch.setattr(thumbnail_cache, "WRITES_TO_PRUNE", 4)
        numbers = itertools.count()
        for _ in range(2):
            cache, left = ThumbnailCache(kept, make_thumbnail, max_bytes=1), []
            for number in itertools.islice(numbers, 6):
                cache.get(item_of(make_picture(tmp_path / f"{number}.png")))
                left.append(len(files_in(kept)))
            assert left == [0, 1, 2, 3, 0, 1]


class TestMaking:
    def test_it_is_made_once_for_any_number_of_callers(self, tmp_path, kept, make, makes):
        items = [item_of(make_picture(tmp_path / f"{number}.png")) for number in range(3)]
        cache = ThumbnailCache(kept, make)
        with ThreadPoolExecutor(24) as pool:
            made = list(pool.map(cache.get, items * 8))
        assert sorted(makes) == ["0.png", "1.png", "2.png"]
        assert made == made[:3] * 8

    def test_number_made_at_the_same_time_is_limited(self, tmp_path, kept):
        items = [item_of(make_picture(tmp_path / f"{number}.png")) for number in range(12)]
        lock, counts = threading.Lock(), [0, 0]

        def make_counted(item):
            with lock:
                counts[0] += 1
                counts[1] = max(counts)
            time.sleep(0.02)
            with lock:
                counts[0] -= 1
            return make_thumbnail(item)

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(ThumbnailCache(kept, make_counted).get, items))
        assert counts[1] == thumbnail_cache.THUMBNAIL_WORKERS

    def test_broken_file_is_tried_again_after_a_while(self, tmp_path, kept, make, makes, monkeypatch):
        item = item_of(make_audio(tmp_path / "a.mp4"))
        cache = ThumbnailCache(kept, make)
        assert cache.find(item) is None
        for ask in (cache.get, cache.get, cache.find):
            with pytest.raises(MediaError, match=r"^no video stream \(audio only\)$"):
                ask(item)
        assert makes == ["a.mp4"]
        monkeypatch.setattr(thumbnail_cache, "FAILURE_S", 0.0)
        forgetful = ThumbnailCache(kept, make)
        with pytest.raises(MediaError):
            forgetful.get(item)
        assert forgetful.find(item) is None

    def test_failure_reaches_every_waiting_caller(self, tmp_path, kept, make, makes):
        item = item_of(make_audio(tmp_path / "a.mp4"))
        cache = ThumbnailCache(kept, make)

        def reason(_) -> str:
            with pytest.raises(MediaError) as caught:
                cache.get(item)
            return str(caught.value)

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(reason, range(8))) == {"no video stream (audio only)"}
        assert makes == ["a.mp4"]

    def test_missing_file_is_tried_again_at_once(self, tmp_path, kept):
        path = make_picture(tmp_path / "a.png")
        item, data = item_of(path), path.read_bytes()
        path.unlink()
        cache = ThumbnailCache(kept, make_thumbnail)
        with pytest.raises(MediaError, match="no such file"):
            cache.get(item)
        path.write_bytes(data)
        assert cache.get(item).data
