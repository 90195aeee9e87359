"""A real Chromium for the tests marked `browser`."""

import asyncio
import atexit
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

CHROMIUM = Path("/usr/bin/chromium")
# Chromium 156 adds its own controls to every new window, which take more CPU time than the page does.
LIGHT_WINDOWS = "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    LIGHT_WINDOWS,
)
TIMEOUT_MS = 20_000
STUCK_S = 200.0  # Playwright waits for ever for a page whose script does not come back


@dataclass
class _Shared:
    """Playwright, its browser, and the loop that it runs in."""

    playwright: Any
    browser: Any
    loop: asyncio.AbstractEventLoop
    num_tasks: int = 0  # of the loop, without any page


_shared: list[_Shared] = []  # of this process: one at most


@contextlib.contextmanager
def open_browser(
    address: str, width: int = 1280, height: int = 720, found: list[str] | None = None
) -> Iterator[tuple[Any, Callable]]:
    """Open a page; gives it and Playwright's `expect`. At the end it must have shown no error and no dialog.

    found: takes the errors and dialogs, if there may be some. Skips the test when Playwright or Chromium is missing.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    troubles: list[str] = [] if found is None else found
    watchdog = threading.Timer(STUCK_S, _end_browsers)
    watchdog.daemon = True
    watchdog.start()
    with contextlib.ExitStack() as stack, _browser(sync_api) as browser:
        stack.callback(watchdog.cancel)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(TIMEOUT_MS)
        sync_api.expect.set_options(timeout=TIMEOUT_MS)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text) if _is_trouble(message) else None)
        page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
        page.goto(address)
        page.wait_for_selector(".early", state="detached")  # the first files, before the page is there
        yield page, sync_api.expect
    assert found is not None or troubles == [], troubles


@contextlib.contextmanager
def _browser(sync_api: ModuleType) -> Iterator[Any]:
    """Give the Chromium of this process without any page; the next test gets a new one if this one fails."""
    if _shared:
        asyncio._set_running_loop(_shared[0].loop)
    else:
        context_manager = sync_api.sync_playwright()
        playwright = context_manager.__enter__()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        loop = asyncio.get_running_loop()
        _shared.append(_Shared(context_manager, browser, loop, len(asyncio.all_tasks(loop))))
    try:
        yield _shared[0].browser
        for context in _shared[0].browser.contexts:
            context.close()
        if len(asyncio.all_tasks(_shared[0].loop)) > _shared[0].num_tasks:
            close_browser()  # which cancels them: requests that the test left without an answer
    except BaseException:
        close_browser()
        raise
    finally:
        asyncio._set_running_loop(None)  # which Playwright leaves, and other tests run loops of their own


@atexit.register
def close_browser() -> None:
    """End the Chromium of this process, if there is one."""
    if _shared:
        shared = _shared.pop()
        asyncio._set_running_loop(shared.loop)
        shared.playwright.__exit__(None, None, None)


def _end_browsers() -> None:
    """The test that waits for one of them fails then, instead of never ending. Without one, Playwright is stuck."""
    children = psutil.Process().children(recursive=True)
    if not _kill(children, "chrom"):
        _kill(children, "node")


def _kill(processes: Iterable[psutil.Process], name: str) -> int:
    """Kill the processes with `name` in their names, and return how many there were."""
    num_killed = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if name in process.name():
                process.kill()
                num_killed += 1
    return num_killed


def _is_trouble(message: Any) -> bool:
    """Return True for an error. A lone tab does not answer whether it is reached, and a host may lack an icon.

    The status 409 tells a page, which may have asked a moment too early, that another folder was opened.
    """
    is_expected = message.location.get("url", "").endswith(("/vcs/reach", "/favicon.ico")) or "409" in message.text
    return message.type == "error" and not is_expected
