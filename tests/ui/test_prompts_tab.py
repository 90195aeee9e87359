"""The Prompts tab: its handlers as plain functions, and in real browsers with the demo model."""

import json
import threading
from pathlib import Path

import gradio as gr
import pytest

from captioner.demo.clips import write_samples
from captioner.jobs.events import (
    ItemFailed,
    ItemProgress,
    ItemStarted,
    ItemTried,
    JobEnded,
    JobQueued,
    JobStarted,
    ModelLoading,
)
from captioner.ui.prompts import tester as tester_module
from captioner.ui.prompts.handlers import PromptHandlers, prompt_list
from captioner.ui.prompts.tab import prompts_tab
from captioner.ui.prompts.tester import Tester, Trial, follow, view
from tests.support.chromium import open_browser
from tests.support.hostile import FOLDER_NAME, HOSTILE, MARKUP
from tests.support.tab_page import serve_tab

TYPE_AND_CLICK = """box => { box.value = 'Typed.'; box.dispatchEvent(new Event('input', { bubbles: true }));
                        document.querySelector('[data-pick=Wan]').click(); }"""
HOSTILE_NAME = f"{HOSTILE[0]} {HOSTILE[1]}"
HOSTILE_TEXT = f"{FOLDER_NAME} {MARKUP} {{name}}"
ABOUT = {"job": 3, "item": "a.mp4", "path": Path("/x/a.mp4")}


@pytest.fixture
def handlers(services) -> PromptHandlers:
    return PromptHandlers(services)


@pytest.fixture
def folder(services, tmp_path) -> Path:
    """Demo clips, opened; the first has a caption."""
    folder = tmp_path / "my clips"
    write_samples(folder)
    (folder / "clip 01.txt").write_text("An <old> caption.")
    services.open_folder(folder, recursive=False)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def was(name: str, text: str) -> str:
    return json.dumps({"name": name, "text": text})


