"""Captions with fields in the panel, in a real browser: each field has its own box, and nothing is flattened."""

import os

import pytest

from tests.captions.test_h3 import GOOD, SOUND
from tests.support.chromium import open_browser
from tests.support.gallery_page import make_folder, served
from tests.support.tab_page import draw_settings, serve_tab

BOXES = (
    '{"high_level_description":"A \\"red\\" pot.","compositional_deconstruction":{"background":"a wall",'
    '"elements":[{"type":"text","bbox":[1,2,30,40],"text":"TEA","desc":"white letters","color_palette":["#FFFFFF"]}]}}'
)


@pytest.mark.browser
def test_fields_are_edited_apart_and_the_file_keeps_its_form(services, tmp_path):
    folder = make_folder(tmp_path / "media")
    (folder / "a.txt").write_bytes(GOOD.replace("\n", "\r\n").encode())
    (folder / "b.txt").write_text(BOXES)
    services.open_folder(folder, False)
    with served(services) as address, open_browser(address) as (page, expect):
        tiles, fields, box = (
            page.locator(".grid-tile"),
            page.locator(".panel-fields label"),
            page.locator("#caption > textarea"),
        )
        save, dirty = page.locator("#save-caption"), page.locator(".panel-dirty")
        tiles.nth(0).click()
        expect(fields.locator("span")).to_have_text(["What is seen and said", "Sound", "Music"])
        expect(fields.nth(1).locator("textarea")).to_have_value(SOUND)
        expect(box).to_be_hidden()
        if shots := os.environ.get("SHOTS"):
            page.screenshot(path=f"{shots}/h3.png")
        fields.nth(1).locator("textarea").fill("Rain\n\non a roof.")
        expect(dirty).to_have_text("Not saved")
        save.click()
        expect(dirty).to_have_text("")
        changed = GOOD.replace(SOUND, "Rain\non a roof.").replace("\n", "\r\n")
        assert (folder / "a.txt").read_bytes() == changed.encode()
        page.locator("[data-act=undo]").click()
        expect(fields.nth(1).locator("textarea")).to_have_value(SOUND)
        assert (folder / "a.txt").read_bytes() == GOOD.replace("\n", "\r\n").encode()

        tiles.nth(1).click()
        expect(fields.locator("span")).to_have_text(["Summary", "Background", "Written words", "Element"])
        expect(fields.nth(0).locator("textarea")).to_have_value('A "red" pot.')
        if shots:
            page.screenshot(path=f"{shots}/json.png")
        fields.nth(3).locator("textarea").fill('big "white" letters')
        save.click()
        expect(dirty).to_have_text("")
        assert (folder / "b.txt").read_text() == BOXES.replace("white letters", 'big \\"white\\" letters')
        page.locator("[data-act=whole]").click()
        expect(box).to_be_visible()
        expect(page.locator(".panel-fields")).to_be_hidden()
        box.fill("A plain caption.")
        expect(page.locator("[data-act=whole]")).to_be_hidden()

        tiles.nth(2).click()
        expect(box).to_be_visible()
        expect(page.locator(".panel-fields")).to_be_hidden()


@pytest.mark.browser
def test_settings_say_what_follows_from_the_target_and_it_can_be_saved(services):
    with serve_tab(services, "Settings", draw_settings(services)) as address, open_browser(address) as (page, expect):
        page.get_by_role("tab", name="Settings").click()
        target, follows = page.locator("#input-target"), page.locator("#follows")
        expect(follows).to_have_text("One paragraph.")
        target.select_option(label="MiniMax-H3")
        expect(follows).to_have_text("24 fps, 17n+5 frames, three fields, 512 tokens. Prompt MiniMax-H3.")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#settings-bar .state")).to_have_text("Everything is saved")
        assert (services.settings.target, services.prompt_name) == ("minimax-h3", "MiniMax-H3")
