"""The Settings tab: the form's handlers as plain functions, and in real browsers."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from captioner.config.options import FOLDER_SETTINGS
from captioner.config.presets import find_preset
from captioner.config.recommend import Machine
from captioner.config.settings import Settings
from captioner.jobs.progress import Progress, ReplicaProgress
from captioner.services import Services
from captioner.ui.model_status import Chosen, model_status
from captioner.ui.settings import fields
from captioner.ui.settings.fields import BASICS, CHOICES, FIELDS, draw_field, field_kind, limits
from captioner.ui.settings.markup import form_markup
from captioner.ui.settings.model import model_note, model_report, model_state
from captioner.ui.settings.tab import SettingsForm
from tests.support.chromium import open_browser
from tests.support.hostile import MARKUP
from tests.support.tab_page import draw_settings, serve_tab


@pytest.fixture
def form(services) -> SettingsForm:
    return SettingsForm(services)


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, {"number": 1, "key": "x"} | data)


def save(form: SettingsForm, **changes: Any) -> tuple[dict, dict]:
    """Save these changes; returns the answer to the form, and what is wrong."""
    answer = form.save(event(changes=changes))["answer"]
    return answer, answer["wrong"]


def kept(services: Services) -> dict:
    path = services.folder / "settings.json"
    return json.loads(path.read_text()) if path.exists() else {}


class TestFields:
    def test_every_setting_has_a_control(self):
        assert {*FIELDS, *FOLDER_SETTINGS} == set(Settings.model_fields)
        assert len(FIELDS) == len(set(FIELDS))
        assert field_kind("temperature") == (float, True)
        assert field_kind("devices") == (tuple, False)
        assert field_kind("models_folder") == (Path, True)
        assert field_kind("compile") == (bool, False)

    def test_choices_shown_at_once_are_those_that_are_allowed(self):
        for name, choices in CHOICES.items():
            assert tuple(choices) == field_kind(name)[0].__args__

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("fps", "0.01 to 120 per second · default 2"),
            ("max_frames", "2 to 1,024 frames · default 32"),
            ("temperature", "0 to 2 · default auto"),
            ("top_p", "0 to 1 · default auto"),
            ("compile", "default off"),
            ("existing", "default Skip"),
            ("devices", "default auto"),
            ("trigger_word", "up to 200 characters"),
            ("models_folder", ""),
        ],
    )
    def test_range_unit_and_default_are_shown(self, name, text):
        assert limits(name) == text
        assert text in draw_field(name)
        assert Settings.model_fields[name].description.split("'")[0] in draw_field(name)


class TestForm:
    def test_only_what_was_changed_is_kept(self, form, services):
        assert save(form)[1] == {}
        assert kept(services) == {}
        fresh, wrong = save(form, max_frames=16, devices="cpu, cpu", temperature=0.5)
        assert wrong == {}
        assert services.settings.devices == ("cpu", "cpu")
        assert services.settings.model == "demo"
        assert kept(services) == {"max_frames": 16, "devices": ["cpu", "cpu"], "temperature": 0.5}
        assert fresh["sent"] == {"max_frames": 16, "devices": "cpu, cpu", "temperature": 0.5}
        assert (fresh["now"]["devices"], fresh["now"]["model"]) == ("cpu, cpu", "demo")

    def test_what_another_browser_saved_stays(self, form, services):
        services.change_settings({"seed": 5})
        save(form, max_frames=16)
        assert (services.settings.seed, services.settings.max_frames) == (5, 16)

    def test_an_emptied_field_goes_back_to_its_default(self, form, services):
        save(form, max_frames=16, temperature=0.5, models_folder="/models", trigger_word="sks")
        save(form, max_frames=None, temperature=None, models_folder="", trigger_word="")
        assert (services.settings.max_frames, services.settings.temperature) == (32, None)
        assert (services.settings.models_folder, services.settings.trigger_word) == (None, "")
        assert kept(services) == {}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"max_frames": 5000}, "Give a whole number from 2 to 1024."),
            ({"max_frames": 8.5}, "Give a whole number from 2 to 1024."),
            ({"devices": "tpu"}, "Give auto, or a list of cpu, mps, cuda and cuda:N."),
            ({"caption_prefix": "a\nb"}, "Give one line of text of at most 200 characters."),
            ({"model": "nonsense"}, "Choose a preset, or enter a Hub id such as owner/name or a model folder."),
            ({"prompt_name": "nonsense"}, "The library has no prompt of this name."),
        ],
    )
    def test_a_wrong_value_is_said_and_nothing_is_saved(self, form, services, change, message):
        before = services.settings
        _, wrong = save(form, seed=7, **change)
        assert wrong == dict.fromkeys(change, message)
        assert services.settings is before

    def test_every_wrong_value_is_said_at_once(self, form):
        assert set(save(form, fps=0, top_k=-1, seed=3)[1]) == {"fps", "top_k"}

    def test_custom_models_and_the_librarys_prompts_are_taken(self, form, services):
        services.prompts.create("Mine", "Say it.")
        assert save(form, model="owner/name", prompt_name="mine")[1] == {}
        assert services.settings.model == "owner/name"
        assert "Mine" in form.render(Progress())[0]["prompts"]

    def test_reset_fills_every_field_but_leaves_the_folder(self, form, services, tmp_path):
        services.change_settings({"folder": tmp_path, "fps": 5})
        answer = form.reset(event())["answer"]
        assert (answer["now"]["fps"], answer["all"]) == (2.0, True)
        assert services.settings == Settings(folder=tmp_path)

    def test_nothing_is_loaded_while_the_form_could_not_be_saved(self, form, services):
        assert set(form.load(event(changes={"fps": 0}))["answer"]["wrong"]) == {"fps"}
        assert services.events.snapshot().queued_jobs == 0

    def test_only_fields_of_the_form_are_saved(self, form, services, tmp_path):
        assert save(form, seed=9, folder=str(tmp_path), nonsense=1)[1] == {}
        assert kept(services) == {"seed": 9}


class TestViews:
    def test_memory_is_shown_for_each_quantization_and_marked_where_it_is_too_much(self):
        note = model_note(find_preset("qwen3-vl-8b"), "4bit", 16.0, automatic=False)
        assert '<i data-on="false" data-over="true" title="more than the 16 GB of the largest GPU here">16-bit' in note
        assert '<i data-on="true" data-over="false">4-bit <b>10.7 GB</b></i>' in note
        assert "memory need unknown" in model_note(find_preset("owner/name"), "none", None, automatic=False)
        assert "Automatic chooses <b>Qwen3-VL 2B</b>" in model_note(find_preset("qwen3-vl-2b"), "none", None, True)

    def test_models_that_suit_the_machine_come_first_and_say_why(self, monkeypatch):
        monkeypatch.setattr(fields, "read_machine", lambda: Machine((25.77,), 64.0))
        markup = fields.draw_field("model")
        best, others = markup.split('<optgroup label="Others">')
        assert (
            '<option value="auto">Automatic</option><optgroup label="Recommended here"><option value="qwen3.5-9b">'
            "Qwen3.5 9B · 21.6 GB · the default here; fits in 24 GB of GPU memory</option>"
        ) in best
        large = '<option value="qwen3.6-35b-a3b">Qwen3.6 35B-A3B · 73 GB · needs more than the 24 GB of GPU memory here'
        assert large in others
        assert large not in best

    def test_what_most_people_change_is_on_top_and_nothing_in_the_form_is_code(self):
        markup = form_markup(["cpu"])
        top, folded = markup.split('<details id="settings-advanced">')
        assert re.findall('data-name="(.*?)"', top) == list(BASICS)
        assert {*re.findall('data-name="(.*?)"', folded), *BASICS} == set(FIELDS)
        assert not set(markup) & set("$`{}\\")

    def test_placeholders_are_the_models_own_sampling(self, form):
        about = form.describe(event(model="qwen3-vl-8b", quantization="none"))["about"]
        assert "Qwen3-VL" not in about["note"]
        sampling = [about["sampling"][name] for name in ("temperature", "top_p", "top_k")]
        assert sampling == ["auto (0.7)", "auto (0.8)", "auto (20)"]
        unknown = form.describe(event(model="<b>", quantization="none"))["about"]
        assert unknown["note"] == '<p class="note">Unknown model</p>'

    def test_the_state_says_bytes_and_speed_while_downloading(self):
        loading = Progress(
            job=1, stage="loading", model="M", bytes_done=1_500_000, bytes_total=3_000_000, bytes_per_s=250_000
        )
        html = model_state(model_status(loading, Chosen("M")))
        assert "Downloading M: 1.5 MB of 3.0 MB · 250.0 KB/s" in html
        assert "width:50.0%" in html

    def test_text_from_outside_is_escaped(self):
        replica = ReplicaProgress(MARKUP, "lost", MARKUP, ((MARKUP, MARKUP),))
        progress = Progress(job=1, stage="failed", reason=MARKUP, model=MARKUP, replicas=(replica,))
        preset = replace(find_preset("demo"), title=MARKUP, notes=MARKUP)
        ready = replace(progress, replicas=(replace(replica, state="ready"),))
        shown = (progress, replace(progress, stage="loading"), ready)
        parts = [model_state(model_status(each, Chosen(MARKUP, problem))) for each in shown for problem in ("", MARKUP)]
        for part in (*parts, model_report(progress), model_note(preset, "none", None, automatic=True)):
            assert "<script>" not in part
            assert "&lt;script&gt;" in part


@pytest.fixture
def address(services):
    with serve_tab(services, "Settings", draw_settings(services)) as address:
        yield address


def open_tab(page, advanced: bool = True) -> None:
    page.get_by_role("tab", name="Settings").click()
    if advanced:
        page.locator("#settings-advanced summary").click()


@pytest.mark.browser
def test_a_wrong_value_is_said_beside_its_field_and_the_others_keep_their_text(services, address):
    with open_browser(address) as (page, expect):
        open_tab(page)
        expect(page.locator("#set-fps input")).to_have_value("2")
        expect(page.locator("#settings-bar .state")).to_have_text("Everything is saved")
        page.locator("#set-fps input").fill("500")
        page.locator("#set-max-frames input").fill("16")
        page.locator("#set-caption-prefix input").fill("a photo of ")
        expect(page.locator("#settings-bar .state")).to_have_text("3 unsaved changes")
        page.locator("#save-settings").click()
        expect(page.locator("#field-fps .wrong")).to_have_text("Give a number from 0.01 to 120.")
        expect(page.locator("#settings-bar .state")).to_have_text("Not saved. Correct the marked fields.")
        expect(page.locator(".toast-body")).to_have_count(0)  # the page says it already
        expect(page.locator(".field.invalid")).to_have_count(1)
        expect(page.locator("#set-fps input")).to_have_attribute("aria-invalid", "true")
        expect(page.locator("#set-max-frames input")).to_have_value("16")
        expect(page.locator("#set-caption-prefix input")).to_have_value("a photo of ")
        assert kept(services) == {}
        page.locator("#set-fps input").fill("5")
        expect(page.locator(".field.invalid")).to_have_count(0)
        page.locator("#save-settings").click()
        expect(page.locator("#settings-bar .state")).to_have_text("Everything is saved")
        assert kept(services) == {"fps": 5.0, "max_frames": 16, "caption_prefix": "a photo of "}


@pytest.mark.browser
def test_what_is_typed_is_not_overwritten_when_another_browser_saves(services, address):
    with open_browser(address) as (page, expect):
        other = page.context.browser.new_context().new_page()
        other.goto(address)
        for each in (page, other):
            open_tab(each)
            expect(each.locator("#set-seed input")).to_have_value("0")
        page.locator("#set-seed input").fill("12")
        page.locator("#set-trigger-word input").press_sequentially("sk")
        other.locator("#set-seed input").fill("77")
        other.locator("#set-frame-size input").fill("448")
        other.locator("#save-settings").click()
        expect(page.locator("#set-frame-size input")).to_have_value("448")
        expect(page.locator("#set-seed input")).to_have_value("12")
        expect(page.locator("#field-seed .changed-outside")).to_have_text("Changed in another browser to: 77")
        page.locator("#set-trigger-word input").press_sequentially("s")
        expect(page.locator("#set-trigger-word input")).to_have_value("sks")
        page.locator("#set-seed input").fill("77")
        expect(page.locator("#settings-bar .state")).to_have_text("1 unsaved change")
        page.locator("#save-settings").click()
        expect(other.locator("#set-trigger-word input")).to_have_value("sks")
        assert kept(services) == {"seed": 77, "frame_size": 448, "trigger_word": "sks"}


@pytest.mark.browser
def test_changes_can_be_discarded_and_a_reset_asks_first(services, address):
    services.change_settings({"max_frames": 16, "compile": True, "existing": "append"})
    with open_browser(address) as (page, expect):
        open_tab(page)
        expect(page.locator("#set-max-frames input")).to_have_value("16")
        expect(page.locator("#set-compile input")).to_be_checked()
        page.locator("#set-max-frames input").fill("64")
        page.locator("#discard-settings").click()
        expect(page.locator("#set-max-frames input")).to_have_value("16")
        page.locator("#reset-settings .ask").click()
        page.locator("#reset-settings .no").click()
        expect(page.locator("#reset-settings [popover]")).to_be_hidden()
        assert services.settings.max_frames == 16
        page.locator("#reset-settings .ask").click()
        page.locator("#reset-settings .yes").click()
        expect(page.locator("#set-max-frames input")).to_have_value("32")
        expect(page.locator("#set-compile input")).not_to_be_checked()
        expect(page.locator("#set-existing input[value=skip]")).to_be_checked()
        expect(page.locator("#settings-bar .state")).to_have_text("Everything is saved")
        assert kept(services) == {}


@pytest.mark.browser
def test_the_model_is_loaded_with_what_the_form_says_and_unloaded(services, address):
    with open_browser(address) as (page, expect):
        open_tab(page)
        page.locator("#set-model select").select_option(label="Another model…")
        page.locator("#set-model input").fill("no such model")
        page.locator("#load-model").click()
        expect(page.locator("#field-model .wrong")).to_contain_text("Choose a preset")
        page.locator("#set-model select").select_option("demo")
        page.locator("#set-batch-size input").fill("2")
        page.locator("#load-model").click()
        expect(page.locator(".model-state[data-state=ready]")).to_contain_text("is loaded on cpu", timeout=90_000)
        expect(page.locator("#model-report")).to_contain_text("dtype")
        assert kept(services) == {"batch_size": 2}
        page.get_by_role("button", name="Unload").click()
        expect(page.locator(".model-state[data-state=none]")).to_contain_text("No model is loaded")


@pytest.mark.browser
def test_the_form_takes_nothing_before_the_settings_are_there(services, address):
    with open_browser("about:blank") as (page, expect):
        values, held = "**/run/predict", []
        page.route(values, lambda route: held.append(route))
        page.goto(address)
        open_tab(page, advanced=False)
        field = page.locator("#set-max-frames input")
        expect(field).to_be_disabled()
        for route in held:
            route.continue_()
        page.unroute(values)
        expect(field).to_be_enabled()
        expect(field).to_have_value(str(services.settings.max_frames))


@pytest.mark.browser
def test_a_click_that_leaves_a_field_hits_its_button_although_the_note_changes(services, address):
    with open_browser(address, width=390, height=1400) as (page, expect):
        open_tab(page, advanced=False)
        page.locator("#set-model select").select_option(label="Another model…")
        expect(page.locator("#model-note")).to_contain_text("GB")
        page.locator("#set-model input").fill("no such model")
        page.locator("#load-model").hover()
        page.mouse.down()
        expect(page.locator("#model-note")).to_have_text("Unknown model")
        page.mouse.up()
        expect(page.locator("#field-model .wrong")).to_contain_text("Choose a preset")


@pytest.mark.browser
def test_note_follows_a_model_that_was_chosen_elsewhere(services, address):
    services.change_settings({"model": "demo"})
    with open_browser(address) as (page, expect):
        page.get_by_role("tab", name="Settings").click()
        expect(page.locator("#model-note")).to_contain_text("Comes with the app")
        services.change_settings({"model": "qwen3-vl-2b"})
        expect(page.locator("#model-note")).to_contain_text("16-bit 7.4 GB")
        expect(page.locator("#model-note")).not_to_contain_text("Comes with the app")


@pytest.mark.browser
def test_hostile_settings_are_text(services, address):
    services.change_settings({"caption_prefix": MARKUP[:200], "prompt": MARKUP, "trigger_word": "${1+1}"})
    with open_browser(address) as (page, expect):
        open_tab(page)
        expect(page.locator("#set-caption-prefix input")).to_have_value(MARKUP)
        expect(page.locator("#set-prompt textarea")).to_have_value(MARKUP)
        expect(page.locator("#set-trigger-word input")).to_have_value("${1+1}")
        page.locator("#set-prompt textarea").fill("mine")
        services.change_settings({"prompt": f"{MARKUP} again"})
        expect(page.locator("#field-prompt .changed-outside")).to_contain_text(f"{MARKUP} again")


def test_the_form_is_left_alone_while_nothing_changed(form, services):
    shown = form.render(Progress())[0]
    assert form.render(Progress())[0] == shown
    services.change_settings({"seed": 5})
    assert json.loads(form.render(Progress())[0]["now"])["seed"] == 5


def test_load_waits_for_a_running_job(form):
    shown = form.render(Progress(stage="running", replicas=(ReplicaProgress("cpu", "ready", "", ()),)))[0]
    assert (shown["may_load"], shown["may_unload"]) == (False, False)


@pytest.mark.browser
def test_own_values_are_marked_and_each_can_be_reset_and_found(services, address):
    services.change_settings({"max_frames": 16, "seed": 5, "prompt": "Mine."})
    with open_browser(address) as (page, expect):
        open_tab(page, advanced=False)
        expect(page.locator("#settings-advanced summary")).to_have_text("Advanced2 changed")
        expect(page.locator("#set-seed input")).to_be_hidden()
        expect(page.locator(".field.own:visible")).to_have_count(2)  # the frames, and the model of the tests
        expect(page.locator("#field-prompt_name")).to_have_class(re.compile("unused"))
        page.get_by_role("button", name="Reset Frames per clip").click()
        expect(page.locator("#set-max-frames input")).to_have_value("32")
        expect(page.locator("#set-max-frames input")).to_be_focused()
        expect(page.locator("#settings-bar .state")).to_have_text("1 unsaved change")
        page.get_by_role("searchbox", name="Search settings").fill("same seed")
        expect(page.locator("#set-seed input")).to_be_visible()
        expect(page.locator(".field:visible")).to_have_count(1)
        page.get_by_role("button", name="Reset Seed").click()
        page.locator("#set-seed input").press("Enter")
        expect(page.locator("#settings-bar .state")).to_have_text("Everything is saved")
        assert kept(services) == {"prompt": "Mine."}
        page.get_by_role("searchbox", name="Search settings").fill("zebra")
        expect(page.locator(".settings-none")).to_be_visible()
        page.get_by_role("searchbox", name="Search settings").fill("")
        expect(page.locator(".settings-none")).to_be_hidden()
        expect(page.locator(".field:visible")).to_have_count(len(FIELDS))
