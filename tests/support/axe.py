"""axe-core, the accessibility checker that browsers' own tools use, in a page of the tests."""

import importlib.resources
import importlib.util
from typing import Any

import pytest

SEVERE = ("serious", "critical")
RUN_JS = "async rules => (await axe.run(document, {resultTypes: ['violations'], ...rules})).violations"
COLORS = {"runOnly": ["color-contrast"]}  # all that another theme can change
THEMES = ("light", "dark")
# A toast fades in by a script, which no style sheet stops; its countdown takes longer.
AT_REST = """document.getAnimations().every(
    ({playState, effect}) => playState === "finished" || effect.getComputedTiming().endTime > 2000
)"""


def severe_faults(page: Any, only_colors: bool = False) -> list[str]:
    """Return the serious and critical faults of the page as it is, each with its place. Skips without axe-core."""
    if not importlib.util.find_spec("axe_playwright_python"):
        pytest.skip("there is no axe-core; pip install axe-playwright-python")
    if not page.evaluate("'axe' in window"):
        page.evaluate((importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    return [
        f"{fault['id']}: {node['target'][0]} {node['html'][:90]} {node['failureSummary'].splitlines()[1].strip()[:150]}"
        for fault in page.evaluate(RUN_JS, COLORS if only_colors else {})
        if fault["impact"] in SEVERE
        for node in fault["nodes"]
    ]


class States:
    """Collects the faults of each state of a page in both themes."""

    def __init__(self, page) -> None:
        self._page, self.seen, self.faults = page, [], {}
        page.add_style_tag(content="* { transition: none !important; animation: none !important; }")

    def check(self, state: str) -> None:
        self.seen.append(state)
        for theme in THEMES:
            self._page.emulate_media(color_scheme=theme)
            self._page.wait_for_function(f"document.body.classList.contains('dark') === {str(theme == 'dark').lower()}")
            self._page.wait_for_function(AT_REST)
            if found := severe_faults(self._page, only_colors=theme != THEMES[0]):
                self.faults[f"{state}, {theme}"] = found
