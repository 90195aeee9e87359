"""A caption store with its database, and one clip to caption."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from captioner.captions.operations import begin_operation
from captioner.captions.store import CaptionStore
from captioner.system.database import Database
from captioner.values import MediaItem


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"video")
    return folder


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "captioner.sqlite")
    yield database
    database.close()


@pytest.fixture
def store(tmp_path: Path, database: Database) -> CaptionStore:
    return CaptionStore(database, tmp_path / "scratch")


@pytest.fixture
def job(database: Database, media: Path) -> int:
    """Return the id of a job in the table operations."""
    with database.transaction() as connection:
        return begin_operation(connection, "job", "Caption 1 file", media, 1)


@pytest.fixture
def item(media: Path) -> MediaItem:
    return MediaItem(media, "a.mp4", "a.mp4", "video", 5, 0.0, "a.txt", False)
