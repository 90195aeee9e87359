"""axe-core, the accessibility checker that browsers' own tools use, in a page of the tests."""

import importlib.resources
import importlib.util
from typing import Any

import pytest

SEVERE = ("serious", "critical")
RUN_JS = "async rules => (await axe.run(document, {resultTypes: ['violations'], ...rules})).violations"
COLORS = {"runOnly": ["color-contrast"]}  # all that another theme can change


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
