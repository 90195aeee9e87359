"""The app is started again while its page is open: the page goes on where it was, and what is typed is kept."""

import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from captioner.demo.clips import write_samples
from tests.support.chromium import open_browser
from tests.support.web_page import LOGIN
from tests.ui.server.test_behind_nginx import CONFIG, GUIDE, NGINX, wait_for
from tests.ui.test_app import interrupt, running_app

pytestmark = pytest.mark.browser

STAYED = "window.stayed"  # is lost if the page is loaded again
AWAY = "The app cannot be reached"
TICK_MS = 2500  # the slowest of the page's timers


@pytest.fixture
def start(tmp_path, monkeypatch) -> Callable:
    """Start the app on two clips and a picture, at the same port each time."""
    monkeypatch.setenv("CAPTIONER_MODEL", "demo")
    write_samples(tmp_path / "clips", num_clips=2, num_stills=1)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def start(login: str = "", *options: object) -> contextlib.AbstractContextManager:
        monkeypatch.setenv("CAPTIONER_LOGIN", login)
        return running_app(tmp_path / "clips", "--state", tmp_path / "state", "--port", port, *options)

    return start


@contextlib.contextmanager
def opened(address: str, found: list[str], has_login: bool = False) -> Iterator[tuple]:
    """Give a page with its files."""
    with open_browser(address, found=found) as (page, expect):
        if has_login:
            log_in(page)
        expect(page.locator("#grid .grid-tile")).to_have_count(3)
        page.evaluate(f"{STAYED} = true")
        yield page, expect


def log_in(page, name: str = LOGIN[0], password: str = LOGIN[1]) -> None:
    page.locator("input").first.fill(name)
    page.locator("input[type=password]").fill(password)
    page.get_by_role("button", name="Log in").click()


def log_in_again(page, expect, password: str = LOGIN[1]) -> None:
    form = page.locator(".login-again")
    form.locator("input").first.fill(LOGIN[0])
    form.locator("input[type=password]").fill(password)
    form.get_by_role("button", name="Log in").click()
    expect(form).to_have_count(0)


def type_everywhere(page, expect) -> None:
    """Leave unsaved texts in all parts of the page, a filter, a selection and an opened file; end in Prompts."""
    page.get_by_role("tab", name="Settings").click()
    expect(page.locator("#field-max_frames input")).to_have_value("32")  # the form is filled
    page.locator("#field-max_frames input").fill("24")
    expect(page.locator("#settings-bar .state")).to_have_text("1 unsaved change")
    page.get_by_role("tab", name="Gallery").click()
    page.locator(".grid-search input").fill("clip")
    expect(page.locator(".grid-tile")).to_have_count(2)
    page.locator(".grid-tile").nth(1).click()
    expect(page.locator("#panel .panel-title h3")).to_have_text("clip 02.mp4")
    page.locator("#panel textarea").fill("Not saved yet.")
    page.locator(".grid-tile .grid-check").first.click()
    page.get_by_role("tab", name="Prompts").click()
    page.get_by_role("button", name="New prompt").click()
    expect(page.locator("#prompt-name input")).to_have_value("")
    page.locator("#prompt-name input").fill("Mine")
    page.locator("#prompt-text textarea").fill("Say it.")
    expect(page.locator("#prompts")).to_have_attribute("data-dirty", "1")


