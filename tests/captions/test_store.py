"""The caption store: writing, reading, and the history."""

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from captioner.captions.store import CaptionStore, Written
from captioner.errors import CaptionError
from captioner.system.database import Database
from captioner.values import ExistingPolicy, MediaItem
from tests.support.captions import CAPTION


def test_caption_is_one_line_of_utf8_and_nothing_else_is_in_the_folder(store: CaptionStore, item: MediaItem) -> None:
    written = store.write(
        item, replace(CAPTION, text="Sure! Here is a caption:\n\n**Ein Ball**\nrollt – 赤い。"), "skip"
    )
    assert written == Written("Ein Ball rollt – 赤い。", "written")
    assert item.caption_path.read_bytes() == "Ein Ball rollt – 赤い。".encode()
    assert sorted(os.listdir(item.folder)) == ["a.mp4", "a.txt"]
    assert store.read(item.caption_path) == written.text
    assert store.history(item.caption_path) == []


@pytest.mark.parametrize(
    ("policy", "expected", "outcome"),
    [
        ("skip", "Old,\r\nby hand.", "kept"),
        ("overwrite", "A red ball.", "written"),
        ("prefix", "A red ball. Old,\r\nby hand.", "written"),
        ("append", "Old,\r\nby hand. A red ball.", "written"),
    ],
)
def test_policy_decides_what_happens_to_a_caption(
    store: CaptionStore, item: MediaItem, job: int, policy: ExistingPolicy, expected: str, outcome: str
) -> None:
    old = "\ufeffOld,\r\nby hand. \n".encode()
    item.caption_path.write_bytes(old)
    reason = "has a caption" if policy == "skip" else None
    assert store.skip_reason(item, policy) == reason
    assert store.write(item, CAPTION, policy, job) == Written(expected, outcome, reason)
    if outcome == "kept":
        assert item.caption_path.read_bytes() == old
        assert store.history(item.caption_path) == []
    else:
        end = "" if policy == "overwrite" else " \n"
        assert item.caption_path.read_bytes() == (expected + end).encode()
        [entry] = store.history(item.caption_path)
        assert (entry.data, entry.text, entry.origin) == (old, "Old,\r\nby hand.", "job")
    [made] = store.provenance(item.caption_path)
    assert (made.outcome, made.caption.text, made.job) == (outcome, "A red ball.", str(job))


@pytest.mark.parametrize(
    "content", [None, b"", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n", b"\xff\xfe", b"\x00\x00"]
)
@pytest.mark.parametrize("policy", ["skip", "overwrite", "prefix", "append"])
def test_missing_and_blank_captions_are_written_under_every_policy(
    store: CaptionStore, item: MediaItem, content: bytes | None, policy: ExistingPolicy
) -> None:
    if content is not None:
        item.caption_path.write_bytes(content)
    assert store.read(item.caption_path) == ""
    assert store.skip_reason(item, policy) is None
    assert store.write(item, CAPTION, policy) == Written("A red ball.", "written")
    assert store.history(item.caption_path) == []


def test_existing_caption_is_looked_up_on_disk_and_not_in_the_scan(store: CaptionStore, item: MediaItem) -> None:
    assert store.skip_reason(item._replace(has_caption=True), "skip") is None
    item.caption_path.write_text("x")
    assert store.skip_reason(item._replace(has_caption=False), "skip") == "has a caption"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Grün".encode("latin-1"), "Grün"),
        ("\ufeffGrün".encode("utf-8"), "Grün"),
        ("Grün".encode("utf-16"), "Grün"),
        (b"\xff\xfea", "\\x61"),
        (b" two\nlines\n", "two\nlines"),
    ],
)
def test_odd_bytes_are_read_and_kept_in_the_history_byte_for_byte(
    store: CaptionStore, item: MediaItem, content: bytes, text: str
) -> None:
    item.caption_path.write_bytes(content)
    assert store.read(item.caption_path) == text
    assert store.skip_reason(item, "skip") == "has a caption"
    store.write(item, CAPTION, "overwrite")
    assert store.history(item.caption_path)[0].data == content


def test_every_earlier_text_of_a_file_is_in_the_history(store: CaptionStore, item: MediaItem) -> None:
    path = item.caption_path
    store.save(path, "one")
    store.save(path, "two", origin="bulk")
    store.write(item, CAPTION, "overwrite")
    assert store.delete(path)
    assert not path.exists()
    assert not store.delete(path)
    entries = store.history(path)
    assert [(entry.text, entry.origin) for entry in entries] == [
        ("A red ball.", "delete"),
        ("two", "job"),
        ("one", "bulk"),
    ]
    assert store.restore(path, entries[2].id) == "one"
    assert path.read_bytes() == b"one"


