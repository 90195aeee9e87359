"""No file ever holds an undecodable or half caption, whatever the bytes, encodings, policies, edits and failures."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.captions.edit import BulkEdit
from captioner.captions.encoding import decode
from captioner.captions.operations import begin_operation
from captioner.captions.store import CaptionStore
from captioner.errors import CaptionError, JobError
from captioner.system.database import Database
from captioner.values import MediaItem
from tests.support.captions import CAPTION

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "gb18030", "cp932", "big5",
             "koi8_r", "iso2022_jp", "euc_kr")  # fmt: skip
HALF = chr(0xD83D)  # of a pair of surrogates
CHARACTERS = f"abc redé’—一个女孩の走る가д\n\r\t \u200d\u0301\u3000😀\0\ufffd,.{HALF}{HALF}"
TEXTS = st.text(st.sampled_from(CHARACTERS), max_size=30) | st.text(max_size=20)
ENCODED = st.builds(lambda text, encoding: text.encode(encoding, "ignore"), TEXTS, st.sampled_from(ENCODINGS))
CONTENTS = (
    st.binary(max_size=40)
    | ENCODED
    | st.builds(lambda data, cut: data[: len(data) - cut], ENCODED, st.integers(1, 3))  # cut off
    | st.builds(lambda first, last: first + last, ENCODED, ENCODED)  # two programs wrote into it
)
DECLARED = st.sampled_from(("auto", "cp1252", "gb18030", "utf-16-le", "utf-7"))
ACTIONS = st.sampled_from(("skip", "overwrite", "prefix", "append", "save", "consent", "replace", "around", "pattern"))
FAILURES = st.sampled_from(("none", "write", "fsync", "replace", "killed before", "killed after"))


class Killed(BaseException):
    """The process is killed at this place."""


@contextlib.contextmanager
def failing(failure: str) -> Iterator[None]:
    """Let the file of a caption be written only in part, or not be put into its place, or kill the process."""
    replace_file = os.replace

    def break_off(*args: object) -> None:
        if failure == "killed after":
            replace_file(*args)
        raise Killed if failure.startswith("killed") else OSError(errno.EIO, os.strerror(errno.EIO))

    def write_half(file: int) -> None:
        os.ftruncate(file, os.fstat(file).st_size // 2)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    places = {"none": (), "write": (("os.fsync", write_half),), "fsync": (("os.fsync", break_off),)}
    with contextlib.ExitStack() as stack:
        for name, function in places.get(failure, (("os.replace", break_off),)):
            stack.enter_context(mock.patch(name, function))
        yield


def act(store: CaptionStore, item: MediaItem, operation: int, action: str, text: str) -> None:
    path = item.caption_path
    edits: dict[str, Callable[[], BulkEdit]] = {
        "replace": lambda: BulkEdit("e", text),
        "around": lambda: BulkEdit(prefix=text, suffix=text, trim_openers=True),
        "pattern": lambda: BulkEdit(r"\s+|.$", text.replace("\\", ""), regex=True),
    }
    if action in edits:
        store.rewrite([path], edits[action]().apply, operation)
    elif action in ("save", "consent"):
        store.save(path, text, consent=action == "consent")
    else:
        store.write(item, replace(CAPTION, text=text), action, operation, consent=True)


@settings(deadline=None, max_examples=400)
@given(before=CONTENTS, declared=DECLARED, steps=st.lists(st.tuples(ACTIONS, TEXTS, FAILURES), min_size=1, max_size=3))
def test_caption_file_holds_the_old_bytes_or_a_whole_valid_text(before, declared, steps):
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "captioner.sqlite")
        store = CaptionStore(database, Path(folder) / "scratch")
        store.encoding = declared
        item = MediaItem(Path(folder), "a.mp4", "a.mp4", "video", 5, 0.0, "a.txt", True)
        item.caption_path.write_bytes(before)
        with database.transaction() as connection:
            operation = begin_operation(connection, "job", "Caption 1 file", Path(folder), 1)
        for action, text, failure in steps:
            old = item.caption_path.read_bytes()
            with contextlib.suppress(CaptionError, JobError, Killed), failing(failure):
                act(store, item, operation, action, text)
            check(store, item.caption_path, old, action)
            store.settle()
            check(store, item.caption_path, old, action)
            histories = [entry.data for entry in store.history(item.caption_path)]
            assert old in (item.caption_path.read_bytes(), *histories) or not decode(old, declared).body
        database.close()


def check(store: CaptionStore, path: Path, old: bytes, action: str) -> None:
    new = path.read_bytes()
    if new == old:
        return
    known = decode(old, store.encoding)
    text = new.decode("utf-8")  # strictly
    assert "\ufffd" not in text or "\ufffd" in known.text
    assert known.certain or not known.body or action in ("overwrite", "consent")
