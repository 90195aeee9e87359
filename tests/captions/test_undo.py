"""A job over 200 files with captions of every kind, then its undo: the folder is as before, byte for byte."""

from dataclasses import replace
from pathlib import Path

import pytest

from captioner.captions.operations import (
    begin_operation,
    close_unfinished,
    end_operation,
    last_standing,
    operation_info,
    recent_operations,
    resumed_as,
    undo_of,
)
from captioner.captions.store import CaptionStore, Undone
from captioner.errors import JobError
from captioner.media.discover import ListingOptions, discover
from captioner.system.database import Database
from captioner.system.migrations import MIGRATIONS
from captioner.values import Caption, GenerationOptions, MediaItem

NUM_FILES = 200
CAPTION = Caption("A red ball.", "demo", "Describe.", GenerationOptions())
CONTENTS = (
    None,
    b"",
    b" \r\n\t",
    b"\xef\xbb\xbfGr\xc3\xbcn, with a mark.\n",
    b"Two\r\nlines\r\n",
    "Grün".encode("latin-1"),
    "Grün".encode("utf-16"),
    b"\x00\xff\xfe odd",
    b"plain",
    b"A red ball.",  # the same as the caption of the model
)


@pytest.fixture
def items(tmp_path: Path) -> list[MediaItem]:
    """Create 200 files in two folders, with the captions of CONTENTS in turn."""
    for number in range(NUM_FILES):
        path = tmp_path / "media" / f"part {number % 2}" / f"clip {number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")
        content = CONTENTS[number // 2 % len(CONTENTS)]
        if content is not None:
            path.with_suffix(".txt").write_bytes(content)
    return list(discover(tmp_path / "media", ListingOptions(recursive=True)).items)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def begin(database: Database, resumes: int | None = None) -> int:
    with database.transaction() as connection:
        if resumes is not None:
            assert close_unfinished(connection, resumes, "resumed")
        return begin_operation(connection, "job", "Caption 200 files", Path("/media"), NUM_FILES, resumes=resumes)


def run(
    store: CaptionStore, database: Database, items: list[MediaItem], policy: str = "overwrite", text: str = ""
) -> int:
    """Change captions as a job does, and return its id."""
    operation = begin(database)
    for item in items:
        store.write(item, replace(CAPTION, text=text or CAPTION.text), policy, operation)
    end_operation(database, operation, "done")
    return operation


@pytest.mark.parametrize("policy", ["overwrite", "prefix", "append", "skip"])
def test_folder_is_byte_identical_after_a_job_and_its_undo(tmp_path, database, store, items, policy):
    store.encoding = "latin-1"
    before = tree(tmp_path / "media")
    operation = run(store, database, items, policy)
    after = tree(tmp_path / "media")
    changed = [name for name in after if before.get(name) != after[name]]
    assert len(changed) == {"overwrite": 180, "prefix": 200, "append": 200, "skip": 60}[policy]
    assert store.undo(operation) == Undone(len(changed), ())
    assert tree(tmp_path / "media") == before
    assert database.rows("SELECT count(*) AS n FROM caption_changes WHERE made = 0")[0]["n"] == 0


def test_second_undo_does_nothing_and_undo_of_the_undo_redoes_the_job(tmp_path, database, store, items):
    before = tree(tmp_path / "media")
    operation = run(store, database, items)
    after = tree(tmp_path / "media")
    assert store.undo(operation).restored == 180
    assert store.undo(operation) == Undone(0, ())
    assert [info.kind for info in recent_operations(database)] == ["undo", "job"]
    assert operation_info(database, operation).undone_at_s
    assert last_standing(database) is None

    undo = recent_operations(database)[0]
    assert (undo.title, undo.state, undo.changed) == ("Undo of Caption 200 files", "done", 180)
    assert store.undo(undo.id).restored == 180
    assert tree(tmp_path / "media") == after
    assert operation_info(database, operation).undone_at_s is None
    assert last_standing(database).id == operation

    assert store.undo(recent_operations(database)[0].id).restored == 180
    assert tree(tmp_path / "media") == before
    assert operation_info(database, operation).undone_at_s


def test_captions_changed_since_the_job_are_kept_and_reported(tmp_path, database, store, items):
    before = tree(tmp_path / "media")
    operation = run(store, database, items)
    edited, deleted, by_hand, approved, back = (item.caption_path for item in (*items[5:9], items[13]))
    edited.write_bytes(b"by another program")
    deleted.unlink()
    store.save(by_hand, "mine")
    assert store.approve([approved]) == 1
    name = str(back.relative_to(tmp_path / "media"))
    back.write_bytes(before[name])  # as it was before the job
    expected = before | {
        str(path.relative_to(tmp_path / "media")): path.read_bytes() for path in (edited, by_hand, approved)
    }
    del expected[str(deleted.relative_to(tmp_path / "media"))]

    undone = store.undo(operation)
    reasons = {edited: "changed since", deleted: "changed since", by_hand: "changed since", approved: "approved"}
    assert dict(undone.kept) == reasons
    assert undone.restored == 180 - 5
    assert tree(tmp_path / "media") == expected
    assert dict(store.undo(operation).kept) == reasons
    assert store.history(edited)[0].data == before[str(edited.relative_to(tmp_path / "media"))]


def test_later_job_is_undone_before_an_earlier_one(tmp_path, database, store, items):
    before = tree(tmp_path / "media")
    first = run(store, database, items[:20], text="one")
    between = tree(tmp_path / "media")
    second = run(store, database, items[:20], text="two")
    assert store.undo(first) == Undone(0, tuple((item.caption_path, "changed since") for item in items[:20]))
    assert operation_info(database, first).undone_at_s is None
    assert last_standing(database).id == second
    store.undo(second)
    assert tree(tmp_path / "media") == between
    store.undo(last_standing(database).id)
    assert tree(tmp_path / "media") == before


def test_job_that_wrote_a_file_twice_is_undone_to_the_text_before_it(database, store, items):
    item = items[0]
    item.caption_path.write_bytes(b"old")
    operation = begin(database)
    for text in ("one", "two"):
        store.write(item, replace(CAPTION, text=text), "overwrite", operation)
    assert store.undo(operation) == Undone(1, ())
    assert item.caption_path.read_bytes() == b"old"


def test_all_runs_of_a_resumed_job_are_undone_and_redone_as_one(tmp_path, database, store, items):
    store.write(items[5], replace(CAPTION, text="of an earlier job"), "overwrite", run(store, database, []))
    before, owners = tree(tmp_path / "media"), store.ownership.digests_in(items[5].folder)
    numbers: list[int] = []
    for part in (items[:4], items[4:12], [], items[12:16]):
        numbers.append(begin(database, numbers[-1] if numbers else None))
        for item in part:
            store.write(item, replace(CAPTION, text="new"), "overwrite", numbers[-1])
        end_operation(database, numbers[-1], "interrupted")
    *earlier, last = numbers
    after = tree(tmp_path / "media")

    for number, later in zip(earlier, numbers[1:], strict=True):
        with pytest.raises(JobError, match=f"^job {number} was resumed as job {later}, which is undone together with"):
            store.undo(number)
    assert (last_standing(database).id, last_standing(database).changed) == (last, 16)
    assert set(store.changed_by(last)) == {item.caption_path for item in items[:16]}
    assert store.undo(last) == Undone(16, ())
    assert tree(tmp_path / "media") == before
    assert store.ownership.digests_in(items[5].folder) == owners
    assert all(operation_info(database, number).undone_at_s for number in numbers)
    assert last_standing(database) is None or last_standing(database).id not in numbers
    assert store.undo(undo_of(database, last)) == Undone(16, ())
    assert tree(tmp_path / "media") == after
    assert all(operation_info(database, number).undone_at_s is None for number in numbers)


def test_what_was_written_by_hand_between_two_runs_of_a_job_comes_back(database, store, items):
    item = items[0]
    item.caption_path.write_bytes(b"old")
    first = begin(database)
    store.write(item, replace(CAPTION, text="one"), "overwrite", first)
    end_operation(database, first, "stopped")
    store.save(item.caption_path, "by hand")
    owners = store.ownership.edited_in(item.folder)
    second = begin(database, first)
    store.write(item, replace(CAPTION, text="two"), "overwrite", second, consent=True)
    end_operation(database, second, "done")
    assert store.undo(second) == Undone(1, ())
    assert item.caption_path.read_bytes() == b"by hand"
    assert store.ownership.edited_in(item.folder) == owners


def test_undo_brings_back_who_wrote_a_caption(database, store, items):
    stranger, own, edited, outside = items[:4]
    folder = items[0].folder
    for item in (stranger, outside):
        item.caption_path.write_bytes(b"by another program")
    run(store, database, [own, edited, outside])
    store.save(edited.caption_path, "by hand")
    outside.caption_path.write_bytes(b"in another editor")
    states = store.ownership.edited_in(folder), store.ownership.digests_in(folder)

    operation = begin(database)
    for item in items[:4]:
        store.write(item, replace(CAPTION, text="new"), "overwrite", operation, consent=True)
    assert store.ownership.edited_in(folder) == set()
    assert store.skip_reason(outside, "overwrite") is None
    assert store.undo(operation) == Undone(4, ())
    assert (store.ownership.edited_in(folder), store.ownership.digests_in(folder)) == states
    assert store.skip_reason(outside, "overwrite") == "changed outside"
    assert store.skip_reason(stranger, "overwrite") is None


def test_undo_keeps_a_file_that_cannot_be_replaced_and_restores_the_others(database, store, items):
    operation = run(store, database, items[:20])
    blocked = items[16].caption_path
    blocked.unlink()
    blocked.mkdir()
    undone = store.undo(operation)
    assert [path for path, _ in undone.kept] == [blocked]
    assert undone.kept[0][1].startswith(f"cannot read the caption {blocked}: ")
    assert undone.restored == 17


def test_undos_in_a_database_of_an_older_version_can_be_undone(tmp_path, monkeypatch):
    """Older versions stored `undoes` and `resumes` in request_json."""
    path, caption = tmp_path / "old.sqlite", tmp_path / "a.txt"
    with monkeypatch.context() as patch:
        patch.setattr("captioner.system.database.MIGRATIONS", MIGRATIONS[:4])
        older = Database(path)
        for kind, request in (
            ("job", '{"undoes": 7}'),
            ("undo", '{"undoes": 1}'),
            ("bulk", "null"),
            ("job", '{"resumes": 3}'),
        ):
            older.execute(
                "INSERT INTO operations (kind, title, folder, state, reason, total, request_json, created_at_s) "
                "VALUES (?, 'Title', '/media', 'done', '', 1, ?, 1.0)",
                (kind, request),
            )
        older.execute("UPDATE operations SET undone_at_s = 2.0 WHERE id = 1")
        for before, after, operation in ((b"old", b"new", 1), (b"new", b"old", 2)):
            older.execute(
                "INSERT INTO caption_changes (caption_path, before, after, origin, operation, made, changed_at_s, "
                "state_origin, state_digest) VALUES (?, ?, ?, 'job', ?, 1, 1.0, 'hand', x'00')",
                (str(caption), before, after, operation),
            )
        older.close()
    caption.write_bytes(b"old")
    database = Database(path)
    store = CaptionStore(database, tmp_path / "scratch")
    assert [undo_of(database, number) for number in (1, 2, 3, 7)] == [2, None, None, None]
    assert [resumed_as(database, number) for number in (1, 3)] == [None, 4]
    assert store.undo(2) == Undone(1, ())
    assert caption.read_bytes() == b"new"
    assert operation_info(database, 1).undone_at_s is None
    assert undo_of(database, 2) == 5
    assert store.undo(5) == Undone(1, ())
    assert caption.read_bytes() == b"old"
    assert operation_info(database, 1).undone_at_s
    database.close()


def test_unknown_operation_raises_one_line(store):
    with pytest.raises(JobError, match=r"^there is no job or bulk edit 7; run `captioner history`"):
        store.undo(7)
