"""The page as a whole: its pulse, its endpoints, and hostile names in every place of a real browser."""

import json

import gradio as gr
import numpy as np
import pytest

from captioner.errors import CaptionerError, FolderError
from captioner.jobs.events import ItemFailed, JobStarted, ReplicaChanged
from captioner.services import Services
from captioner.ui import page as layout
from captioner.ui.format import escape, notices
from captioner.ui.launch import launch
from captioner.ui.wiring import errors_as_toasts, only_changed
from tests.support.chromium import open_browser
from tests.support.hostile import HOSTILE, STEMS
from tests.support.media_maker import make_picture

FILES = [f"{number} {stem}.png" for number, stem in enumerate(STEMS)]
CLASH = f"3 {STEMS[3]}.webp"  # its stem is another file's, which the scan has a note on
PUBLIC = {"/open_folder", "/start", "/stop", "/status", "/list", "/get_caption", "/set_caption", "/models"}


@pytest.fixture
def page(services, tmp_path) -> layout.Page:
    folder = tmp_path / "media"
    folder.mkdir()
    make_picture(folder / "a.png")
    return layout.Page(services, folder)


def test_only_what_changed_is_sent():
    first = json.loads(only_changed("", ["a", gr.update(value=1)]))
    assert first["values"] == {"0": "a", "1": gr.update(value=1)}
    second = json.loads(only_changed(first["cursor"], ["a", gr.update(value=2)]))
    assert second["values"] == {"1": gr.update(value=2)}
    assert only_changed(second["cursor"], ["a", gr.update(value=2)]) == ""
    assert json.loads(only_changed("of another version", ["a"]))["values"] == {"0": "a"}


def test_errors_become_toasts_with_their_message_escaped():
    @errors_as_toasts
    def fail() -> None:
        raise CaptionerError("no such folder: <b>x</b>")

    with pytest.raises(gr.Error, match="no such folder: &lt;b&gt;x&lt;/b&gt;"):
        fail()


def test_names_that_are_not_utf8_can_be_shown():
    assert escape("a\udcff<b>") == "a?&lt;b&gt;"


def test_notices_tell_of_a_demo_model_and_a_missing_cuda():
    assert notices(False, False) == ""
    assert "toy world" in notices(True, False)
    assert "built without CUDA" in notices(False, True)


def test_what_the_page_shows_is_sent_once(page):
    seen = page.render("", "", "")[3]
    first = json.loads(only_changed("", page.render("", seen, "")))  # it knows the list already
    assert len(first["values"]) == len(page.render("", seen, ""))
    assert only_changed(first["cursor"], page.render("", seen, "")) == ""


def test_prompts_of_all_browsers_are_listed_or_the_error_that_hides_them(page):
    page.services.prompts.create("Of another browser", "Say it.")
    assert 'data-pick="Of another browser"' in page.render("", "", "")[-1]
    page.services.prompts.path.write_text("damaged")
    assert "is damaged" in page.render("", "", "")[-1]


def test_a_bad_folder_is_an_error_at_once(services, tmp_path):
    with pytest.raises(FolderError, match="no such folder"):
        layout.build(services, tmp_path / "missing")


def test_only_pages_for_other_machines_offer_uploads(services):
    assert layout.Page(services).uploads is None
    assert layout.Page(services, remote=True).uploads.limits.max_files > 0


def test_exactly_the_documented_endpoints_are_public(services):
    blocks, _ = layout.build(services, remote=True)
    info = blocks.get_api_info()
    assert set(info["named_endpoints"]) == PUBLIC
    assert info["unnamed_endpoints"] == {}


@pytest.fixture
def hostile(services, tmp_path):
    """The address of the page on a folder with hostile names and one broken file."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name, text in zip(FILES, HOSTILE, strict=True):
        make_picture(folder / name).with_suffix(".txt").write_text(text)
    make_picture(folder / CLASH)
    (folder / "broken.png").write_bytes(np.random.default_rng(1).bytes(100))
    services.prompts.create(HOSTILE[0], HOSTILE[1])
    blocks, page = layout.build(services, folder)
    yield launch(blocks, page)
    blocks.close(verbose=False)


def _fail_everything(services: Services) -> None:
    """Add the events of a job whose worker is lost and whose files all fail."""
    services.events.append(JobStarted(job=1, total=9, model=HOSTILE[3]))
    services.events.append(ReplicaChanged(replica=HOSTILE[3], state="lost", detail=HOSTILE[0]))
    for text in HOSTILE:
        about = {"job": 1, "item": text, "path": services.folder / "x"}
        services.events.append(ItemFailed(**about, reason=f"because of {text}"))


@pytest.mark.browser
def test_hostile_names_do_nothing_in_a_browser(hostile, services):
    with open_browser(hostile) as (page, expect):
        expect(page.locator(".grid-tile")).to_have_count(len(HOSTILE) + 2)
        for name, text in zip(FILES, HOSTILE, strict=True):
            tile = page.locator(".grid-tile", has_text=name)
            expect(tile.locator("b")).to_have_text(name)
            tile.click()
            expect(page.locator("#panel textarea")).to_have_value(text)
        page.locator(".folder-notes").click()
        expect(page.locator("#warnings li")).to_contain_text(CLASH)
        page.keyboard.press("Escape")
        _fail_everything(services)
        page.locator(".run-line").click()
        for number, text in enumerate(reversed(HOSTILE)):
            expect(page.locator(".run-failure b").nth(number)).to_have_text(text)
            expect(page.locator(".run-failure span").nth(number)).to_have_text(f"because of {text}")
        expect(page.locator(".run-work")).to_have_text(HOSTILE[0])
        page.keyboard.press("Escape")
        page.get_by_role("tab", name="Prompts").click()
        expect(page.locator("#prompts")).to_contain_text(HOSTILE[0])
        page.locator("#try-file input").click()
        for name in FILES:
            expect(page.locator("#try-file [role=option]", has_text=name)).to_have_count(1)
        page.locator("#try-file [role=option]", has_text=FILES[3]).click()
        page.locator("#prompt-list [data-pick='']").click()
        page.locator("#prompt-text textarea").fill("{name} {existing}")
        expect(page.locator("#prompt-preview mark").nth(1)).to_have_text(HOSTILE[3])
        services.prompts.create("Of another browser", HOSTILE[1])
        expect(page.locator("#prompt-list")).to_contain_text("Of another browser")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_keys_that_choose_characters_of_an_input_method_act_on_nothing(services, tmp_path):
    (tmp_path / "media").mkdir()
    make_picture(tmp_path / "media" / "a.png")
    blocks, page = layout.build(services, tmp_path / "media")
    with open_browser(launch(blocks, page)) as (browser, expect):
        press = "(box, [key, how]) => box.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, ...how}))"
        search = browser.locator(".grid-search input")
        search.fill("a")
        for how in ({"isComposing": True}, {"keyCode": 229}):
            search.evaluate(press, ["Enter", how])
            search.evaluate(press, ["Escape", how])
            expect(search).to_be_focused()
            expect(search).to_have_value("a")
        search.press("Enter")
        expect(browser.locator(".grid-view")).to_be_focused()
    blocks.close(verbose=False)
