import errno
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

import captioner.captions.changes
from captioner.captions.changes import MAX_CAPTION_BYTES
from captioner.captions.operations import begin_operation
from captioner.captions.store import CaptionStore, Written
from captioner.errors import CaptionError, StateError
from captioner.system.database import Database
from captioner.system.files import write_atomic
from captioner.values import Caption, ExistingPolicy, GenerationOptions, MediaItem

OPTIONS = GenerationOptions(max_new_tokens=64, temperature=0.7, top_p=0.8, top_k=20, seed=5)
CAPTION = Caption(
    text="A red ball.",
    model="demo",
    prompt="Describe.",
    options=OPTIONS,
    frame_times_s=(0.0, 0.5),
    num_prompt_tokens=90,
    num_tokens=4,
    seconds=1.25,
    device="cpu",
    warning="cut short",
    finish_reason="length",
)


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"video")
    return folder


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "captioner.sqlite")


@pytest.fixture
def store(tmp_path: Path, database: Database) -> CaptionStore:
    return CaptionStore(database, tmp_path / "scratch")


@pytest.fixture
def job(database: Database, media: Path) -> int:
    """The number of an operation."""
    with database.transaction() as connection:
        return begin_operation(connection, "job", "Caption 1 file", media, 1)


@pytest.fixture
def item(media: Path) -> MediaItem:
    return MediaItem(media, "a.mp4", "a.mp4", "video", 5, 0.0, "a.txt", False)


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
        ("skip", "Old, by hand.", "kept"),
        ("overwrite", "A red ball.", "written"),
        ("prefix", "A red ball. Old, by hand.", "written"),
        ("append", "Old, by hand. A red ball.", "written"),
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
        assert item.caption_path.read_bytes() == expected.encode()
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


def test_need_is_read_from_the_disk_and_not_from_the_scan(store: CaptionStore, item: MediaItem) -> None:
    assert store.skip_reason(item._replace(has_caption=True), "skip") is None
    item.caption_path.write_text("x")
    assert store.skip_reason(item._replace(has_caption=False), "skip") == "has a caption"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Grün".encode("latin-1"), "Gr\ufffdn"),
        ("\ufeffGrün".encode("utf-8"), "Grün"),
        ("Grün".encode("utf-16"), "Grün"),
        (b"\xff\xfea", "\ufffd"),
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


def test_everything_that_ever_stood_in_the_file_is_in_the_history(store: CaptionStore, item: MediaItem) -> None:
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


def test_restoring_brings_back_the_bytes_and_remembers_what_stood_there(store: CaptionStore, item: MediaItem) -> None:
    path = item.caption_path
    path.write_bytes(b"Gr\xfcn\r\n")
    store.save(path, "green")
    store.restore(path, store.history(path)[0].id)
    assert path.read_bytes() == b"Gr\xfcn\r\n"
    latest = store.history(path)[0]
    assert (latest.text, latest.origin) == ("green", "restore")
    with pytest.raises(CaptionError) as caught:
        store.restore(path, 99)
    assert str(caught.value) == f"{path} has no earlier text number 99"


