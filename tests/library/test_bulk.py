"""Bulk edits: the preview, the edit, its undo, the captions that it skips, and the command line."""

from pathlib import Path

import pytest

from captioner.captions.edit import BulkEdit
from captioner.captions.operations import operation_info
from captioner.cli.main import main
from captioner.errors import JobError
from captioner.library.bulk import preview
from captioner.services import Services
from tests.support.media_maker import make_picture

TEXTS = {
    "a": b"A red Ball.",
    "b": b"The video shows a ball\r\nand a RED cat.\r\n",
    "c": b"Gr\xfcn",
    "d": b" \n",
    "e": None,
    "f": b"A red approved ball.",
}
GUESS = "not UTF-8 but perhaps cp1252; save it on the page, or set caption_encoding"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six images: a, b and c have captions, d has a blank one, e none; that of f will be approved."""
    folder = tmp_path / "media"
    folder.mkdir()
    for name, text in TEXTS.items():
        make_picture(folder / f"{name}.png")
        if text is not None:
            (folder / f"{name}.txt").write_bytes(text)
    return folder


@pytest.fixture
def services(folder):
    with Services() as services:
        services.open_folder(folder, recursive=False)
        services.library.edits.approve(["f.png"])
        yield services


def contents(folder: Path) -> dict[str, bytes | None]:
    paths = {name: folder / f"{name}.txt" for name in TEXTS}
    return {name: path.read_bytes() if path.exists() else None for name, path in paths.items()}


def names(services: Services) -> list[str]:
    return [item.name for item in services.library.items]


def test_preview_shows_before_and_after_and_changes_nothing(services, folder):
    seen = preview(services.library, names(services), BulkEdit("red", "blue"))
    assert seen.changed == (
        ("a.png", "A red Ball.", "A blue Ball."),
        ("b.png", "The video shows a ball\r\nand a RED cat.", "The video shows a ball\r\nand a blue cat."),
    )
    assert (seen.num_changed, seen.num_same) == (2, 1)
    assert seen.skipped == {"no caption": 2, "approved": 1}
    assert contents(folder) == TEXTS
    short = preview(services.library, names(services), BulkEdit(prefix="x"), limit=1)
    assert (len(short.changed), short.num_changed, short.skipped[GUESS]) == (1, 2, 1)


def test_preview_marks_texts_that_were_changed_outside(services, folder, capsys):
    services.captions.save(folder / "a.txt", "A red fox.")
    (folder / "a.txt").write_text("A red hen.")
    edit = BulkEdit("red", "blue")
    assert preview(services.library, names(services), edit).changed_outside == {"a.png"}
    assert main(["edit", str(folder), "--find", "red", "--replace", "blue", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "a.png  (changed outside)\n- A red hen.\n+ A blue hen.\n" in out
    assert "2 to change (1 of them changed outside), 1 unchanged" in out


def test_edit_does_what_its_preview_shows_and_is_undone_byte_for_byte(services, folder):
    edit = BulkEdit("red", "blue", trim_openers=True, suffix="End.")
    seen = preview(services.library, names(services), edit)
    done = services.bulk_edit(names(services), edit)
    assert (done.num_changed, done.num_same, done.skipped) == (seen.num_changed, seen.num_same, seen.skipped)
    assert contents(folder) == TEXTS | {
        "a": b"A blue Ball. End.",
        "b": b"A ball End.\r\nand a blue cat. End.\r\n",
    }
    for name, _, after in seen.changed:
        assert services.library.lookup.find(name).text == after
    assert services.library.counts().edited == 2
    info = operation_info(services.database, done.operation)
    assert (info.kind, info.state, info.done) == ("bulk", "done", 2)
    assert info.title == "Trim openers, replace 'red' by 'blue', suffix 'End.'"

    assert services.undo(done.operation).restored == 2
    assert contents(folder) == TEXTS
    assert services.library.counts().edited == 0
    assert services.library.lookup.entry(services.library.items[0]).text == "A red Ball."


def test_deleted_captions_come_back_with_undo(services, folder):
    done = services.bulk_edit(["a.png", "c.png", "d.png", "f.png"], BulkEdit(delete=True))
    assert done.skipped == {"no caption": 1, "approved": 1}
    assert contents(folder) == TEXTS | {"a": None, "c": None}
    assert services.library.counts().pending == 4
    services.undo(done.operation)
    assert contents(folder) == TEXTS


def test_caption_that_an_edit_would_empty_is_skipped_with_a_reason(services, folder):
    done = services.bulk_edit(["a.png", "c.png"], BulkEdit("A red Ball.", ""))
    assert (done.num_changed, done.num_same, done.skipped) == (0, 1, {"would be empty": 1})
    assert contents(folder) == TEXTS


def test_caption_that_cannot_be_read_does_not_stop_the_others(services, folder):
    (folder / "a.txt").unlink()
    (folder / "a.txt").mkdir()
    done = services.bulk_edit(names(services), BulkEdit(prefix="x"))
    assert done.num_changed == 1
    [reason] = [reason for reason in done.skipped if reason.startswith("cannot read the caption")]
    assert str(folder / "a.txt") in reason


def test_edit_of_missing_files_raises_one_line(services):
    with pytest.raises(JobError, match="no file is selected"):
        services.bulk_edit(["gone.png"], BulkEdit(prefix="x"))


def test_changes_before_a_pattern_took_too_long_can_be_undone(services, folder, monkeypatch):
    monkeypatch.setattr("captioner.captions.undo.CHANGED_AT_ONCE", 1)
    monkeypatch.setattr("captioner.captions.batches.CHANGED_AT_ONCE", 1)
    (folder / "c.txt").write_bytes(b"a" * 5000)
    edit = BulkEdit(r"^A red|^(\w|\w\w|\w+)+(\w|\w\w|x\w)+(?<!a)\d$", "x", regex=True)
    with pytest.raises(JobError, match="takes longer"):
        services.bulk_edit(["a.png", "c.png"], edit)
    assert (folder / "a.txt").read_bytes() == b"x Ball."
    [info] = services.jobs.journal.recent()
    assert (info.state, info.changed) == ("failed", 1)
    services.undo(info.id)
    assert (folder / "a.txt").read_bytes() == TEXTS["a"]


def test_many_captions_are_edited_in_few_transactions(services, folder):
    for number in range(250):
        make_picture(folder / f"many {number}.png", (8, 8))
        (folder / f"many {number}.txt").write_bytes(b"A red ball")
    services.open_folder(folder, recursive=False)
    services.claim()
    count, transaction = [], services.database.transaction
    services.database.transaction = lambda: count.append(1) or transaction()
    done = services.bulk_edit(names(services), BulkEdit("red", "blue"))
    assert done.num_changed == 252
    assert len(count) == 2 * 3 + 2
    assert services.undo(done.operation).restored == 252


class TestCommandLine:
    def test_guesses_are_shown_and_left_alone(self, folder, capsys):
        assert main(["edit", str(folder), "--prefix", "sks,", "--yes"]) == 0
        printed = capsys.readouterr()
        assert f"3 changed, 0 unchanged, 1 skipped: {GUESS}, 2 skipped: no caption\n" in printed.out
        assert printed.err == "note: c.png is not UTF-8 but perhaps cp1252: Grün\n"
        assert (folder / "c.txt").read_bytes() == TEXTS["c"]

    def test_edit_only_shows_what_it_would_do_without_yes(self, folder, capsys):
        command = ["edit", str(folder), "--find", "red", "--replace", "blue"]
        assert main([*command, "--dry-run"]) == 0
        out = capsys.readouterr().out
        assert "a.png\n- A red Ball.\n+ A blue Ball.\n" in out
        assert "3 to change, 1 unchanged, 2 skipped: no caption" in out
        assert main(command) == 1
        assert "nothing was changed; add --yes" in capsys.readouterr().err
        assert contents(folder) == TEXTS

    def test_edit_is_listed_in_the_history_and_can_be_undone(self, folder, capsys):
        edit = ["edit", str(folder), "a.png", "c.png", "--prefix", "sks,", "--caption-encoding", "cp1252", "--yes"]
        assert main(edit) == 0
        assert (folder / "c.txt").read_bytes() == "sks, Grün".encode()
        assert "2 changed, 0 unchanged\nundo with: captioner undo 1" in capsys.readouterr().out
        assert main(["history"]) == 0
        assert "done              2 changed  Prefix 'sks,'" in capsys.readouterr().out
        (folder / "c.txt").write_bytes(b"by another program")
        assert main(["undo"]) == 1
        printed = capsys.readouterr()
        assert printed.out == "1: Prefix 'sks,': 1 caption restored\n"
        assert printed.err == f"kept {folder / 'c.txt'}: changed since\n"
        assert contents(folder) == TEXTS | {"c": b"by another program"}
        assert main(["undo"]) == 0
        assert capsys.readouterr().err == "nothing to undo\n"
        assert main(["undo", "2"]) == 0
        assert (folder / "a.txt").read_bytes() == b"sks, A red Ball."

    def test_approved_captions_are_skipped_until_they_are_unapproved(self, folder, capsys):
        assert main(["approve", str(folder), "a.png", "e.png"]) == 0
        printed = capsys.readouterr()
        assert (printed.out, printed.err) == ("1 approved\n", "1 skipped: no caption\n")
        assert main(["edit", str(folder), "a.png", "--delete", "--yes"]) == 0
        assert "0 to change, 0 unchanged, 1 skipped: approved" in capsys.readouterr().out
        assert main(["approve", str(folder), "--all", "--off"]) == 0
        assert main(["edit", str(folder), "a.png", "--delete", "--yes"]) == 0
        assert contents(folder) == TEXTS | {"a": None}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["edit", "{folder}"], "choose what to change"),
            (["edit", "{folder}", "x.png", "--delete"], "no media file named x.png in"),
            (["approve", "{folder}"], "or use --all"),
            (["undo", "7"], "there is no job or bulk edit 7"),
        ],
    )
    def test_mistakes_are_one_line(self, folder, capsys, arguments, message):
        assert main([argument.format(folder=folder) for argument in arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1
