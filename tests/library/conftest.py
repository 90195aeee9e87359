"""Fixtures that several tests of the library share."""

import pytest

from captioner.captions.store import CaptionStore
from captioner.system.database import Database


@pytest.fixture
def store(tmp_path):
    database = Database(tmp_path / "captioner.sqlite")
    yield CaptionStore(database, tmp_path / "scratch")
    database.close()