@pytest.mark.parametrize("before", [None, b"", b" \r\n", b"Old.\r\n"])
def test_last_change_of_one_caption_is_undone_byte_for_byte_and_done_again(
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


def test_the_same_text_again_is_no_change(store: CaptionStore, item: MediaItem) -> None:
    store.write(item, CAPTION, "overwrite")
    store.write(item, CAPTION, "overwrite")
    store.save(item.caption_path, "A red ball.")
    assert store.history(item.caption_path) == []
    assert len(store.provenance(item.caption_path)) == 2


@pytest.mark.parametrize(
    ("text", "saved"),
    [
        (" sks_man,\nby the\t\tsea \n", "sks_man, by the sea"),
        ('Caption: **"as typed"**', 'Caption: **"as typed"**'),
        (" \n\u200b", ""),
    ],
)
def test_text_by_hand_becomes_one_line_and_stays_as_typed(
    store: CaptionStore, item: MediaItem, text: str, saved: str
) -> None:
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


def test_provenance_is_the_latest_first(store: CaptionStore, item: MediaItem) -> None:
    for text in ("one", "two"):
        store.write(item, replace(CAPTION, text=text), "overwrite")
    assert [made.caption.text for made in store.provenance(item.caption_path)] == ["two", "one"]


@pytest.mark.parametrize("text", ["", " \n", "<think>cut off", "```\n```", "Caption:\n", "\u200b<|im_end|>"])
def test_empty_output_is_an_error_and_leaves_the_old_file_alone(
    store: CaptionStore, item: MediaItem, text: str
) -> None:
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

    monkeypatch.setattr(captioner.captions.changes, "write_atomic", spy)
    store.write(item, CAPTION, "overwrite")
    assert seen == [(b"old", b"A red ball.", 0)]


def test_file_stays_when_its_text_cannot_be_remembered(
    store: CaptionStore, item: MediaItem, database: Database
) -> None:
    item.caption_path.write_bytes(b"old")
    database.close()
    with pytest.raises(StateError):
        store.write(item, CAPTION, "overwrite")
    assert item.caption_path.read_bytes() == b"old"


def test_caption_stands_even_if_the_database_fails_once_it_is_written(
    store: CaptionStore,
    item: MediaItem,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write_and_close(path: Path, data: bytes, scratch: Path | None = None) -> None:
        write_atomic(path, data, scratch)
        database.close()

    monkeypatch.setattr(captioner.captions.changes, "write_atomic", write_and_close)
    assert store.write(item, CAPTION, "skip") == Written("A red ball.", "written")
    assert [record.getMessage() for record in caplog.records] == [
        f"the change of {item.caption_path} will be recorded at the next start: the database {database.path} is closed"
    ]
    again = CaptionStore(Database(database.path), item.folder)
    assert again.history(item.caption_path) == again.provenance(item.caption_path) == []
    assert again.settle() == {item.caption_path: True}
    assert [made.caption for made in again.provenance(item.caption_path)] == [CAPTION]


def test_captions_last_written_by_hand_are_known_per_folder(store: CaptionStore, item: MediaItem) -> None:
    folder = item.caption_path.parent
    store.write(item, CAPTION, "skip")
    assert store.ownership.edited_in(folder) == set()
    store.save(item.caption_path, "By hand.")
    assert store.ownership.edited_in(folder) == {str(item.caption_path)}
    assert store.ownership.edited_in(folder.parent) == {str(item.caption_path)}
    assert store.ownership.edited_in(folder / "deeper") == set()
    store.write(item, CAPTION, "overwrite")
    assert store.ownership.edited_in(folder) == set()


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "; free some space"),
        (errno.EACCES, "; make the folder writable, or copy it to a folder that is"),
        (errno.EROFS, "; make the folder writable, or copy it to a folder that is"),
        (errno.EIO, ""),
    ],
)
def test_failed_write_is_one_line_and_keeps_the_old_text(
    store: CaptionStore, item: MediaItem, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    item.caption_path.write_bytes(b"old")

    def fail(path: Path, data: bytes, scratch: Path | None = None) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(captioner.captions.changes, "write_atomic", fail)
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
def test_read_only_folder_is_one_line(store: CaptionStore, item: MediaItem) -> None:
    item.folder.chmod(0o555)
    try:
        with pytest.raises(CaptionError, match=r"^cannot write the caption .*a\.txt: Permission denied; make"):
            store.write(item, CAPTION, "skip")
    finally:
        item.folder.chmod(0o755)


def test_folder_in_the_way_is_one_line(store: CaptionStore, item: MediaItem) -> None:
    item.caption_path.mkdir()
    for action in (
        lambda: store.write(item, CAPTION, "overwrite"),
        lambda: store.skip_reason(item, "skip"),
        lambda: store.delete(item.caption_path),
    ):
        with pytest.raises(CaptionError) as caught:
            action()
        assert str(caught.value) == f"cannot read the caption {item.caption_path}: {os.strerror(errno.EISDIR)}"


@pytest.mark.parametrize("content", [None, b" \n"])
def test_text_of_a_job_does_not_inherit_the_approval_of_one_that_is_gone(
    store: CaptionStore, item: MediaItem, content: bytes | None
) -> None:
    path = item.caption_path
    store.save(path, "By hand.")
    store.approve([path])
    path.unlink()
    if content:
        path.write_bytes(content)
    assert store.ownership.is_approved(path)  # it may come back, as on a drive
    assert store.write(item, CAPTION, "skip") == Written("A red ball.", "written")
    assert not store.ownership.is_approved(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in folders")
def test_caption_that_is_no_regular_file_is_one_line_at_once(store: CaptionStore, item: MediaItem) -> None:
    os.mkfifo(item.caption_path)
    for device in (None, "/dev/zero"):
        if device:
            item.caption_path.unlink()
            item.caption_path.symlink_to(device)
        with pytest.raises(CaptionError, match=r"^cannot read the caption .*a\.txt: not a regular file$"):
            store.skip_reason(item, "skip")


def test_caption_longer_than_any_caption_is_one_line(store: CaptionStore, item: MediaItem) -> None:
    item.caption_path.write_bytes(b"x" * MAX_CAPTION_BYTES)
    assert store.write(item, replace(CAPTION, text="y"), "overwrite") == Written("y", "written")
    with item.caption_path.open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(CaptionError, match=r"a\.txt: 3,221,225,472 bytes is longer than any caption$"):
        store.write(item, CAPTION, "overwrite", consent=True)
    assert item.caption_path.stat().st_size == 3 << 30


def test_text_is_not_made_longer_than_can_be_read_again(store: CaptionStore, item: MediaItem) -> None:
    store.save(item.caption_path, "x" * MAX_CAPTION_BYTES)
    with pytest.raises(CaptionError, match=r"^cannot write the caption .*a\.txt: 1,000,002 bytes is longer than any"):
        store.save(item.caption_path, "x" * MAX_CAPTION_BYTES + " y")
    assert store.read(item.caption_path) == "x" * MAX_CAPTION_BYTES
    assert store.history(item.caption_path) == []


def test_folder_that_vanished_is_one_line(store: CaptionStore, item: MediaItem, tmp_path: Path) -> None:
    gone = item._replace(folder=tmp_path / "gone")
    with pytest.raises(CaptionError) as caught:
        store.write(gone, CAPTION, "skip")
    assert str(caught.value) == f"cannot write the caption {gone.caption_path}: No such file or directory"


def test_another_mount_of_the_same_filesystem_is_written_beside_the_media(
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


@pytest.mark.parametrize("policy", ["skip", "overwrite", "prefix", "append"])
@pytest.mark.parametrize("consent", [False, True])
def test_approved_caption_is_never_touched_by_a_job(
    store: CaptionStore, item: MediaItem, policy: ExistingPolicy, consent: bool
) -> None:
    item.caption_path.write_bytes(b"Approved.\r\n")
    assert store.approve([item.caption_path]) == 1
    assert store.skip_reason(item, policy, consent) == "approved"
    assert store.write(item, CAPTION, policy, consent=consent) == Written("Approved.", "kept", "approved")
    assert item.caption_path.read_bytes() == b"Approved.\r\n"
    assert store.approve([item.caption_path], on=False) == 1
    assert store.approve([item.caption_path], on=False) == 0
    assert store.write(item, CAPTION, "overwrite").outcome == "written"


def test_only_a_text_can_be_approved_and_only_as_long_as_it_stands(store: CaptionStore, item: MediaItem) -> None:
    path = item.caption_path
    assert store.approve([path]) == 0
    path.write_bytes(b" \n")
    assert store.approve([path]) == 0
    store.save(path, "one")
    assert store.approve([path]) == 1
    assert store.ownership.approved_in(item.folder) == {str(path)}
    store.save(path, "two")
    assert store.skip_reason(item, "overwrite") == "approved"
    path.unlink()
    assert store.skip_reason(item, "overwrite") is None
    store.save(path, "three")
    store.delete(path)
    assert store.ownership.approved_in(item.folder) == set()


@pytest.mark.parametrize("policy", ["overwrite", "prefix", "append"])
def test_text_changed_outside_is_replaced_by_a_job_only_with_consent(
    store: CaptionStore, item: MediaItem, policy: ExistingPolicy
) -> None:
    store.write(item, CAPTION, "skip")
    item.caption_path.write_bytes(b"Better.")
    assert store.skip_reason(item, policy) == "changed outside"
    assert store.write(item, CAPTION, policy) == Written("Better.", "kept", "changed outside")
    assert item.caption_path.read_bytes() == b"Better."
    assert store.skip_reason(item, policy, consent=True) is None
    assert store.write(item, CAPTION, policy, consent=True).outcome == "written"
    assert store.history(item.caption_path)[0].data == b"Better."
    assert store.skip_reason(item, policy) is None


def test_caption_that_we_never_wrote_is_not_changed_outside(store: CaptionStore, item: MediaItem) -> None:
    item.caption_path.write_bytes(b"by a stranger")
    assert store.skip_reason(item, "overwrite") is None
    store.write(item, CAPTION, "overwrite")
    store.delete(item.caption_path)
    item.caption_path.write_bytes(b"by a stranger")
    assert store.skip_reason(item, "overwrite") is None


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_text_emptied_changed_outside_is_missing(store: CaptionStore, item: MediaItem, content: bytes) -> None:
    store.write(item, CAPTION, "skip")
    item.caption_path.write_bytes(content)
    assert store.write(item, CAPTION, "skip").outcome == "written"


@pytest.mark.parametrize("text", ["Better.", "Better still."])
def test_edit_by_hand_makes_a_text_ours_again(store: CaptionStore, item: MediaItem, text: str) -> None:
    store.write(item, CAPTION, "skip")
    item.caption_path.write_bytes(b"Better.")
    store.save(item.caption_path, text)
    assert store.skip_reason(item, "overwrite") is None
    assert store.ownership.edited_in(item.folder) == {str(item.caption_path)}


def test_approval_of_a_text_changed_outside_is_of_what_stands_there(store: CaptionStore, item: MediaItem) -> None:
    store.write(item, CAPTION, "skip")
    item.caption_path.write_bytes(b"Better.")
    assert store.read_with_origin(item.caption_path, store.ownership.digest_of(item.caption_path)) == ("Better.", True)
    store.approve([item.caption_path])
    assert store.read_with_origin(item.caption_path, store.ownership.digest_of(item.caption_path)) == ("Better.", False)
    store.approve([item.caption_path], on=False)
    assert store.skip_reason(item, "overwrite") is None
    assert store.ownership.edited_in(item.folder) == {str(item.caption_path)}


def test_caption_costs_two_transactions(
    store: CaptionStore, item: MediaItem, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    item.caption_path.write_bytes(b"old")
    count, transaction = [], database.transaction
    monkeypatch.setattr(database, "transaction", lambda: count.append(1) or transaction())
    store.write(item, CAPTION, "overwrite")
    assert len(count) == 2
