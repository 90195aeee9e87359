"""A change that was under way when the program was killed is completed or dropped at the next start."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from captioner.captions.operations import begin_operation, operation_info
from captioner.errors import CaptionError
from captioner.system.database import Database

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from captioner.captions.provenance import finish
from captioner.captions.store import CaptionStore
from captioner.captions.text import Decoration
from captioner.system.database import Database
from captioner.values import Caption, GenerationOptions, MediaItem

moment, state, folder, scratch, what, number = sys.argv[1:]
replace = os.replace

def die(*paths):
    if what == "several" and Path(paths[1]).name == "a.txt":
        return replace(*paths)
    if moment == "replaced":
        replace(*paths)
    os.kill(os.getpid(), signal.SIGKILL)

def die_before_writing(descriptor):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "half":
    os.fsync = die_before_writing
os.replace = die
store = CaptionStore(Database(Path(state)), Path(scratch))
caption = Caption("A red ball.", "demo", "Say.", GenerationOptions())
items = [MediaItem(Path(folder), f"{n}.mp4", f"{n}.mp4", "video", 5, 0.0, f"{n}.txt", False) for n in "abc"]
if what == "write":
    store.write(items[0], caption, "overwrite", int(number))
elif what == "several":
    store.write_made([finish(item, caption, int(number), Decoration()) for item in items], "overwrite", False)
else:
    store.undo(int(number))
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")


def begin(database: Database) -> int:
    with database.transaction() as connection:
        return begin_operation(connection, "job", "Caption 1 file", Path("/media"), 1)


def kill(moment: str, tmp_path: Path, operation: int, what: str = "write", scratch: str = "scratch") -> None:
    command = [sys.executable, "-c", KILLED, moment, str(tmp_path / "captioner.sqlite"), str(tmp_path / "media")]
    ended = subprocess.run([*command, str(tmp_path / scratch), what, str(operation)], cwd=ROOT, timeout=60)
    assert ended.returncode == -signal.SIGKILL


def temporaries(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.rglob("*.tmp")]


@pytest.mark.parametrize("scratch", ["scratch", "media"])
@pytest.mark.parametrize("old", [None, b"old\r\n"])
@pytest.mark.parametrize("moment", ["half", "written", "replaced"])
def test_killed_write_is_complete_or_never_happened(tmp_path, media, database, store, moment, old, scratch):
    path = media / "a.txt"
    if old is not None:
        path.write_bytes(old)
    operation = begin(database)
    kill(moment, tmp_path, operation, scratch=scratch)
    assert len(temporaries(tmp_path)) == (moment != "replaced")
    assert store.history(path) == store.provenance(path) == []

    made = moment == "replaced"
    assert store.settle(operation + 1) == {}
    assert store.settle(operation) == {path: made}
    assert store.settle() == {}
    assert temporaries(tmp_path) == []
    assert (path.read_bytes() if path.exists() else None) == (b"A red ball." if made else old)
    assert [entry.data for entry in store.history(path)] == ([old] if made and old else [])
    assert [made.job for made in store.provenance(path)] == ([str(operation)] if made else [])
    assert (store.ownership.digest_of(path) is not None) == made
    assert store.undo(operation).restored == made
    assert (path.read_bytes() if path.exists() else None) == old


@pytest.mark.parametrize("moment", ["written", "replaced"])
def test_captions_that_share_a_killed_write_are_complete_or_never_happened_each(
    tmp_path, media, database, store, moment
):
    paths = [media / f"{name}.txt" for name in "abc"]
    for path in paths[:2]:
        path.write_bytes(b"old")
    operation = begin(database)
    kill(moment, tmp_path, operation, "several")
    made = [True, moment == "replaced", False]
    assert store.settle() == dict(zip(paths, made, strict=True))
    assert temporaries(tmp_path) == []
    assert [path.read_bytes() for path in paths[:2]] == [b"A red ball.", b"A red ball." if made[1] else b"old"]
    assert not paths[2].exists()
    assert [len(store.provenance(path)) for path in paths] == made
    assert [bool(store.ownership.digest_of(path)) for path in paths] == made
    assert store.undo(operation).restored == sum(made)
    assert [path.read_bytes() for path in paths[:2]] == [b"old", b"old"]


def test_text_that_a_killed_write_may_have_replaced_is_kept_in_the_history_even_if_the_file_changed_since(
    tmp_path, media, database, store
):
    path = media / "a.txt"
    path.write_bytes(b"old")
    operation = begin(database)
    kill("replaced", tmp_path, operation)
    path.write_bytes(b"by another program")
    assert store.settle() == {path: False}
    assert path.read_bytes() == b"by another program"
    assert [entry.data for entry in store.history(path)] == [b"old"]
    assert store.provenance(path) == []
    assert store.undo(operation).kept == ()


def test_change_in_a_missing_folder_is_settled_when_the_folder_is_back(tmp_path, media, database, store):
    kill("replaced", tmp_path, begin(database))
    media.rename(tmp_path / "unplugged")
    assert store.settle() == {}
    (tmp_path / "unplugged").rename(media)
    assert store.settle() == {media / "a.txt": True}


def test_change_of_an_unreadable_file_is_settled_when_it_can_be_read(tmp_path, media, database, store, caplog):
    path = media / "a.txt"
    kill("replaced", tmp_path, begin(database))
    path.rename(media / "aside")
    path.mkdir()
    assert store.settle() == {}
    assert "checked again at the next start: cannot read the caption" in caplog.text
    path.rmdir()
    (media / "aside").rename(path)
    assert store.settle() == {path: True}


@pytest.mark.parametrize("moment", ["written", "replaced"])
def test_killed_undo_can_be_repeated(tmp_path, media, database, store, moment):
    path = media / "a.txt"
    path.write_bytes(b"by another program")
    operation = begin(database)
    store.save(path, "new", "bulk", operation)
    kill(moment, tmp_path, operation, "undo")
    assert store.settle() == {path: moment == "replaced"}
    undo = operation_info(database, operation + 1)
    assert (undo.kind, undo.state, undo.reason) == ("undo", "stopped", "the program ended")
    assert store.undo(operation).restored == (moment != "replaced")
    assert path.read_bytes() == b"by another program"
    assert operation_info(database, operation).undone_at_s
    assert store.ownership.digest_of(path) is None


def test_file_that_another_program_changes_at_the_last_moment_is_not_replaced(media, database, store, monkeypatch):
    path = media / "a.txt"
    path.write_bytes(b"old")
    transaction = database.transaction

    def overtake():
        path.write_bytes(b"by another program")
        return transaction()

    monkeypatch.setattr(database, "transaction", overtake)
    with pytest.raises(CaptionError, match=r"a\.txt was just changed by another program; try again$"):
        store.save(path, "mine")
    assert path.read_bytes() == b"by another program"
    assert store.history(path) == []


def fail_after(monkeypatch, name: str, *and_then) -> None:
    """Make os.replace or os.unlink do their work and then fail, as on a network drive."""
    real = getattr(os, name)

    def call(*paths, **options):
        real(*paths, **options)
        for act in and_then:
            act()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, name, call)


def test_change_that_took_effect_in_spite_of_an_error_counts_as_made(media, database, store, monkeypatch):
    path, operation = media / "a.txt", begin(database)
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        fail_after(patch, "replace")
        store.save(path, "new", "bulk", operation)
    with monkeypatch.context() as patch:
        fail_after(patch, "unlink")
        assert store.delete(path, "bulk", operation)
    assert [entry.data for entry in store.history(path)] == [b"new", b"old"]
    assert store.undo(operation).restored == 1
    assert path.read_bytes() == b"old"


def test_old_text_is_kept_when_a_failed_change_left_another_text(media, store, monkeypatch):
    path = media / "a.txt"
    path.write_bytes(b"old")
    fail_after(monkeypatch, "replace", lambda: path.write_bytes(b"half"))
    with pytest.raises(CaptionError, match="cannot write the caption"):
        store.save(path, "new")
    assert path.read_bytes() == b"half"
    assert [entry.data for entry in store.history(path)] == [b"old"]


def test_failed_change_on_an_unplugged_drive_is_settled_when_the_drive_is_back(tmp_path, media, store, monkeypatch):
    path, away = media / "a.txt", tmp_path / "unplugged"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        rename = os.rename
        fail_after(patch, "replace", lambda: rename(media, away))
        with pytest.raises(CaptionError, match="cannot write the caption"):
            store.save(path, "new")
    assert (store.history(path), store.settle()) == ([], {})
    away.rename(media)
    assert store.settle() == {path: True}
    assert [entry.data for entry in store.history(path)] == [b"old"]


def test_settling_removes_only_its_own_temporary_files(tmp_path, media, store):
    for path in (
        tmp_path / "scratch" / ".hidden.tmp",
        tmp_path / "scratch" / "notes.12-34.tmp",
        media / ".a.txt.1-2.tmp",
    ):
        path.write_bytes(b"x")
    killed = tmp_path / "scratch" / ".a.txt.12-34.tmp"
    killed.write_bytes(b"x")
    store.settle()
    assert sorted(temporaries(tmp_path)) == [".a.txt.1-2.tmp", ".hidden.tmp", "notes.12-34.tmp"]
