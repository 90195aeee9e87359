"""Captions that cannot be read, written or recorded: one line of error, and no text is lost."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

import captioner.captions.files
from captioner.captions.files import MAX_CAPTION_BYTES
from captioner.captions.store import CaptionStore, Written
from captioner.errors import CaptionError, StateError
from captioner.system.database import Database
from captioner.system.replacing import write_atomic
from captioner.values import MediaItem
from tests.support.captions import CAPTION


@pytest.mark.parametrize("text", ["", " \n", "<think>cut off", "```\n```", "Caption:\n", "\u200b<|im_end|>"])
def test_empty_output_is_an_error_and_keeps_the_old_file(store: CaptionStore, item: MediaItem, text: str) -> None:
    item.caption_path.write_bytes(b"old")
    with pytest.raises(CaptionError) as caught:
        store.write(item, replace(CAPTION, text=text), "overwrite")
    assert str(caught.value) == "a.mp4: the model returned an empty caption"
    assert item.caption_path.read_bytes() == b"old"
    assert store.history(item.caption_path) == []


def test_history_is_committed_before_the_file_changes(
    store: CaptionStore, item: MediaItem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item.caption_path.write_bytes(b"old")
    seen: list[tuple] = []

    def spy(path: Path, data: bytes, scratch: Path | None = None) -> None:
        other = Database(tmp_path / "captioner.sqlite")
        seen.extend(tuple(row) for row in other.rows("SELECT before, after, made FROM caption_changes"))
        other.close()
        write_atomic(path, data, scratch)

    monkeypatch.setattr(captioner.captions.files, "write_atomic", spy)
    store.write(item, CAPTION, "overwrite")
    assert seen == [(b"old", b"A red ball.", 0)]


def test_file_is_not_replaced_when_its_text_cannot_be_recorded(
    store: CaptionStore, item: MediaItem, database: Database
) -> None:
    item.caption_path.write_bytes(b"old")
    database.close()
    with pytest.raises(StateError):
        store.write(item, CAPTION, "overwrite")
    assert item.caption_path.read_bytes() == b"old"


def test_written_caption_is_recorded_later_when_the_database_fails_after_the_write(
    store: CaptionStore,
    item: MediaItem,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write_and_close(path: Path, data: bytes, scratch: Path | None = None) -> None:
        write_atomic(path, data, scratch)
        database.close()

    monkeypatch.setattr(captioner.captions.files, "write_atomic", write_and_close)
    assert store.write(item, CAPTION, "skip") == Written("A red ball.", "written")
    assert [record.getMessage() for record in caplog.records] == [
        f"the change of {item.caption_path} will be recorded at the next start: the database {database.path} is closed"
    ]
    again = CaptionStore(Database(database.path), item.folder)
    assert again.history(item.caption_path) == again.provenance(item.caption_path) == []
    assert again.settle() == {item.caption_path: True}
    assert [made.caption for made in again.provenance(item.caption_path)] == [CAPTION]


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "; free some space"),
        (errno.EACCES, "; make the folder writable, or write the captions to another one with --captions-to DIR"),
        (errno.EROFS, "; make the folder writable, or write the captions to another one with --captions-to DIR"),
        (errno.EIO, ""),
    ],
)
def test_failed_write_raises_one_line_and_keeps_the_old_text(
    store: CaptionStore, item: MediaItem, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    item.caption_path.write_bytes(b"old")

    def fail(path: Path, data: bytes, scratch: Path | None = None) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(captioner.captions.files, "write_atomic", fail)
    for action in (
        lambda: store.write(item, CAPTION, "overwrite"),
        lambda: store.save(item.caption_path, "new"),
    ):
        with pytest.raises(CaptionError) as caught:
            action()
        assert str(caught.value) == f"cannot write the caption {item.caption_path}: {os.strerror(code)}{advice}"
    assert item.caption_path.read_bytes() == b"old"
    assert store.history(item.caption_path) == []
    assert store.provenance(item.caption_path) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_read_only_folder_raises_one_line(store: CaptionStore, item: MediaItem) -> None:
    item.folder.chmod(0o555)
    try:
        with pytest.raises(CaptionError, match=r"^cannot write the caption .*a\.txt: Permission denied; make"):
            store.write(item, CAPTION, "skip")
    finally:
        item.folder.chmod(0o755)


def test_folder_with_the_name_of_the_caption_raises_one_line(store: CaptionStore, item: MediaItem) -> None:
    item.caption_path.mkdir()
    for action in (
        lambda: store.write(item, CAPTION, "overwrite"),
        lambda: store.skip_reason(item, "skip"),
        lambda: store.delete(item.caption_path),
    ):
        with pytest.raises(CaptionError) as caught:
            action()
        assert str(caught.value) == f"cannot read the caption {item.caption_path}: {os.strerror(errno.EISDIR)}"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in folders")
def test_pipe_or_device_with_the_name_of_the_caption_raises_one_line_at_once(
    store: CaptionStore, item: MediaItem
) -> None:
    os.mkfifo(item.caption_path)
    for device in (None, "/dev/zero"):
        if device:
            item.caption_path.unlink()
            item.caption_path.symlink_to(device)
        with pytest.raises(CaptionError, match=r"^cannot read the caption .*a\.txt: not a regular file$"):
            store.skip_reason(item, "skip")


def test_file_too_long_for_a_caption_raises_one_line(store: CaptionStore, item: MediaItem) -> None:
    item.caption_path.write_bytes(b"x" * MAX_CAPTION_BYTES)
    assert store.write(item, replace(CAPTION, text="y"), "overwrite") == Written("y", "written")
    with item.caption_path.open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(CaptionError, match=r"a\.txt: 3,221,225,472 bytes is longer than any caption$"):
        store.write(item, CAPTION, "overwrite", consent=True)
    assert item.caption_path.stat().st_size == 3 << 30


def test_text_too_long_to_be_read_again_is_not_written(store: CaptionStore, item: MediaItem) -> None:
    store.save(item.caption_path, "x" * MAX_CAPTION_BYTES)
    with pytest.raises(CaptionError, match=r"^cannot write the caption .*a\.txt: 1,000,002 bytes is longer than any"):
        store.save(item.caption_path, "x" * MAX_CAPTION_BYTES + " y")
    assert store.read(item.caption_path) == "x" * MAX_CAPTION_BYTES
    assert store.history(item.caption_path) == []


def test_missing_folder_raises_one_line(store: CaptionStore, item: MediaItem, tmp_path: Path) -> None:
    gone = item._replace(folder=tmp_path / "gone")
    with pytest.raises(CaptionError) as caught:
        store.write(gone, CAPTION, "skip")
    assert str(caught.value) == f"cannot write the caption {gone.caption_path}: No such file or directory"
