"""The statistics in a browser: count, read, show the files behind a row in the gallery, and edit their captions."""

import os

import pytest

from captioner.services import Services
from tests.support.axe import severe_faults
from tests.support.chromium import open_browser
from tests.support.gallery_page import picture
from tests.support.hostile import HOSTILE
from tests.support.web_page import serve_page

pytestmark = pytest.mark.browser

NUM_FILES = 14


@pytest.fixture
def web(tmp_path):
    """A page over pictures whose captions have a constant and a contradiction; some try to be markup."""
    folder = tmp_path / "set"
    folder.mkdir()
    first = picture(folder / "00.png")
    for number in range(NUM_FILES):
        if number:
            os.link(first, folder / f"{number:02d}.png")
        text = f"A woman with red hair, in soft light. {HOSTILE[number % len(HOSTILE)]} {number}"
        (folder / f"{number:02d}.txt").write_text(text if number else "A woman with brown hair.", encoding="utf-8")
    os.utime(folder / "01.txt", (10**9, 10**9))
    with Services(tmp_path / "state") as services, serve_page(services, folder, exposed=False) as web:
        yield web


def test_count_show_and_edit(web):
    with open_browser(web.address) as (page, expect):
        expect(page.locator(".grid-tile")).to_have_count(NUM_FILES)
        page.get_by_role("tab", name="Dataset").click()
        page.get_by_role("tab", name="Statistics").click()
        page.locator("[data-act=count]").click()
        expect(page.locator("#statistics .dataset-groups button").first).to_contain_text("Constants")
        expect(page.locator(".statistics-facts")).to_contain_text("captions14")
        rows = page.locator(".statistics-rows li")
        expect(rows.filter(has_text="woman with red hair")).to_contain_text("93 %")
        expect(page.locator("#statistics-charts svg.marks")).to_have_count(2)
        for theme in ("dark", "light"):
            page.emulate_media(color_scheme=theme)
            page.wait_for_function(f"document.body.classList.contains('dark') === {str(theme == 'dark').lower()}")
            color = page.locator("#statistics").evaluate("each => getComputedStyle(each).color")
            expect(page.locator("#statistics-charts svg.marks text").first).to_have_css("fill", color)
        assert severe_faults(page) == []

        rows.filter(has_text="woman with red hair").locator("[data-act=show]").click()
        expect(page.locator(".grid-tile")).to_have_count(NUM_FILES - 1)
        expect(page.locator(".bar-filter span").first).to_have_text("woman with red hair")

        page.keyboard.press("Control+a")  # what is selected is not what the next edit is about
        page.get_by_role("tab", name="Dataset").click()
        page.locator("[data-table=contradictions]").click()
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("Hair color: brown, not red")
        rows.locator("[data-act=edit]").click()
        expect(page.locator(".bulk-scope")).to_have_text("In 1 shown file")
        expect(page.locator("[name=find]")).to_have_value(r"\bbrown hair\b")
        page.locator("[name=replace]").fill("red hair")
        page.get_by_role("button", name="Change 1 caption").click()
        expect(page.locator(".bulk-dialog .dialog-message")).to_have_text("1 caption changed.")
        assert (web.folder / "00.txt").read_text(encoding="utf-8") == "A woman with red hair."
        page.keyboard.press("Escape")

        page.get_by_role("tab", name="Dataset").click()
        page.locator("#statistics [data-act=count]").click()
        expect(page.locator("[data-table=contradictions]")).to_have_count(0)
        expect(rows.filter(has_text="woman with red hair")).to_contain_text("100 %")


def test_compare_with_a_job_and_with_another_folder(web, tmp_path):
    services, other = web.services, tmp_path / "other"
    other.mkdir()
    for number in range(NUM_FILES):
        (other / f"{number:02d}.txt").write_text("A dog on a beach.", encoding="utf-8")
    services.change_settings({"model": "demo", "existing": "overwrite"})
    assert list(services.jobs.follow(services.start()))[-1].done == NUM_FILES
    with open_browser(web.address) as (page, expect):
        for number in range(NUM_FILES):
            (web.folder / f"{number:02d}.txt").write_text("A woman with brown hair.", encoding="utf-8")
        page.get_by_role("tab", name="Dataset").click()
        page.get_by_role("tab", name="Statistics").click()
        rows, against = page.locator(".statistics-rows li"), page.locator("#statistics [name=against]")
        expect(against.locator("option")).to_have_count(3)
        expect(against.locator("option").nth(1)).to_contain_text(f"Caption {NUM_FILES} files with")
        against.select_option(index=1)
        page.locator("#statistics [data-act=count]").click()
        page.locator("[data-table=differences]").click()
        expect(rows.filter(has_text="brown hair")).to_contain_text("0 % there")
        expect(rows.filter(has_text="brown hair")).to_contain_text("100 %")

        against.select_option("folder")
        page.locator("#statistics [name=folder]").fill("nowhere")
        page.keyboard.press("Enter")
        expect(page.locator("#statistics .dataset-now.bad")).to_contain_text("nowhere")
        page.locator("#statistics [name=folder]").fill(str(other))
        page.keyboard.press("Enter")
        expect(page.locator(".statistics-facts")).to_contain_text("differences")
        page.locator("[data-table=differences]").click()
        expect(rows.filter(has_text="dog").first).to_contain_text("100 % there")
        expect(rows.filter(has_text="dog").first.locator("[data-act=show]")).to_be_disabled()
        assert severe_faults(page) == []
