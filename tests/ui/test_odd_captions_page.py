"""The caption panel with captions that are not UTF-8 or have several lines, in a real browser."""

import pytest

from tests.support.chromium import open_browser
from tests.support.gallery_page import make_folder, served

LINES = b"A zebra,\r\nat noon.\r\n\r\nBy night.\r\n"


@pytest.mark.browser
def test_guess_is_saved_only_after_a_question_and_line_breaks_stay(services, tmp_path):
    folder = make_folder(tmp_path / "media")
    (folder / "a.txt").write_bytes(LINES)
    (folder / "b.txt").write_bytes("Ein Mädchen.".encode("cp1252"))
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        tiles, box = page.locator(".grid-tile"), page.locator("#caption textarea")
        save, question = page.locator("#save-caption"), page.locator(".panel-guess")
        tiles.nth(0).click()
        expect(box).to_have_value("A zebra,\nat noon.\n\nBy night.")
        expect(save).to_be_disabled()
        box.fill("A zebra,\nat dawn.\n\nBy night.")
        save.click()
        expect(page.locator(".panel-dirty")).to_have_text("")
        assert (folder / "a.txt").read_bytes() == LINES.replace(b"noon", b"dawn")

        tiles.nth(1).click()
        expect(box).to_have_value("Ein Mädchen.")
        expect(page.locator(".panel-doubt")).to_contain_text("This caption is not UTF-8 but perhaps cp1252.")
        expect(tiles.nth(1)).to_contain_text("Check characters")
        box.fill("Ein Mädchen läuft.")
        tiles.nth(0).click()  # a draft of a guess is kept, but not saved
        expect(box).to_have_value("A zebra,\nat dawn.\n\nBy night.")
        tiles.nth(1).click()
        expect(box).to_have_value("Ein Mädchen läuft.")
        save.click()
        expect(question).to_be_visible()
        page.locator("[data-act=save-no]").click()
        expect(question).to_be_hidden()
        assert (folder / "b.txt").read_bytes() == b"Ein M\xe4dchen."
        save.click()
        page.locator("[data-act=save-yes]").click()
        expect(page.locator(".panel-doubt")).to_be_hidden()
        assert (folder / "b.txt").read_bytes() == "Ein Mädchen läuft.".encode()
        expect(tiles.nth(1)).not_to_contain_text("Check characters")
