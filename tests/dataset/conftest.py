"""Fixtures that several tests of data sets share."""

import pytest


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """A folder for the media of golden folders, each made once."""
    return tmp_path_factory.mktemp("media")