def test_restoring_brings_back_the_bytes_and_keeps_the_replaced_text(store: CaptionStore, item: MediaItem) -> None:
    path = item.caption_path
    path.write_bytes(b"Gr\xfcn\r\n")
    store.save(path, "green", consent=True)
    store.restore(path, store.history(path)[0].id)
    assert path.read_bytes() == b"Gr\xfcn\r\n"
    latest = store.history(path)[0]
    assert (latest.text, latest.origin) == ("green", "restore")
    with pytest.raises(CaptionError) as caught:
        store.restore(path, 99)
    assert str(caught.value) == f"{path} has no earlier text number 99"


@pytest.mark.parametrize("before", [None, b"", b" \r\n", b"Old.\r\n"])
def test_last_change_of_a_caption_can_be_undone_and_redone_byte_for_byte(
    store: CaptionStore, item: MediaItem, before: bytes | None
) -> None:
    path = item.caption_path
    if before is not None:
        path.write_bytes(before)
    assert store.last_change(path) is None
    store.write(item, CAPTION, "overwrite")
    for expected in (before, b"A red ball.", before):
        assert store.restore(path, store.last_change(path)) == ("" if not expected else expected.decode().strip())
        assert (path.read_bytes() if path.exists() else None) == expected


def test_writing_the_same_text_again_changes_nothing(store: CaptionStore, item: MediaItem) -> None:
    store.write(item, CAPTION, "overwrite")
    store.write(item, CAPTION, "overwrite")
    store.save(item.caption_path, "A red ball.")
    assert store.history(item.caption_path) == []
    assert len(store.provenance(item.caption_path)) == 2


@pytest.mark.parametrize(
    ("text", "saved"),
    [
        (" sks_man,\nby the\t\tsea \n", "sks_man,\nby the\t\tsea"),
        ('Caption: **"as typed"**', 'Caption: **"as typed"**'),
        (" \n\u200b", ""),
    ],
)
def test_typed_text_is_stripped_and_not_cleaned(store: CaptionStore, item: MediaItem, text: str, saved: str) -> None:
    assert store.save(item.caption_path, text) == saved
    assert item.caption_path.read_bytes() == saved.encode()
    assert store.provenance(item.caption_path) == []


def test_provenance_holds_how_a_caption_was_made(store: CaptionStore, item: MediaItem, job: int) -> None:
    store.write(item, CAPTION, "skip", job)
    [made] = store.provenance(item.caption_path)
    assert made.caption == CAPTION
    assert (made.media_path, made.caption_path) == (item.path, item.caption_path)
    assert (made.outcome, made.job) == ("written", str(job))
    assert made.created_at_s > 1.7e9


def test_provenance_lists_the_latest_caption_first(store: CaptionStore, item: MediaItem) -> None:
    for text in ("one", "two"):
        store.write(item, replace(CAPTION, text=text), "overwrite")
    assert [made.caption.text for made in store.provenance(item.caption_path)] == ["two", "one"]


def test_caption_on_another_mount_is_written_through_a_file_beside_the_media(
    store: CaptionStore, item: MediaItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file = os.replace

    def refuse_across_mounts(source: Path, target: Path) -> None:
        if source.parent != target.parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", refuse_across_mounts)
    assert store.write(item, CAPTION, "skip").outcome == "written"
    assert sorted(os.listdir(item.folder)) == ["a.mp4", "a.txt"]


def test_threads_that_change_one_file_lose_no_text(store: CaptionStore, item: MediaItem) -> None:
    def work(name: str) -> None:
        for number in range(10):
            store.write(item, replace(CAPTION, text=f"{name}-{number}"), "append")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    words = store.read(item.caption_path).split()
    assert sorted(words) == sorted(f"{name}-{number}" for name in "abc" for number in range(10))
    assert len(store.history(item.caption_path)) == 29


def test_relative_and_absolute_paths_are_the_same_caption(
    store: CaptionStore, item: MediaItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(item.folder)
    store.save(Path("a.txt"), "one")
    store.save(item.caption_path, "two")
    assert [entry.text for entry in store.history(Path("a.txt"))] == ["one"]
    assert store.history(Path("a.txt")) == store.history(item.caption_path)


def test_writing_a_caption_takes_two_transactions(
    store: CaptionStore, item: MediaItem, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    item.caption_path.write_bytes(b"old")
    count, transaction = [], database.transaction
    monkeypatch.setattr(database, "transaction", lambda: count.append(1) or transaction())
    store.write(item, CAPTION, "overwrite")
    assert len(count) == 2