class TestHandlers:
    def test_own_prompts_are_made_changed_used_and_deleted(self, handlers, services):
        name = handlers.save("", was("", ""), "Mine", "Say it.")[0]
        assert services.prompts.get("Mine").text == "Say it."
        assert handlers.save(name, was("Mine", "Say it."), "Ours", "Say more.")[0] == "Ours"
        assert handlers.use("Ours", was("Ours", "Say more."), "Ours", "Say more.")[0] == "Ours"
        assert handlers.save("Ours", was("Ours", "Say more."), "Theirs", "Say more.")[0] == "Theirs"
        assert services.settings.prompt_name == "Theirs"  # a renamed prompt stays in use
        assert services.prompt_text() == "Say more."
        assert handlers.delete("Theirs")[0] == services.prompt_name == "Detailed"
        assert services.settings.prompt_name == "auto"

    def test_built_in_prompts_can_be_copied_but_not_changed(self, handlers, services):
        chosen, before, _, name, text, hint, save, duplicate, use, delete = handlers.choose("Short")
        assert (chosen, json.loads(before)["name"]) == ("Short", "Short")
        assert not name["interactive"]
        assert not text["interactive"]
        assert hint["visible"]
        assert not save["visible"]
        assert not delete["visible"]
        assert duplicate["interactive"]
        assert use == gr.update(value="Set as current", interactive=True)
        with pytest.raises(gr.Error, match="built-in"):
            handlers.save("Short", before, "Short", "Longer.")
        assert handlers.duplicate("Short", before, services.prompts.get("Short").text)[0] == "Short copy"
        assert handlers.choose("Short copy")[9] == gr.update(visible=True, about="Short copy")

    def test_the_copy_holds_what_was_typed_and_the_prompt_what_was_saved(self, handlers, services):
        services.prompts.create("Mine", "Old.")
        assert handlers.duplicate("Mine", was("Mine", "Old."), "Typed.")[0] == "Mine copy"
        assert (services.prompts.get("Mine").text, services.prompts.get("Mine copy").text) == ("Old.", "Typed.")

    def test_setting_an_edited_prompt_as_current_saves_it_first(self, handlers, services):
        services.prompts.create("Mine", "Old.")
        services.change_settings({"prompt": "My own."})
        assert "current" not in handlers.list_prompts("Mine")
        handlers.use("Mine", was("Mine", "Old."), "Mine", "New.")
        assert services.prompt_text() == "New."
        assert '<em data-badge="current">' in handlers.list_prompts("Mine")
        assert handlers.choose("Mine")[8] == gr.update(value="Current", interactive=False)

    def test_a_prompt_that_another_browser_changed_is_not_overwritten(self, handlers, services):
        services.prompts.create("Mine", "Old.")
        services.prompts.replace("Mine", None, "Theirs.")
        with pytest.raises(gr.Error, match="changed in another browser"):
            handlers.save("Mine", was("Mine", "Old."), "Mine", "Ours.")
        assert services.prompts.get("Mine").text == "Theirs."

    def test_a_save_is_done_whole_or_not_at_all(self, handlers, services):
        services.prompts.create("Mine", "Old.")
        with pytest.raises(gr.Error, match=r"already a prompt .*Wan"):
            handlers.save("Mine", was("Mine", "Old."), "wan", "New.")
        assert services.prompts.get("Mine").text == "Old."
        assert handlers.save("Mine", was("Mine", "Old."), "Ours", "New.")[0] == "Ours"
        assert services.prompts.get("Ours").text == "New."

    @pytest.mark.parametrize("text", ["Old.", "New."])
    @pytest.mark.parametrize("act", ["save", "use"])
    def test_a_prompt_that_another_browser_deleted_is_created_again(self, handlers, services, act, text):
        services.prompts.create("Mine", "Old.")
        services.prompts.delete("Mine")
        assert getattr(handlers, act)("Mine", was("Mine", "Old."), "Mine", text)[0] == "Mine"
        assert services.prompts.get("Mine").text == text

    def test_a_new_prompt_starts_empty_and_a_missing_one_shows_the_current(self, handlers):
        assert handlers.pick("", gr.EventData(None, {"id": ""}))[:2] == ["", was("", "")]
        assert handlers.choose("long gone")[0] == "Detailed"

    def test_search_looks_at_names_and_texts(self, handlers, services):
        services.prompts.create("Mine", "Count the PENGUINS.")
        assert handlers.list_prompts("", "penguins count").count("<button") == 1
        assert 'data-pick="Wan"' in handlers.list_prompts("", "wan")
        assert handlers.list_prompts("", "zebra crossing") == "<p>No matching prompts</p>"

    def test_exports_come_back_and_bad_imports_change_nothing(self, handlers, services, tmp_path):
        assert handlers.export() == ""
        services.prompts.create("Mine", "Say it.")
        exported = handlers.export()
        services.prompts.delete("Mine")
        assert "Mine" in handlers.import_file(exported.encode(), "", "")
        with pytest.raises(gr.Error, match="not a JSON file of prompts"):
            handlers.import_file(b"\x00", "", "")
        assert services.prompts.get("Mine").text == "Say it."

    def test_hostile_names_and_texts_are_escaped_in_the_list(self, handlers, services):
        prompt = services.prompts.create(HOSTILE_NAME, HOSTILE_TEXT)
        rows = prompt_list([prompt], HOSTILE_NAME, "")
        assert "<script>" not in rows
        assert "<img" not in rows
        assert 'aria-pressed="true"' in rows


