"""The page without its model: views, the shelf, the handlers, the pictures, and hostile names in a real browser."""

import json
from dataclasses import replace
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import pytest
from chromium import open_browser
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from captioner import events as facts
from captioner.errors import CaptionerError, FolderError
from captioner.events import Progress, ReplicaProgress
from captioner.presets import find_preset
from captioner.prompts import Prompt
from captioner.services import Services
from captioner.settings import Settings
from captioner.ui import layout, views
from captioner.ui.gallery import start_button
from captioner.ui.pictures import PREFIX, picture_routes
from captioner.ui.settings_tab import ELSEWHERE, FIELDS, field_kind
from captioner.ui.shelf import PAGE_SIZE, Counts, Shelf, Tile
from captioner.ui.wiring import only_changed, shown

HOSTILE = ["<script>alert(1)</script>", "${alert(1)}", "{{x}}", '"><img src=x onerror=alert(1)>', "a & b's"]


def picture(path: Path, colour: str = "red") -> Path:
    Image.new("RGB", (64, 48), colour).save(path)
    return path


@pytest.fixture
def services(tmp_path):
    with Services(tmp_path / "state", {"model": "demo"}) as services:
        yield services


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three pictures; the first has a caption, the third a blank one."""
    folder = tmp_path / "media"
    folder.mkdir()
    for name in ("a", "b", "c"):
        picture(folder / f"{name}.png")
    (folder / "a.txt").write_text("An old caption.")
    (folder / "c.txt").write_text("  ")
    return folder


@pytest.fixture
def page(services, folder) -> layout.Page:
    return layout.Page(services, folder)


def event(id: str) -> gr.EventData:
    return gr.EventData(None, {"id": id})


def tile_ids(page: layout.Page) -> list[str]:
    return [tile.id for tile in page.shelf.show("All", 0).tiles]


class TestViews:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_text_from_outside_is_escaped_everywhere(self, name, page):
        item = page.shelf.show("All", 0).tiles[0].item._replace(name=name)
        tile = Tile("1/0", item, "failed", name, name, 3, name)
        progress = Progress(
            job=1, stage="failed", reason=name, model=name, total=2, failed=1, running=((name, 5),),
            replicas=(ReplicaProgress(name, "lost", name, ((name, name),), (name,)),), failures=((name, name),),
        )  # fmt: skip
        parts = [
            views.status(progress, 1.0),
            views.status(replace(progress, stage="loading", bytes_total=9), 1.0),
            views.report(progress),
            views.counts(Counts(1, 1, 0, 0), [name]),
            views.tiles([tile, replace(tile, problem=""), replace(tile, state="running")], "p", "1/0", name),
            views.tiles([], "p", "", name),
            views.details(tile, "p", name),
            views.model_note(replace(find_preset("demo"), title=name, notes=name), name),
            views.prompts([Prompt(name, name)], name, name),
            views.problem(name),
        ]
        for part in parts:
            assert views.escape(name) in part
            assert name not in part or name == views.escape(name)

    def test_names_that_are_no_text_can_be_shown(self):
        assert views.escape("half \udce4 character") == "half ? character"

    def test_status_says_what_goes_on(self):
        loading = Progress(job=1, stage="loading", model="M", total=4, bytes_done=1_500_000, bytes_total=3_000_000)
        assert "Downloading M: 1.5 MB of 3.0 MB" in views.status(loading, 0)
        assert "width:50.0%" in views.status(loading, 0)
        assert "Loading M" in views.status(replace(loading, bytes_total=0), 0)
        running = Progress(
            job=1, stage="running", total=4, done=1, skipped=1, failed=1, tokens_per_s=12.4, started_s=100, eta_s=65,
            running=(("a.mp4", 1), ("b.mp4", 30)), failures=(("bad.mp4", "file is empty"),),
            replicas=(ReplicaProgress("cuda:0", "ready", "", (), ("a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4")),),
        )  # fmt: skip
        text = views.status(running, now_s=3825)
        for part in ("Captioning", "1 / 4", "1:02:05", "~1:05", "width:75.0%", "bad.mp4", "file is empty"):
            assert part in text
        assert "b.mp4 (30 tokens) · a.mp4 (1 token) · c.mp4 · 2 more" in text
        assert "Failed: no model" in views.status(Progress(stage="failed", reason="no model"), 0)
        assert "Starting" in views.status(Progress(queued_jobs=1), 0)
        assert "Model loaded" in views.status(Progress(stage="done", replicas=running.replicas), 0)

    def test_sizes_and_times_read_well(self):
        assert [views.size(n) for n in (0, 999, 1000, 22_470, 3.2e9, 5e13)] == [
            "0 B", "999 B", "1.0 KB", "22.5 KB", "3.2 GB", "50000.0 GB",
        ]  # fmt: skip
        assert [views.clock(s) for s in (-1, 0, 59.6, 3600)] == ["0:00", "0:00", "1:00", "1:00:00"]


class TestWiring:
    def test_only_what_changed_is_sent(self):
        cursor, *first = only_changed("", ["a", gr.update(value=1)])
        assert first == ["a", gr.update(value=1)]
        cursor, *second = only_changed(cursor, ["a", gr.update(value=2)])
        assert second == [gr.skip(), gr.update(value=2)]
        assert only_changed("of another version", ["a"])[1] == "a"

    def test_errors_become_toasts_with_their_message_escaped(self):
        @shown
        def fail() -> None:
            raise CaptionerError("no such folder: <b>x</b>")

        with pytest.raises(gr.Error, match="no such folder: &lt;b&gt;x&lt;/b&gt;"):
            fail()


class TestShelf:
    def test_counts_and_filters_follow_the_files_and_the_events(self, services, folder):
        shelf = Shelf(services)
        shelf.open(folder, recursive=False)
        assert shelf.counts() == Counts(3, 2, 1, 0)
        assert [t.text for t in shelf.show("All", 0).tiles] == ["An old caption.", "", ""]
        assert shelf.counts() == Counts(3, 1, 2, 0)  # the blank one was noticed
        about = {"job": 1, "item": "b.png", "path": folder / "b.png"}
        services.events.append(facts.ItemStarted(**about, replica="cpu"))
        services.events.append(facts.ItemProgress(**about, tokens=7))
        tile = shelf.show("All", 0).tiles[1]
        assert (tile.state, tile.tokens) == ("running", 7)
        (folder / "b.txt").write_text("New.")
        services.events.append(facts.ItemDone(**about, caption="New.", tokens=9, seconds=1, replica="cpu"))
        services.events.append(facts.ItemFailed(job=1, item="c.png", path=folder / "c.png", reason="cut off"))
        assert [t.item.name for t in shelf.show("Captioned", 0).tiles] == ["a.png", "b.png"]
        assert [(t.text, t.problem) for t in shelf.show("Failed", 0).tiles] == [("", "cut off")]
        assert shelf.show("Pending", 0).tiles == ()
        assert shelf.uncaptioned() == ["c.png"]

    def test_events_of_another_folder_are_not_mistaken(self, services, folder, tmp_path):
        shelf = Shelf(services)
        shelf.open(folder, recursive=False)
        other = {"job": 1, "item": "b.png", "path": tmp_path / "other" / "b.png"}
        services.events.append(facts.ItemFailed(**other, reason="no"))
        assert shelf.counts().failed == 0

    def test_a_gap_in_the_events_makes_it_look_at_the_files(self, services, folder, monkeypatch):
        shelf = Shelf(services)
        shelf.open(folder, recursive=False)
        (folder / "b.txt").write_text("Written while nobody looked.")
        services.events.append(facts.ModelLoading(model="M"))
        services.events.append(facts.ModelLoading(model="M"))
        monkeypatch.setattr(services.events, "since", lambda cursor, since=services.events.since: since(cursor)[-1:])
        assert shelf.uncaptioned() == []

    def test_ids_of_a_folder_that_is_no_longer_open_name_nothing(self, services, folder, tmp_path):
        shelf = Shelf(services)
        shelf.open(folder, recursive=False)
        old = shelf.show("All", 0).tiles[0].id
        (tmp_path / "empty").mkdir()
        shelf.open(tmp_path / "empty", recursive=False)
        for bad in (old, "", "x", "1/-1", "1/²", "../../etc/passwd"):
            assert shelf.find(bad) is None

    def test_pages_are_clamped(self, services, tmp_path):
        for i in range(PAGE_SIZE + 1):
            (tmp_path / f"{i}.png").write_bytes(b"")
        shelf = Shelf(services)
        shelf.open(tmp_path, recursive=False)
        last = shelf.show("All", 99)
        assert (last.page, last.num_pages, len(last.tiles)) == (1, 2, 1)
        assert shelf.show("Captioned", 1).page == 0


class TestGallery:
    def test_open_folder_is_kept_for_the_next_start(self, page, services, tmp_path):
        (tmp_path / "other").mkdir()
        picture(tmp_path / "other" / "x.png")
        page.gallery.open_folder(f" {tmp_path / 'other'} ", True)
        assert services.settings.folder == tmp_path / "other"
        kept = json.loads((services.folder / "settings.json").read_text())
        assert kept == {"folder": str(tmp_path / "other"), "recursive": True}

    def test_a_folder_that_is_not_there_is_said_and_changes_nothing(self, page, folder):
        with pytest.raises(gr.Error, match="no such folder"):
            page.gallery.open_folder("/no/such/folder", False)
        assert page.shelf.folder == folder

    def test_saving_writes_the_file_that_the_text_belongs_to(self, page, folder):
        first, second, _ = tile_ids(page)
        loaded, box = page.gallery.save_caption(f"{first}\nAn old caption.", "By\nhand.")
        assert (loaded, box) == (f"{first}\nBy hand.", "By hand.")
        assert (folder / "a.txt").read_text() == "By hand."
        assert page.gallery.pick(loaded, box, event(second)) == (second, loaded)
        assert not (folder / "b.txt").exists()

    def test_an_edit_that_was_not_saved_is_kept_when_another_file_is_picked(self, page, folder):
        first, second, _ = tile_ids(page)
        picked, _ = page.gallery.pick(f"{first}\nAn old caption.", "Edited.", event(second))
        assert picked == second
        assert (folder / "a.txt").read_text() == "Edited."
        assert page.services.captions.history(folder / "a.txt")[0].text == "An old caption."

    def test_saving_into_a_folder_that_was_closed_is_refused(self, page, tmp_path):
        with pytest.raises(gr.Error, match="no longer open"):
            page.gallery.save_caption("1/0\nold", "new")

    def test_start_button_says_what_it_would_do(self):
        counts = Counts(total=5, captioned=3, pending=1, failed=1)
        assert start_button(counts, False, "skip") == {"value": "Caption 2 items", "interactive": True}
        assert start_button(counts, True, "skip")["interactive"] is False
        assert start_button(counts, False, "overwrite")["value"] == "Caption 5 items (overwrite)"
        assert start_button(Counts(3, 3, 0, 0), False, "skip") == {"value": "Nothing to caption", "interactive": False}
        assert start_button(Counts(3, 2, 0, 1), False, "skip")["value"] == "Retry 1 item"
        assert start_button(None, False, "skip")["interactive"] is False

    def test_a_second_start_is_refused_while_a_job_waits_or_runs(self, page, services):
        services.events.append(facts.JobQueued(job=1, total=1))
        with pytest.raises(gr.Error, match="running already"):
            page.gallery.start()

    def test_start_without_a_folder_is_said(self, services):
        with pytest.raises(gr.Error, match="open a folder first"):
            layout.Page(services).gallery.start()


class TestSettings:
    def test_every_setting_has_a_control(self):
        assert {*FIELDS, *ELSEWHERE} == set(Settings.model_fields)
        assert len(FIELDS) == len(set(FIELDS))
        assert field_kind("temperature") == (float, True)
        assert field_kind("devices") == (tuple, False)
        assert field_kind("models_folder") == (Path, True)
        assert field_kind("compile") == (bool, False)

    def values(self, page, **changes):
        filled = dict(zip(FIELDS, page.form.fill(), strict=False))
        filled["prompt_name"] = page.services.settings.prompt_name
        return list({**filled, **changes}.values())

    def test_only_what_differs_is_kept(self, page, services):
        page.form.save(*self.values(page))
        assert not (services.folder / "settings.json").exists()
        page.form.save(*self.values(page, max_frames=16, devices="cpu, cpu", temperature=0.5, seed=0))
        assert services.settings.devices == ("cpu", "cpu")
        assert services.settings.model == "demo"
        kept = json.loads((services.folder / "settings.json").read_text())
        assert kept == {"max_frames": 16, "devices": ["cpu", "cpu"], "temperature": 0.5}

    def test_an_emptied_field_goes_back_to_its_default(self, page, services):
        page.form.save(*self.values(page, max_frames=16, temperature=0.5, models_folder="/models"))
        page.form.save(*self.values(page, max_frames=None, temperature=None, models_folder=""))
        assert (services.settings.max_frames, services.settings.temperature) == (32, None)
        assert services.settings.models_folder is None
        assert json.loads((services.folder / "settings.json").read_text()) == {}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"max_frames": 5000}, "from 2 to 1024"),
            ({"devices": "tpu"}, "cuda:N"),
        ],
    )
    def test_a_bad_value_is_said_and_changes_nothing(self, page, services, change, message):
        before = services.settings
        with pytest.raises(gr.Error, match=message):
            page.form.save(*self.values(page, **change))
        assert services.settings is before

    def test_the_form_is_left_alone_while_nothing_changed(self, page, services):
        *_, filled = page.form.fill()
        assert page.form.fill(filled) == [gr.skip()] * (len(FIELDS) + 1)
        services.change_settings({"seed": 5})
        assert page.form.fill(filled)[FIELDS.index("seed")] == 5

    def test_the_note_under_the_model_says_what_it_needs(self, page):
        assert "21 GB" in page.form.describe_model("qwen3-vl-8b")
        assert "toy world" in page.form.describe_model("demo")
        assert "unknown model" in page.form.describe_model("<b>")
        assert "&lt;b&gt;" in page.form.describe_model("<b>")

    def test_a_demo_model_and_a_missing_cuda_are_noticed(self):
        assert views.notices(False, False) == ""
        assert "toy world" in views.notices(True, False)
        assert "without CUDA" in views.notices(False, True)


class TestPrompts:
    def test_own_prompts_are_made_changed_used_and_deleted(self, page, services):
        desk = page.desk
        name = desk.save("", "Mine", "Say it.")
        assert services.prompts.get("Mine").text == "Say it."
        assert desk.save(name, "Ours", "Say more.") == "Ours"
        assert desk.use("Ours") == "Ours"
        assert desk.save("Ours", "Theirs", "Say more.") == "Theirs"
        assert services.settings.prompt_name == "Theirs"  # a renamed prompt stays in use
        assert services.prompt_text() == "Say more."
        assert desk.delete("Theirs", "") == "Theirs"
        assert desk.delete("Theirs", "Theirs") == services.settings.prompt_name == "Detailed"

    def test_built_in_prompts_can_be_copied_but_not_changed(self, page):
        chosen, _, name, text, save, delete = page.desk.choose("Short")
        assert chosen == "Short"
        assert not any(update["interactive"] for update in (name, text, save, delete))
        with pytest.raises(gr.Error, match="built-in"):
            page.desk.save("Short", "Short", "Longer.")
        assert page.desk.duplicate("Short") == "Short copy"
        assert all(update["interactive"] for update in page.desk.choose("Short copy")[2:])

    def test_using_a_prompt_clears_the_text_that_would_win_over_it(self, page, services):
        services.change_settings({"prompt": "My own."})
        assert "in use" not in page.desk.list("Short")
        page.desk.use("Short")
        assert services.prompt_text() == services.prompts.get("Short").text
        assert "in use" in page.desk.list("Short")


class TestPage:
    def test_a_second_pulse_sends_nothing(self, page):
        page_number, cursor, *first = page.pulse("", "", "All", 0)
        assert page_number == gr.skip()
        assert gr.skip() not in first
        _, again, *second = page.pulse(cursor, "", "All", 0)
        assert again == cursor
        assert second == [gr.skip()] * len(first)

    def test_no_endpoint_is_public(self, services):
        blocks, _ = layout.build(services)
        info = blocks.get_api_info()
        assert (info["named_endpoints"], info["unnamed_endpoints"]) == ({}, {})

    def test_a_bad_folder_is_an_error_at_once(self, services, tmp_path):
        with pytest.raises(FolderError, match="no such folder"):
            layout.build(services, tmp_path / "missing")


class TestPictures:
    @pytest.fixture
    def client(self, page) -> TestClient:
        app = FastAPI()
        app.include_router(picture_routes(page.services, page.shelf))
        return TestClient(app)

    def test_thumbnails_and_sheets_are_jpegs(self, client, page):
        tile_id = tile_ids(page)[0]
        for kind in ("thumb", "sheet"):
            answer = client.get(f"{PREFIX}/{kind}/{tile_id}")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert page.shelf.find(tile_id).info == "64×48 · png · seen as 1 frame of 64×64"

    def test_a_broken_file_gives_a_stand_in_and_the_reason(self, client, page, folder):
        (folder / "b.png").write_bytes(b"not a picture")
        tile_id = tile_ids(page)[1]
        answer = client.get(f"{PREFIX}/thumb/{tile_id}")
        assert answer.headers["content-type"] == "image/svg+xml"
        assert "not a readable picture" in page.shelf.find(tile_id).problem

    def test_unknown_ids_are_not_found(self, client):
        for path in ("thumb/1/0", "sheet/1/99", "thumb/..%2f..%2fetc/passwd"):
            assert client.get(f"{PREFIX}/{path}").status_code == 404


@pytest.fixture
def served(services, tmp_path):
    """The address of the page on a folder with hostile names and one broken file."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for number, name in enumerate(HOSTILE):
        file = picture(folder / f"{number} {name.replace('/', '')}.png")
        file.with_suffix(".txt").write_text(name)
    (folder / "broken.png").write_bytes(np.random.default_rng(1).bytes(100))
    services.prompts.create(HOSTILE[0], HOSTILE[1])
    blocks, page = layout.build(services, folder)
    yield layout.launch(blocks, page)
    blocks.close(verbose=False)


def test_only_this_machines_own_names_are_served(served):
    assert httpx.get(served).status_code == 200
    assert httpx.get(served, headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.browser
def test_hostile_names_do_nothing_in_a_browser(served):
    with open_browser(served) as (page, expect):
        expect(page.locator(".tile")).to_have_count(len(HOSTILE) + 1)
        for number, name in enumerate(HOSTILE):
            page.locator(".tile").nth(number).click()
            expect(page.locator("#caption textarea")).to_have_value(name)
            expect(page.locator(".details h3")).to_contain_text(f"{number} {name.replace('/', '')}")
        expect(page.locator(".tile .text.bad")).to_contain_text("not a readable picture")
        page.locator("#folder textarea, #folder input").fill("/no/such/<img src=x onerror=alert(1)>")
        page.locator("#open-folder").click()
        expect(page.locator(".toast-body").first).to_contain_text("no such folder: /no/such/<img")
        page.get_by_role("tab", name="Prompts").click()
        page.locator(".prompts button").last.click()
        expect(page.locator("#prompt-text textarea")).to_have_value(HOSTILE[1])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
