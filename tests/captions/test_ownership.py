"""Approved captions, captions edited by hand, and captions changed outside."""

import pytest

from captioner.captions.store import CaptionStore, Written
from captioner.values import ExistingPolicy, MediaItem
from tests.support.captions import CAPTION


def test_captions_edited_by_hand_are_found_per_folder(store: CaptionStore, item: MediaItem) -> None:
    folder = item.caption_path.parent
    store.write(item, CAPTION, "skip")
    assert store.ownership.edited_in(folder) == set()
    store.save(item.caption_path, "By hand.")
    assert store.ownership.edited_in(folder) == {str(item.caption_path)}
    assert store.ownership.edited_in(folder.parent) == {str(item.caption_path)}
    assert store.ownership.edited_in(folder / "deeper") == set()
    store.write(item, CAPTION, "overwrite")
    assert store.ownership.edited_in(folder) == set()


@pytest.mark.parametrize("content", [None, b" \n"])
def test_caption_of_a_job_does_not_inherit_the_approval_of_a_deleted_one(
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


def test_only_an_existing_text_can_be_approved_and_stay_approved(store: CaptionStore, item: MediaItem) -> None:
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


def test_caption_that_this_program_never_wrote_does_not_count_as_changed_outside(
    store: CaptionStore, item: MediaItem
) -> None:
    item.caption_path.write_bytes(b"by another program")
    assert store.skip_reason(item, "overwrite") is None
    store.write(item, CAPTION, "overwrite")
    store.delete(item.caption_path)
    item.caption_path.write_bytes(b"by another program")
    assert store.skip_reason(item, "overwrite") is None


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_caption_emptied_outside_counts_as_missing(store: CaptionStore, item: MediaItem, content: bytes) -> None:
    store.write(item, CAPTION, "skip")
    item.caption_path.write_bytes(content)
    assert store.write(item, CAPTION, "skip").outcome == "written"


@pytest.mark.parametrize("text", ["Better.", "Better still."])
def test_edited_caption_no_longer_counts_as_changed_outside(store: CaptionStore, item: MediaItem, text: str) -> None:
    store.write(item, CAPTION, "skip")
    item.caption_path.write_bytes(b"Better.")
    store.save(item.caption_path, text)
    assert store.skip_reason(item, "overwrite") is None
    assert store.ownership.edited_in(item.folder) == {str(item.caption_path)}


def test_approving_a_text_changed_outside_makes_it_an_edit(store: CaptionStore, item: MediaItem) -> None:
    store.write(item, CAPTION, "skip")
    item.caption_path.write_bytes(b"Better.")
    assert store.read_with_origin(item.caption_path, store.ownership.digest_of(item.caption_path))[1]
    store.approve([item.caption_path])
    assert not store.read_with_origin(item.caption_path, store.ownership.digest_of(item.caption_path))[1]
    store.approve([item.caption_path], on=False)
    assert store.skip_reason(item, "overwrite") is None
    assert store.ownership.edited_in(item.folder) == {str(item.caption_path)}