class TestTester:
    def test_preview_fills_the_variables_in_for_the_file(self, services, folder):
        services.change_settings({"trigger_word": "<sks>"})
        tester = Tester(services)
        files, picture, preview = tester.refresh(None, "<b> {name} {folder} {trigger} {existing} {other} {{name}}")
        scan = services.library.scan.id
        assert files["choices"][0] == ("clip 01.mp4", f"{scan}-0")
        assert files["value"] == f"{scan}-0"
        assert f"gradio_api/vcs/thumb/{scan}-0.jpg?v=" in picture
        assert preview == (
            '<p class="preview">&lt;b&gt; <mark title="{name}">clip 01</mark> <mark title="{folder}">my clips</mark> '
            '<mark title="{trigger}">&lt;sks&gt;</mark> <mark title="{existing}">An &lt;old&gt; caption.</mark> '
            '<mark class="unknown" title="Not a variable">{other}</mark> {<mark title="{name}">clip 01</mark>}</p>'
            '<p class="preview-note">{other} is not a variable; the model reads it as it is.</p>'
        )
        assert '<mark class="no">no caption yet</mark>' in tester.preview("{existing}", f"{scan}-1")

    def test_of_many_files_the_name_is_typed(self, services, folder, monkeypatch):
        monkeypatch.setattr(tester_module, "MAX_FILES", 2)
        tester = Tester(services)
        assert "clip 03" in tester.preview("{name}", "clip 03.webm")
        files, _, preview = tester.refresh("clip 03.webm", "{name}")
        assert [name for name, _ in files["choices"]] == ["clip 01.mp4", "clip 02.mp4", "clip 03.webm"]
        assert files["value"] == f"{services.library.scan.id}-2"
        assert "clip 03" in preview

    def test_a_file_that_is_gone_gives_the_first_and_no_folder_is_said(self, services, folder, tmp_path):
        tester = Tester(services)
        old = f"{services.library.scan.id}-3"
        assert tester.refresh(old, "x")[0]["value"] == old
        services.open_folder(folder, recursive=False)
        assert tester.refresh(old, "x")[0]["value"] == f"{services.library.scan.id}-0"
        assert "Choose a file from the list, or type its name." in tester.preview("x", "typed by hand")
        (tmp_path / "empty").mkdir()
        services.open_folder(tmp_path / "empty", recursive=False)
        assert "Open a folder in the Gallery" in tester.refresh(old, "x")[2]

    @pytest.mark.parametrize(
        ("text", "file", "reason"),
        [
            ("  ", "0", "Write a prompt to try it."),
            ("x", "nothing", "Choose a file from the list, or type its name."),
        ],
    )
    def test_what_cannot_be_tried_is_said_as_text(self, services, folder, text, file, reason):
        trying, result, timer, button = Tester(services).try_it(text, f"{services.library.scan.id}-{file}")
        assert (trying, timer.active, button["interactive"]) == ("", False, True)
        assert result == f'<div class="trial failed"><p>{reason}</p></div>'

    def test_a_trial_does_not_wait_for_another_job(self, services, folder):
        services.events.append(JobQueued(job=1, total=1))
        result = Tester(services).try_it("x", f"{services.library.scan.id}-0")[1]
        assert "A job is running" in result

    def test_a_trial_of_a_restarted_app_ends(self, services):
        result, timer, button = Tester(services).watch(json.dumps({"jobs": [5], "cursor": 900, "other": ""}))
        assert "The app was restarted. Try again." in result
        assert (timer.active, button["interactive"]) == (False, True)


class TestTrial:
    def test_it_follows_its_own_job_alone(self):
        other = [JobStarted(job=2, total=1, model="M"), ModelLoading(model="M")]
        assert follow(other, 3).doing == "Waiting for its turn…"
        mine = [*other, JobStarted(job=3, total=1, model="M"), ModelLoading(model="M")]
        assert follow(mine, 3).doing == "Loading M…"
        mine.append(ModelLoading(model="M", bytes_done=1_000_000, bytes_total=2_000_000))
        assert follow(mine, 3).doing == "Downloading M: 1.0 MB of 2.0 MB"
        mine.append(ItemStarted(**ABOUT, replica="cpu"))
        assert follow(mine, 3).doing == "Reading frames…"
        mine.append(ItemProgress(**ABOUT, tokens=7))
        assert follow(mine, 3).doing == "Writing: 7 tokens…"
        done = [*mine, ItemTried(**ABOUT, caption="A dog.", tokens=9, seconds=1.25)]
        assert follow(done, 3) == Trial(caption="A dog.", tokens=9, seconds=1.25)
        assert follow([*mine, ItemFailed(**ABOUT, reason="cut off")], 3).problem == "cut off"
        assert follow([*mine, JobEnded(job=3, outcome="failed", reason="no model")], 3).problem == "no model"
        assert follow([*mine, JobEnded(job=3, outcome="stopped")], 3).problem == "The trial was stopped."

    def test_texts_are_escaped(self):
        for state in (Trial(doing="<b>"), Trial(caption="<b>"), Trial(problem="<b>")):
            assert "&lt;b&gt;" in view(state)
        assert "9 tokens · 2 words · 1.2 s · not saved" in view(Trial(caption="A dog.", tokens=9, seconds=1.2))


