"""The public API: what `import captioner` offers, and that it captions, stops, cleans up and refuses bad input."""

import ast
import importlib
import subprocess
import sys
import typing
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal

import psutil
import pytest

import captioner
from captioner.config.settings import Settings
from captioner.demo.clips import write_samples
from captioner.replicas.process import ProcessReplica

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ast.parse((ROOT / "captioner" / "__init__.py").read_text())
BLOCKS = [SOURCE, *(node for node in SOURCE.body if isinstance(node, ast.If))]
IMPORTS = [node for block in BLOCKS for node in block.body if isinstance(node, ast.ImportFrom)]
IMPORTED = {
    (node.module, alias.name)
    for node in IMPORTS
    for alias in node.names
    if node.module.startswith("captioner.") and alias.name != "Services"
}


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def opened(state):
    with captioner.Captioner(model="demo", devices="cpu", existing="overwrite", state=state) as opened:
        yield opened


@pytest.fixture
def clips(tmp_path):
    write_samples(tmp_path / "clips", num_clips=1, num_stills=1)
    return tmp_path / "clips"


def captions(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.txt")}


def test_all_is_sorted_and_every_name_can_be_imported():
    assert captioner.__all__ == sorted(set(captioner.__all__))
    assert dir(captioner) == captioner.__all__
    for name in captioner.__all__:
        assert getattr(captioner, name) is not None


def test_every_public_name_is_in_all():
    assert {name for _, name in IMPORTED} | {"Captioner", "caption", "__version__"} == set(captioner.__all__)


def test_editors_see_the_names_where_they_are_imported_from():
    """Compare the imports, also those under TYPE_CHECKING, with what is imported lazily."""
    modules = {module for module, _ in IMPORTED} - {"captioner.errors"}
    assert modules == set(captioner._MODULES)
    for module, name in IMPORTED:
        assert getattr(captioner, name) is getattr(importlib.import_module(module), name)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'captioner' has no attribute 'nothing'"):
        captioner.nothing  # noqa: B018


def test_every_public_function_and_class_has_a_docstring():
    for name in captioner.__all__:
        value = getattr(captioner, name)
        if callable(value) and getattr(value, "__module__", "").startswith("captioner"):
            assert value.__doc__, name


def test_setting_keywords_are_the_settings_with_their_types():
    keywords = typing.get_type_hints(captioner.SettingsOptions)
    fields = {name: field.annotation for name, field in Settings.model_fields.items() if name != "folder"}
    assert list(keywords) == list(fields)
    for name, annotation in fields.items():
        expected = annotation | None
        if name in ("devices", "exclude", "endpoint"):
            expected = str | Sequence[str] | None
        elif name in ("models_folder", "captions_to", "adapter"):
            expected = str | PathLike[str] | None
        elif type(None) in typing.get_args(annotation):
            expected = annotation | Literal["auto"]
        assert set(typing.get_args(keywords[name])) == set(typing.get_args(expected)), name


def test_folder_is_captioned_event_by_event(opened, clips):
    events = list(opened.caption(clips))
    assert all(isinstance(event, captioner.Event) for event in events)
    assert isinstance(events[0], captioner.JobQueued)
    ended = events[-1]
    assert isinstance(ended, captioner.JobEnded)
    assert (ended.outcome, ended.done, ended.failed) == ("done", 2, 0)
    done = {
        event.path.with_suffix(".txt").name: event.caption for event in events if type(event).__name__ == "ItemDone"
    }
    assert captions(clips) == done
    assert set(done) == {"clip 01.txt", "still 01.txt"}


def test_one_file_is_captioned_and_nothing_is_written(opened, clips):
    before = set(clips.iterdir())
    caption = opened.caption_file(clips / "clip 01.mp4")
    assert isinstance(caption, captioner.Caption)
    assert caption.text.startswith("A ")
    assert (caption.device, len(caption.frame_times_s)) == ("cpu", 8)
    assert set(clips.iterdir()) == before


def test_closing_the_events_early_stops_the_job_and_keeps_the_model(opened, clips):
    events = opened.caption(clips)
    next(event for event in events if isinstance(event, captioner.JobStarted))
    events.close()
    assert opened._services.events.snapshot().stage == "stopped"
    assert not opened._services.events.snapshot().busy
    assert isinstance(list(opened.caption(clips))[-1], captioner.JobEnded)


def test_closing_the_events_of_caption_leaves_no_process_and_frees_the_state(clips, tmp_path, monkeypatch):
    monkeypatch.setattr("captioner.replicas.launcher.ProcessReplica", ProcessReplica)  # started as for users
    before = set(psutil.Process().children(recursive=True))
    events = captioner.caption(str(clips), model="demo", devices="cpu", state=tmp_path / "own")
    for event in events:
        if isinstance(event, captioner.ReplicaChanged):
            break
    events.close()
    left = set(psutil.Process().children(recursive=True)) - before
    assert [process for process in left if "spawn_main" in str(process.cmdline())] == []
    captioner.Captioner(state=tmp_path / "own").close()


def test_second_captioner_on_a_state_folder_is_refused(opened, state):
    with pytest.raises(captioner.StateError, match=f"the state folder {state}"):
        captioner.Captioner(state=state)


@pytest.mark.parametrize(
    ("error", "settings", "message"),
    [
        (captioner.SettingsError, {"speed": 9}, "unknown setting speed"),
        (captioner.SettingsError, {"max_frames": 1}, "max_frames: 1 is not allowed"),
        (captioner.ModelError, {"model": "qwen9"}, "unknown model"),
        (captioner.PromptError, {"model": "demo", "prompt_name": "Nothing"}, "Nothing"),
        (captioner.JobError, {"model": "no-one/nothing", "offline": True}, "no-one/nothing is not downloaded"),
    ],
)
def test_bad_settings_raise_their_error(clips, error, settings, message):
    with pytest.raises(error, match=message):
        list(captioner.caption(clips, **settings))
    assert captions(clips) == {}


def test_bad_paths_raise_their_error(opened, tmp_path):
    with pytest.raises(captioner.FolderError, match="no such folder: /nowhere"):
        list(opened.caption("/nowhere"))
    with pytest.raises(captioner.JobError, match="nothing to caption"):
        list(opened.caption(tmp_path))
    with pytest.raises(captioner.MediaError, match=r"/nowhere\.mp4: no such file"):
        opened.caption_file("/nowhere.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"this is no video")
    with pytest.raises(captioner.MediaError, match=rf"^{tmp_path}/broken\.mp4: "):
        opened.caption_file(tmp_path / "broken.mp4")


def test_closed_captioner_is_refused(tmp_path, clips):
    closed = captioner.Captioner(state=tmp_path / "own")
    closed.close()
    closed.close()
    with pytest.raises(captioner.JobError, match="this captioner is closed"):
        list(closed.caption(clips))


def test_script_without_a_main_guard_is_told_so(tmp_path, clips):
    """Worker processes import the script; its error is the last line that the worker prints."""
    code = f"import captioner\nlist(captioner.caption({str(clips)!r}, model='demo', devices='cpu', state='own'))\n"
    (tmp_path / "script.py").write_text(code)
    command = [sys.executable, "script.py"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    assert 'CaptionerError: put the code that captions under `if __name__ == "__main__":`' in done.stderr
