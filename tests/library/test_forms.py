"""A caption with fields keeps them through everything that a person does with it."""

import pytest

from captioner.captions.edit import BulkEdit
from captioner.captions.forms.known import form
from captioner.library.bulk import preview
from captioner.services import Services
from tests.captions.test_forms import LINE
from tests.captions.test_h3 import GOOD, SOUND
from tests.support.media_maker import make_picture


@pytest.fixture
def services(tmp_path):
    folder = tmp_path / "media"
    folder.mkdir()
    for name in "abc":
        make_picture(folder / f"{name}.png")
    (folder / "a.txt").write_bytes(GOOD.encode())
    (folder / "b.txt").write_bytes(GOOD.replace("\n", "\r\n").encode())
    (folder / "c.txt").write_text(LINE)
    with Services(tmp_path / "state") as services:
        services.open_folder(folder, False)
        yield services


def files(services):
    return [(services.library.folder / f"{name}.txt").read_bytes().decode() for name in "abc"]


def test_bulk_edit_and_its_undo_keep_fields_and_lines(services):
    before = files(services)
    edit = BulkEdit(find="red", replace="green", prefix="ohwx,")
    shown = {name: after for name, _, after in preview(services.library, ["a.png", "b.png", "c.png"], edit).changed}
    done = services.bulk_edit(["a.png", "b.png", "c.png"], edit)
    after = files(services)
    assert done.num_changed == 3
    assert [shown[f"{name}.png"] for name in "abc"] == after
    assert after[0] == GOOD.replace("[Shot 1] ", "[Shot 1] ohwx, ")
    assert after[1] == after[0].replace("\n", "\r\n")
    assert not form("json").problems(after[2])
    services.undo(done.operation)
    assert files(services) == before


def test_edit_by_hand_keeps_line_breaks_and_every_text_comes_back(services):
    item = services.library.lookup.find("b.png").item
    typed = GOOD.replace(SOUND, "Rain.")  # a text box knows only line feeds
    services.library.edits.save(item, typed, GOOD.replace("\n", "\r\n"))
    assert files(services)[1] == typed.replace("\n", "\r\n")
    change = services.captions.last_change(item.caption_path)
    services.library.edits.restore(item, change)
    assert files(services)[1] == GOOD.replace("\n", "\r\n")


def test_edit_outside_is_seen_with_its_lines(services):
    item = services.library.lookup.find("a.png").item
    services.library.edits.save(item, GOOD.replace(SOUND, "Rain."))
    item.caption_path.write_text(GOOD)
    services.library.edits.refresh([item.caption_path])
    assert services.library.lookup.find("a.png").text == GOOD
    assert services.captions.skip_reason(item, "overwrite") == "changed outside"
