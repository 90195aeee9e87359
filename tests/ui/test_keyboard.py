"""Everything that a mouse can do, done by keyboard in a real browser: the focus is never lost and always visible."""

import re

import pytest

from captioner.demo.clips import write_samples
from captioner.services import Services
from captioner.system.roots import Roots
from captioner.ui.launch import launch
from captioner.ui.page import build
from tests.support.chromium import open_browser

MODEL_TIMEOUT_MS = 90_000
MOST_STOPS = 60
# A ring of the element itself, or one that a frame around it draws.
STOP_JS = """selector => {
  const element = document.activeElement;
  const isFound = element.matches(selector);
  if (element === document.body) return [false, true];
  for (let each = element, level = 0; each && level < 3; each = each.parentElement, level++) {
    const {outlineStyle, outlineWidth, boxShadow} = getComputedStyle(each);
    if (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0 || boxShadow !== 'none') return [isFound, true];
  }
  const label = element.nextElementSibling;
  return [isFound, Boolean(label) && getComputedStyle(label).outlineStyle !== 'none'];
}"""
FOCUSED_JS = "document.activeElement.outerHTML.slice(0, 120)"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Give the address of a page with no folder open, a folder of two clips and two stills, and the services."""
    folder = tmp_path_factory.mktemp("media")
    write_samples(folder, num_clips=2, num_stills=2)
    settings = {"model": "qwen3-vl-2b", "devices": ("cpu",), "max_frames": 2}
    with Services(tmp_path_factory.mktemp("state"), settings, Roots([folder])) as services:
        services.prompts.create("Mine", "Say it in a few words.")
        blocks, page = build(services, samples=write_samples, allow_delete=True)
        yield launch(blocks, page), folder, services
        blocks.close(verbose=False)


class Keyboard:
    """Presses keys, and moves with Tab alone; notes which elements had the focus and no visible ring."""

    def __init__(self, page, expect) -> None:
        self._page, self._expect, self.invisible = page, expect, set()

    def press(self, *keys: str) -> None:
        for key in keys:
            self._page.keyboard.press(key)

    def type(self, text: str) -> None:
        self.press("Control+a")
        self._page.keyboard.type(text)

    def to(self, selector: str, back: bool = False) -> None:
        """Press Tab until what the selector finds has the focus."""
        for _ in range(MOST_STOPS):
            is_found, is_visible = self._page.evaluate(STOP_JS, selector)
            if not is_visible:
                self.invisible.add(self._page.evaluate(FOCUSED_JS))
            if is_found:
                break
            self.press("Shift+Tab" if back else "Tab")
        self._expect(self._page.locator(selector).first).to_be_focused()

    def opens(
        self, button: str, dialog: str, key: str = "Enter", is_read: bool = False, takes_focus: bool = False
    ) -> None:
        """The key on the button opens the dialog, and Esc closes it and gives the focus back.

        is_read: no fields. takes_focus: it moves the focus into itself once it is filled.
        """
        self.to(button)
        self.press(key)
        self._expect(self._page.locator(dialog)).to_be_visible()
        inside = f"document.querySelector({dialog!r}).contains(document.activeElement)"
        if takes_focus:
            self._page.wait_for_function(inside)
        elif not is_read and not self._page.evaluate(inside):
            self.press("Tab")
        assert is_read or self._page.evaluate(inside), f"{dialog}: {self._page.evaluate(FOCUSED_JS)}"
        self.press("Escape")
        self._expect(self._page.locator(dialog)).to_be_hidden()
        assert self._page.evaluate("selector => document.activeElement.matches(selector)", button), (
            f"{button}: {self._page.evaluate(FOCUSED_JS)}"
        )


@pytest.mark.browser
def test_all_of_it_is_done_by_keyboard(served):
    address, folder, services = served
    with open_browser(address) as (page, expect):
        page.add_style_tag(content="* { transition: none !important; }")
        keys = Keyboard(page, expect)
        caption(page, expect, keys, folder)
        dialogs(keys)
        review(page, expect, keys, services)
        settings(page, expect, keys, services)
        prompt(page, expect, keys, services)
        assert keys.invisible == set()


def caption(page, expect, keys, folder) -> None:
    """Open the folder, choose model and prompt, and caption."""
    keys.to("#folder")
    keys.type(str(folder))
    keys.press("Enter")
    expect(page.locator(".grid-tile")).to_have_count(4)
    for chip, label in (("model", "Demo (toy world)"), ("prompt", "Mine")):
        keys.to(f"#{chip}-chip")
        keys.press("Enter")
        keys.to(f"#{chip}-menu button")
        while label not in page.evaluate("document.activeElement.textContent"):
            keys.press("Tab")
        keys.press("Enter")
        expect(page.locator(f"#{chip}-chip")).to_have_text(label)
        expect(page.locator(f"#{chip}-chip")).to_be_focused()
    keys.to("#start")
    keys.press("Enter")
    expect(page.locator(".run-strip[data-phase=done]")).to_contain_text("4 captioned", timeout=MODEL_TIMEOUT_MS)


def dialogs(keys) -> None:
    keys.opens("[data-act=keys]", "#page-keys")
    keys.opens(".machine > button", ".machine [popover]", is_read=True)
    keys.opens(".run-line", "#run-card")
    keys.opens("#model-chip", "#model-menu", " ")
    keys.opens("#prompt-chip", "#prompt-menu")
    keys.opens("#start-more", "#caption-menu", is_read=True)
    keys.opens(".folder-browse", ".folder-menu", takes_focus=True)
    keys.opens("[popovertarget=filter-menu]", "#filter-menu")
    keys.opens(".bar-history", ".history-dialog")
    keys.opens("[popovertarget=more-menu]", "#more-menu")


def review(page, expect, keys, services) -> None:
    """Filter, select several, bulk-edit, approve, and step through a clip."""
    keys.to("[popovertarget=filter-menu]")
    keys.press("Enter")
    keys.to("[data-kind=video]")
    keys.press("Enter")
    expect(page.locator("[popovertarget=filter-menu]")).to_be_focused()
    expect(page.locator(".grid-tile")).to_have_count(2)
    keys.to(".grid-view")
    keys.press("Home", "Shift+ArrowRight")
    expect(page.locator(".grid-selected")).to_have_text("2 selected")
    keys.to(".grid-selecting [data-act=edit]")
    keys.press("Enter")
    expect(page.locator("[name=find]")).to_be_focused()
    keys.to("[name=prefix]")
    keys.type("Toy: ")
    expect(page.locator(".bulk-list li")).to_have_count(2)
    keys.to("[data-act=apply]")
    keys.press("Enter")
    expect(page.locator(".bulk-dialog [data-act=undo]")).to_be_focused()
    keys.press("Escape")
    expect(page.locator(".grid-selecting [data-act=edit]")).to_be_focused()
    keys.opens(".grid-selecting [data-act=delete-media]", "#trash-question [popover]")
    keys.to(".grid-view", back=True)
    keys.press("a")
    expect(page.locator(".grid-said")).to_have_text("Approved 2 captions")
    expect(page.locator(".toast-body")).to_have_count(0)
    expect(page.locator(".grid-tile.approved")).to_have_count(2)
    keys.press("ArrowLeft", "Enter", "Enter")
    expect(page.locator(".panel-title h3")).to_have_text("clip 01.mp4")
    expect(page.locator("#panel textarea")).to_be_focused()
    expect(page.locator("#panel textarea")).to_have_value(re.compile("^Toy: "))
    keys.to("#panel .panel-media", back=True)
    keys.press("Enter")
    frame = page.locator(".lightbox [role=status]")
    expect(frame).to_contain_text("Frame")
    keys.press("Space", "Home", ".", ".", ",")
    expect(frame).to_contain_text(re.compile(r"^Frame \d+ of"))
    keys.press("Escape")
    expect(page.locator(".panel-media")).to_be_focused()
    keys.to("#panel [data-act=delete]")
    keys.press("Enter")
    expect(page.locator("[data-act=delete-no]")).to_be_focused()
    keys.press("Escape")
    expect(page.locator("#panel [data-act=delete]")).to_be_focused()
    keys.to("#panel [data-act=history]", back=True)
    keys.press("Enter")
    keys.to(".panel-history [data-history]")
    keys.press("Enter")
    expect(page.locator("#panel textarea")).not_to_have_value(re.compile("^Toy: "))
    keys.press("Escape")
    expect(page.locator(".panel-open")).to_be_hidden()
    expect(page.locator(".grid-view")).to_be_focused()


def settings(page, expect, keys, services) -> None:
    """Change a setting on top and one under Advanced, and save; the first wrong one gets the focus."""
    keys.to("#tabs [role=tab].selected", back=True)
    keys.press("Tab", "Enter")
    keys.to("#set-fps input")
    keys.type("5000")
    keys.press("Enter")
    expect(page.locator("#field-fps .wrong")).to_be_visible()
    expect(page.locator("#set-fps input")).to_be_focused()
    keys.type("5")
    keys.to("#settings-advanced summary")
    keys.press("Enter")
    keys.to("#set-seed input")
    keys.type("7")
    keys.opens("#reset-settings .ask", "#reset-settings [popover]")
    keys.to("#save-settings")
    keys.press("Enter")
    expect(page.locator("#settings-bar .state")).to_have_text("Everything is saved")
    assert (services.settings.fps, services.settings.seed) == (5, 7)


def prompt(page, expect, keys, services) -> None:
    """Make a prompt, and try it on a file."""
    keys.to("#tabs [role=tab].selected", back=True)
    keys.press("Tab", "Enter")
    keys.to("#prompt-list .new")
    keys.press("Enter")
    expect(page.locator("#prompt-text textarea")).to_have_value("")
    keys.to("#prompt-name input")
    keys.type("By keyboard")
    keys.to("#prompt-text textarea")
    keys.type("Name the color.")
    keys.to("#save-prompt", back=True)
    keys.press("Enter")
    expect(page.locator("#prompt-list .list")).to_contain_text("By keyboard")
    assert services.prompts.get("By keyboard").text == "Name the color."
    keys.to("#try-other input")
    keys.press("Tab")  # not to its list of choices, which scrolls but is gone by then
    expect(page.locator("#try-prompt")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("#try-result .trial.done")).to_have_count(1, timeout=MODEL_TIMEOUT_MS)
    expect(page.locator("#try-prompt")).to_be_focused()
