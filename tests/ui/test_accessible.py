"""axe-core in every state of the page, in both themes, and what needs no mouse: the theme, the sheet of keys."""

import pytest

from captioner.services import Services
from captioner.system.roots import Roots
from tests.support.axe import States
from tests.support.chromium import open_browser
from tests.support.media_maker import make_picture, make_video
from tests.support.web_page import serve_page


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """The page over two clips, a picture with a caption, and a broken clip."""
    folder = tmp_path_factory.mktemp("media")
    make_video(folder / "a clip.mp4")
    make_video(folder / "b clip.mp4")
    make_picture(folder / "picture.png")
    (folder / "picture.txt").write_text("A picture with a caption.")
    (folder / "broken.mp4").write_bytes(b"no video")
    state = tmp_path_factory.mktemp("state")
    with (
        Services(state, {"model": "demo", "devices": ("cpu",)}, Roots([folder])) as services,
        serve_page(services, folder, exposed=False) as page,
    ):
        yield page


@pytest.mark.browser
def test_the_gallery_has_no_severe_fault_in_any_state(web):
    with open_browser(web.address) as (page, expect):
        states = States(page)
        expect(page.locator(".grid-tile")).to_have_count(4)
        states.check("gallery")
        page.locator("[popovertarget=filter-menu]").click()
        states.check("filter menu")
        page.keyboard.press("Escape")
        page.locator("[popovertarget=more-menu]").click()
        states.check("more menu")
        page.keyboard.press("Escape")
        page.locator(".folder-browse").click()
        states.check("folder menu")
        page.keyboard.press("Escape")
        page.locator("[data-act=keys]").click()
        states.check("keys")
        page.keyboard.press("Escape")
        page.locator(".machine > button").click()
        states.check("machine")
        page.keyboard.press("Escape")
        page.locator(".grid-search input").fill("zebra")
        expect(page.locator(".grid-empty")).to_be_visible()
        states.check("nothing matches")
        page.locator(".grid-search input").fill("")
        page.locator("[data-act=operations]:visible").first.click()
        expect(page.locator(".history-dialog")).to_be_visible()
        states.check("history")
        page.keyboard.press("Escape")
        assert states.faults == {}
        assert len(states.seen) == 8


@pytest.mark.browser
def test_a_job_and_its_files_have_no_severe_fault(web):
    with open_browser(web.address) as (page, expect):
        states = States(page)
        page.locator("#start").click()
        expect(page.locator(".run-strip[data-phase=done]")).to_be_visible(timeout=90_000)
        states.check("job done")
        page.locator(".grid-tile").first.click()
        expect(page.locator("#panel textarea")).not_to_have_value("")
        states.check("file open")
        page.locator(".grid-tile .grid-check").nth(1).click()
        states.check("selected")
        page.locator(".grid-tile", has_text="broken").click()
        states.check("failed file")
        assert states.faults == {}


@pytest.mark.browser
def test_settings_and_prompts_have_no_severe_fault(web):
    with open_browser(web.address) as (page, expect):
        states = States(page)
        page.get_by_role("tab", name="Settings").click()
        expect(page.locator("#set-fps input")).to_have_value("2")
        page.locator("#settings-advanced summary").click()
        states.check("settings")
        page.locator("#set-fps input").fill("500")
        page.locator("#save-settings").click()
        expect(page.locator("#field-fps .wrong")).to_be_visible()
        states.check("wrong setting")
        page.locator("#reset-settings .ask").click()
        states.check("question")
        page.locator("#reset-settings .no").click()
        page.locator("#discard-settings").click()
        page.get_by_role("tab", name="Prompts").click()
        expect(page.locator("#prompt-list button")).not_to_have_count(1)
        states.check("prompts")
        page.get_by_role("button", name="New prompt").click()
        page.locator("#prompt-text textarea").fill("Say {it}.")
        states.check("new prompt")
        assert states.faults == {}


@pytest.mark.browser
def test_the_login_has_no_severe_fault_and_keeps_the_name(web):
    with serve_page(web.services, web.folder) as exposed, open_browser(exposed.address, found=[]) as (page, expect):
        states = States(page)
        page.get_by_label("Username").fill("somebody")
        page.get_by_label("Password").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator(".problem")).to_have_text("Wrong username or password.")
        expect(page.get_by_label("Username")).to_have_value("somebody")
        expect(page.get_by_label("Password")).to_be_focused()
        expect(page).to_have_title("Video Caption Suite")
        states.check("login")
        assert states.faults == {}


@pytest.mark.browser
def test_the_theme_can_be_chosen_and_stays(web):
    with open_browser(web.address) as (first, expect):
        context = first.context.browser.new_context(color_scheme="light")
        page, other = context.new_page(), context.new_page()
        is_dark = "document.body.classList.contains('dark')"
        for each in (other, page):
            each.goto(web.address)
        button = page.locator("[data-act=theme]")
        for theme in ("light", "dark"):
            button.focus()
            page.keyboard.press("Enter")
            expect(button).to_have_attribute("title", f"Theme: {theme}")
            assert page.evaluate(is_dark) is (theme == "dark")
        other.wait_for_function(is_dark)
        page.reload()
        expect(button).to_have_attribute("title", "Theme: dark")
        assert page.evaluate(is_dark)
        button.click()
        expect(button).to_have_attribute("title", "Theme: system")
        page.wait_for_function(f"!{is_dark}")
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(is_dark)


@pytest.mark.browser
def test_a_question_mark_shows_the_keys_but_not_while_typing(web):
    with open_browser(web.address) as (page, expect):
        sheet = page.locator("#page-keys")
        expect(page.locator(".grid-tile")).to_have_count(4)
        page.keyboard.press("?")
        expect(sheet).to_be_visible()
        page.keyboard.press("?")
        expect(sheet).to_be_hidden()
        page.locator(".grid-search input").press_sequentially("?")
        expect(page.locator(".grid-search input")).to_have_value("?")
        expect(sheet).to_be_hidden()
