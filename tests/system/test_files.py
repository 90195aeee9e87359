"""The state folder: in a checkout, in an installed package, and chosen by the user."""

import sys
from pathlib import Path

import pytest

from captioner.errors import StateError
from captioner.system.files import default_state_folder, state_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def test_checkout_keeps_its_state_beside_the_app():
    assert default_state_folder() == ROOT / ".gradio"


@pytest.mark.parametrize("beside", [(), ("app.py",), ("pyproject.toml",)])
def test_installed_package_keeps_its_state_in_the_users_data_folder(tmp_path, beside):
    """Other packages may have put an app.py into site-packages."""
    site_packages = tmp_path / "site-packages"
    (site_packages / "captioner").mkdir(parents=True)
    for name in beside:
        (site_packages / name).touch()
    folder = default_state_folder(site_packages / "captioner")
    assert folder.name == "video-caption-suite"
    assert site_packages not in folder.parents
    if sys.platform == "linux":
        assert folder == tmp_path / "data" / "video-caption-suite"


def test_given_folder_wins_over_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTIONER_STATE", str(tmp_path / "variable"))
    assert state_folder() == tmp_path / "variable"
    assert state_folder(tmp_path / "given") == tmp_path / "given"
    assert (tmp_path / "given").is_dir()


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        StateError, match=rf"cannot create the state folder {tmp_path}/file/x: .*; choose one with --st"
    ):
        state_folder(tmp_path / "file" / "x")