def expect_everything(page, expect) -> None:
    expect(page.get_by_role("tab", name="Prompts")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#prompt-name input")).to_have_value("Mine")
    expect(page.locator("#prompt-text textarea")).to_have_value("Say it.")
    page.get_by_role("tab", name="Gallery").click()
    expect(page.locator(".grid-search input")).to_have_value("clip")
    expect(page.locator(".grid-tile")).to_have_count(2)
    expect(page.locator(".caption-shown")).to_have_text("2 shown")
    expect(page.locator(".grid-selected")).to_have_text("1 selected")
    expect(page.locator("#panel .panel-title h3")).to_have_text("clip 02.mp4")
    expect(page.locator("#panel textarea")).to_have_value("Not saved yet.")
    page.get_by_role("tab", name="Settings").click()
    expect(page.locator("#field-max_frames input")).to_have_value("24")
    expect(page.locator("#settings-bar .state")).to_have_text("1 unsaved change")


def save_everything(page, expect, folder: Path) -> None:
    """Everything that was typed can be saved, so the page works."""
    page.locator("#save-settings").click()
    expect(page.locator("#settings-bar .state")).to_have_text("Everything is saved")
    page.get_by_role("tab", name="Prompts").click()
    page.locator("#save-prompt").click()
    expect(page.locator("#prompt-list [aria-pressed=true] b")).to_have_text("Mine")
    page.get_by_role("tab", name="Gallery").click()
    page.locator("#panel textarea").press("Control+s")
    expect(page.locator(".grid-tile p").nth(1)).to_have_text("Not saved yet.")
    assert (folder / "clip 02.txt").read_text() == "Not saved yet."


def test_an_open_page_asks_for_the_login_and_goes_on_where_it_was(start, tmp_path):
    found: list[str] = []
    with start(":".join(LOGIN)) as (app, address), opened(address, found, True) as (page, expect):
        type_everywhere(page, expect)
        interrupt(app)
        expect(page.locator(".unreachable")).to_contain_text(AWAY)
        with start(":".join(LOGIN)):
            form = page.locator(".login-again")
            form.locator("input[type=password]").fill("wrong")
            form.locator("input").first.fill(LOGIN[0])
            form.get_by_role("button", name="Log in").click()
            expect(form.locator(".problem")).to_have_text("Wrong username or password.")
            for _ in range(2):
                page.keyboard.press("Escape")
            log_in_again(page, expect)
            expect(page.locator(".unreachable")).to_have_count(0)
            page.wait_for_timeout(TICK_MS)
            expect_everything(page, expect)
            save_everything(page, expect, tmp_path / "clips")
            assert page.evaluate(STAYED)
    assert len(found) < 20, found


def test_an_open_page_without_a_login_goes_on(start, tmp_path):
    found: list[str] = []
    with start() as (app, address), opened(address, found) as (page, expect):
        type_everywhere(page, expect)
        interrupt(app)
        expect(page.locator(".unreachable")).to_contain_text(AWAY)
        page.locator("#use-prompt").click()  # says that it was not done
        expect(page.locator(".toast-body")).to_contain_text(AWAY)
        page.wait_for_timeout(3 * TICK_MS)
        assert page.locator(".unreachable").count() == 1
        with start():
            expect(page.locator(".unreachable")).to_have_count(0)
            assert page.evaluate(STAYED)
            expect_everything(page, expect)
            save_everything(page, expect, tmp_path / "clips")
            assert page.evaluate(STAYED)
    assert len(found) < 20, found


def test_a_page_that_is_loaded_again_comes_back_through_the_login_to_where_it_was(start, tmp_path):
    found: list[str] = []
    with start(":".join(LOGIN)) as (app, address), opened(address, found, True) as (page, expect):
        type_everywhere(page, expect)
        interrupt(app)
        with start("other:another password"):
            page.reload()
            log_in(page, "other", "another password")
            expect_everything(page, expect)
            save_everything(page, expect, tmp_path / "clips")


def test_a_page_from_before_an_update_says_so_and_keeps_what_was_typed(start, tmp_path):
    found: list[str] = []
    with start() as (_, address), opened(address, found) as (page, expect):
        type_everywhere(page, expect)
        page.evaluate("document.querySelector('meta[name=page-version]').content = 'old'")
        notice = page.locator(".unreachable")
        expect(notice).to_contain_text("The app was updated. Reload the page")
        page.locator("#save-prompt").click()
        expect(page.locator(".toast-body")).to_contain_text("The app was updated")
        stored = tmp_path / "state" / "prompts.json"
        assert not stored.exists() or "Mine" not in stored.read_text("utf-8")
        notice.get_by_role("button", name="Reload").click()
        expect_everything(page, expect)
        expect(notice).to_have_count(0)


def test_two_tabs_need_one_login(start):
    found: list[str] = []
    with start(":".join(LOGIN)) as (_, address), opened(address, found, True) as (page, expect):
        context = page.context.browser.new_context()
        page, other = context.new_page(), context.new_page()
        page.goto(address)
        log_in(page)
        expect(page.locator("#grid .grid-tile")).to_have_count(3)
        page.evaluate(f"{STAYED} = true")
        other.goto(address)
        expect(other.locator("#grid .grid-tile")).to_have_count(3)
        context.clear_cookies()
        for tab in (page, other):
            tab.bring_to_front()
            expect(tab.locator(".login-again")).to_be_visible()
        log_in_again(other, expect)
        expect(page.locator(".login-again")).to_have_count(0)
        assert page.evaluate(STAYED)


def test_an_action_in_the_middle_of_which_the_app_ends_fails_alone(start, tmp_path, monkeypatch):
    found: list[str] = []
    with start() as (app, address), opened(address, found) as (page, expect):
        page.route("**/queue/data*", lambda route: (interrupt(app), route.continue_()))
        page.locator(".grid-tile").first.click()
        page.locator("#panel textarea").fill("Not saved yet.")
        page.locator("#panel textarea").press("Control+s")
        expect(page.locator(".toast-body")).to_contain_text(AWAY)
        page.unroute_all()
        with start():
            expect(page.locator(".unreachable")).to_have_count(0)
            expect(page.locator("#panel textarea")).to_have_value("Not saved yet.")
            assert page.evaluate(STAYED)


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_a_page_behind_nginx_which_answers_for_the_app_goes_on(start, tmp_path):
    found: list[str] = []
    with start(":".join(LOGIN), "--root-path", "/captions") as (app, upstream):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        text = CONFIG.format(folder=tmp_path, port=port, path="/captions/", upstream=upstream, headers=GUIDE)
        (tmp_path / "nginx.conf").write_text(text)
        nginx = subprocess.Popen([NGINX, "-c", tmp_path / "nginx.conf"], stderr=subprocess.DEVNULL)
        address = f"http://127.0.0.1:{port}/captions/"
        try:
            wait_for(address)
            with opened(address, found, True) as (page, expect):
                page.locator(".grid-tile").first.click()
                page.locator("#panel textarea").fill("Not saved yet.")
                interrupt(app)
                expect(page.locator(".unreachable")).to_contain_text(AWAY)
                page.locator("#panel textarea").press("Control+s")
                expect(page.locator(".toast-body")).to_contain_text(AWAY)
                with start(":".join(LOGIN), "--root-path", "/captions"):
                    log_in_again(page, expect)
                    expect(page.locator("#panel textarea")).to_have_value("Not saved yet.")
                    page.locator("#panel textarea").press("Control+s")
                    expect(page.locator(".grid-tile p").first).to_have_text("Not saved yet.")
                    assert page.evaluate(STAYED)
        finally:
            nginx.terminate()
            nginx.wait()


def test_what_was_begun_when_the_login_had_ended_is_done_after_the_next(start):
    found: list[str] = []
    with start(":".join(LOGIN)) as (_, address), opened(address, found, True) as (page, expect):
        page.locator(".grid-tile").first.click()
        page.locator("#panel textarea").fill("Not saved yet.")
        for background in ("**/vcs/pulse", "**/run/predict*"):
            page.route(background, lambda route: None)  # no answer yet, so that saving is the first to be refused
        page.wait_for_timeout(TICK_MS)
        page.context.clear_cookies()
        page.locator("#panel textarea").press("Control+s")
        log_in_again(page, expect)
        expect(page.locator(".grid-tile p").first).to_have_text("Not saved yet.")
        assert page.evaluate(STAYED)


def test_the_form_ends_when_the_app_has_no_login_any_more(start):
    found: list[str] = []
    with start(":".join(LOGIN)) as (app, address), opened(address, found, True) as (page, expect):
        interrupt(app)
        form = page.locator(".login-again")
        with start(":".join(LOGIN)) as (app, _):
            expect(form).to_be_visible()
            interrupt(app)
        form.locator("input").first.fill(LOGIN[0])
        form.locator("input[type=password]").fill(LOGIN[1])
        form.get_by_role("button", name="Log in").click()
        expect(form.locator(".problem")).to_have_text("The app cannot be reached.")
        with start():
            form.get_by_role("button", name="Log in").click()
            expect(form).to_have_count(0)
            expect(page.locator(".unreachable")).to_have_count(0)
            page.locator(".grid-tile").nth(1).click()  # at once, before the page has the new list
            expect(page.locator("#panel .panel-title h3")).to_have_text("clip 02.mp4")
            assert page.evaluate(STAYED)