@pytest.fixture
def address(services, folder, handlers):
    def draw(blocks: gr.Blocks, tab: gr.Tab) -> None:
        prompts_tab(handlers, tab, blocks.load)

    with serve_tab(services, "Prompts", draw) as address:
        yield address


def choose_file(page, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Import", exact=True).click()
    chooser.value.set_files(path)


def open_tab(page, expect) -> None:
    page.get_by_role("tab", name="Prompts").click()
    expect(page.locator("#prompt-name input")).to_have_value("Detailed")


@pytest.mark.browser
def test_prompts_are_created_copied_renamed_used_and_deleted_in_a_browser(services, address):
    with open_browser(address) as (page, expect):
        open_tab(page, expect)
        name, text = page.locator("#prompt-name input"), page.locator("#prompt-text textarea")
        expect(name).to_be_disabled()
        expect(page.locator("#save-prompt")).to_have_count(0)
        page.locator("#duplicate-prompt").click()
        expect(name).to_have_value("Detailed copy")
        name.fill("My prompt")
        text.fill("Describe ")
        page.locator("[data-insert=name]").click()
        expect(text).to_have_value("Describe {name}")
        expect(page.locator("#prompt-preview mark")).to_have_text("clip 01")
        page.locator("#save-prompt").click()
        expect(page.locator("#prompt-list [aria-pressed=true] b")).to_have_text("My prompt")
        assert services.prompts.get("My prompt").text == "Describe {name}"
        page.locator("#use-prompt").click()
        expect(page.locator("#prompt-list [aria-pressed=true] em")).to_have_text("current")
        assert services.settings.prompt_name == "My prompt"
        page.locator("#delete-prompt .ask").click()
        expect(page.locator("#delete-prompt .about")).to_have_text("My prompt")
        page.locator("#delete-prompt .no").click()
        page.locator("#delete-prompt .ask").click()
        page.locator("#delete-prompt .yes").click()
        expect(name).to_have_value("Detailed")
        assert [prompt.name for prompt in services.prompts.list() if not prompt.builtin] == []


@pytest.mark.browser
def test_typed_text_is_only_discarded_after_a_question(services, address):
    services.prompts.create("Mine", "Old.")
    with open_browser(address) as (page, expect):
        open_tab(page, expect)
        page.locator("[data-pick=Mine]").click()
        text = page.locator("#prompt-text textarea")
        expect(text).to_have_value("Old.")
        text.evaluate(TYPE_AND_CLICK)  # at once: Gradio reports the text only after the click
        page.locator("#prompt-list .no").click()
        expect(text).to_have_value("Typed.")
        page.locator("[data-pick=Wan]").click()
        page.locator("#prompt-list .yes").click()
        expect(page.locator("#prompt-name input")).to_have_value("Wan")
        page.locator("[data-pick='']").click()
        expect(page.locator("#prompt-name input")).to_have_value("")
        expect(page.locator("#prompt-name input")).to_be_enabled()
        page.locator("#find-prompt input, #find-prompt textarea").fill("mine")
        expect(page.locator("#prompt-list .list button")).to_have_count(1)
        assert services.prompts.get("Mine").text == "Old."


@pytest.mark.browser
def test_the_editor_takes_no_text_that_a_late_answer_would_wipe(services, address, monkeypatch):
    services.prompts.create("Mine", "Old.")
    with open_browser(address) as (page, expect):
        open_tab(page, expect)
        page.locator("[data-pick=Mine]").click()
        name, text = page.locator("#prompt-name input"), page.locator("#prompt-text textarea")
        expect(text).to_have_value("Old.")
        list_prompts, answer = services.prompts.list, threading.Event()
        monkeypatch.setattr(services.prompts, "list", lambda: answer.wait(60) and list_prompts())
        page.locator("[data-pick='']").click()
        expect(text).not_to_be_editable()
        answer.set()
        text.fill("Typed.")
        expect(name).to_have_value("")
        expect(text).to_have_value("Typed.")
        name.fill("mine")
        page.locator("#save-prompt").click()
        expect(page.locator(".toast-body")).to_contain_text("already a prompt")
        expect(text).to_be_editable()
        expect(text).to_have_value("Typed.")


@pytest.mark.browser
def test_prompts_travel_as_a_file(services, address, tmp_path):
    services.prompts.create("Mine", HOSTILE_TEXT)
    with open_browser(address) as (page, expect):
        open_tab(page, expect)
        with page.expect_download() as download:
            page.locator("#export-prompts").click()
        path = tmp_path / "prompts.json"
        download.value.save_as(path)
        assert json.loads(path.read_text()) == [{"name": "Mine", "text": HOSTILE_TEXT}]
        services.prompts.delete("Mine")
        choose_file(page, path)
        expect(page.locator(".toast-body")).to_contain_text("1 prompt added: “Mine”.")
        expect(page.locator("[data-pick=Mine]")).to_be_visible()
        assert services.prompts.get("Mine").text == HOSTILE_TEXT
        path.write_text("[1]")
        choose_file(page, path)
        expect(page.locator(".toast-body").last).to_contain_text("entry 1: each entry needs a name and a text")


@pytest.mark.browser
def test_hostile_names_and_texts_are_text(services, folder, address):
    services.prompts.create(HOSTILE_NAME, HOSTILE_TEXT)
    stem = HOSTILE_NAME.replace("/", "")
    (folder / "still 01.png").rename(folder / f"{stem}.png")
    (folder / f"{stem}.txt").write_text(HOSTILE_TEXT)
    services.open_folder(folder, recursive=False)
    with open_browser(address) as (page, expect):
        open_tab(page, expect)
        expect(page.locator("#prompt-list .list b").first).to_have_text(HOSTILE_NAME)
        page.locator("#prompt-list .list button").first.click()
        expect(page.locator("#prompt-name input")).to_have_value(HOSTILE_NAME)
        expect(page.locator("#prompt-text textarea")).to_have_value(HOSTILE_TEXT)
        expect(page.locator("#prompt-preview .preview")).to_have_text(HOSTILE_TEXT.replace("{name}", stem))
        page.locator("#delete-prompt .ask").click()
        expect(page.locator("#delete-prompt .about")).to_have_text(HOSTILE_NAME)
        page.locator("#delete-prompt .no").click()
        page.locator("#try-file input").click()
        page.get_by_role("option", name=f"{stem}.png", exact=True).click()
        page.locator("[data-pick='']").click()
        page.locator("#prompt-text textarea").fill("{existing}")
        expect(page.locator("#prompt-preview mark")).to_have_count(1)  # of the text before, there are more
        expect(page.locator("#prompt-preview mark")).to_have_text(HOSTILE_TEXT)


@pytest.mark.browser
def test_try_it_gives_a_caption_and_leaves_the_folder_untouched(services, folder, address):
    services.change_settings({"trigger_word": "<sks>"})
    before = contents(folder)
    with open_browser(address) as (page, expect):
        open_tab(page, expect)
        page.locator("#try-prompt").click()
        result = page.locator("#try-result .trial")
        expect(result).to_have_class("trial done", timeout=120_000)
        expect(result.locator("p")).to_contain_text("<sks>, ")
        expect(result.locator("i")).to_contain_text("tokens")
        expect(page.locator("#try-prompt")).to_be_enabled()
    assert contents(folder) == before
    assert services.captions.provenance(folder / "clip 01.txt") == []
    assert services.captions.history(folder / "clip 01.txt") == []


@pytest.mark.browser
def test_a_try_that_fails_says_why(services, folder, address):
    (folder / "clip 01.mp4").write_bytes(b"no clip")
    with open_browser(address) as (page, expect):
        open_tab(page, expect)
        page.locator("#try-prompt").click()
        expect(page.locator("#try-result .trial")).to_have_class("trial failed", timeout=120_000)
        expect(page.locator("#try-result .trial p")).not_to_be_empty()
