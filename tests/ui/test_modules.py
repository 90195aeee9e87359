"""The page's JavaScript: every module is loaded by a real browser, and by the address that the page uses."""

import re

import gradio as gr
import pytest
from fastapi import HTTPException

from captioner.ui import scripts
from tests.support.chromium import open_browser
from tests.support.gallery_page import served

MAX_LINES = 300
# Imports all modules. Returns what went wrong, by module, and the names that they added to `window`.
IMPORT_ALL_JS = """async addresses => {
  const before = new Set(Object.getOwnPropertyNames(window)), errors = {};
  for (const address of addresses) {
    try { await import(new URL(address, document.baseURI)); } catch (error) { errors[address] = String(error); }
  }
  return {errors, added: Object.getOwnPropertyNames(window).filter(name => !before.has(name))};
}"""


@pytest.mark.browser
def test_every_module_loads_and_adds_nothing_to_the_window(services):
    with served(services) as address, open_browser(address) as (page, expect):
        expect(page.locator(".grid-empty")).to_contain_text("No folder is open")
        addresses = [scripts.address(module) for module in scripts.modules()]
        assert page.evaluate(IMPORT_ALL_JS, addresses) == {"errors": {}, "added": []}


@pytest.mark.browser
def test_a_module_with_an_error_is_reported(services):
    with served(services) as address, open_browser(address) as (page, expect):
        expect(page.locator(".grid-empty")).to_contain_text("No folder is open")
        faulty = ["data:text/javascript,const 1;", "data:text/javascript,window.leaked = 1;"]
        found = page.evaluate(IMPORT_ALL_JS, faulty)
        assert "SyntaxError" in found["errors"].pop(faulty[0])
        assert found == {"errors": {}, "added": ["leaked"]}


@pytest.mark.browser
def test_a_click_before_the_module_has_loaded_is_not_lost(services):
    with served(services) as address, open_browser(address) as (page, expect):
        expect(page.locator(".grid-empty")).to_contain_text("No folder is open")
        stub = scripts.on_load("gallery/grid.js", "start")
        clicked = page.evaluate(
            """async stub => {
              const element = document.createElement('div'), clicked = [];
              element.innerHTML = '<button><b>Late</b></button><input type="checkbox">';
              const module = 'export const start = ({element}) => element.addEventListener("click", event => ' +
                'element.clicked.push(event.target.tagName))';
              const text = stub.replace(/new URL\\([^)]*\\)/, '`data:text/javascript,' + module + '`');
              element.clicked = clicked;
              Function('element', 'trigger', 'props', 'watch', text)(element);
              element.querySelector('b').click();
              element.querySelector('input').click();
              await new Promise(done => setTimeout(done, 500));
              return [clicked, element.querySelector('input').checked];
            }""",
            stub,
        )
        assert clicked == [["B"], True]


@pytest.mark.parametrize("module", scripts.modules())
def test_a_module_is_short_and_does_not_know_the_window(module):
    text = scripts.modules()[module].decode()
    assert len(text.splitlines()) <= MAX_LINES
    assert not re.search(r"\b(window|globalThis|self)\b", text)


def test_a_module_is_kept_by_browsers_and_never_mixed_with_another_version():
    version, path = scripts.address("gallery/grid.js").split("/")[-3], "gallery/grid.js"
    answer = scripts.serve(version, path)
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    for refused in (("another", path), (version, "gallery/none.js"), (version, "../ui/common.js")):
        with pytest.raises(HTTPException, match="reload the page"):
            scripts.serve(*refused)


def test_every_module_is_preloaded():
    links = re.findall(r'<link rel="modulepreload" href="([^"]+)"[^>]*>', scripts.preload_links())
    assert sorted(links) == [scripts.address(module) for module in scripts.modules()]
    assert links[: len(scripts.FIRST)] == [scripts.address(module) for module in scripts.FIRST]


def test_a_component_offers_the_events_that_its_script_names():
    component = gr.HTML(js_on_load=scripts.on_load("runs/card.js", events=("retry",)), render=False)
    assert callable(component.retry)
    with pytest.raises(AttributeError, match="resume"):
        _ = component.resume
    with pytest.raises(KeyError):
        scripts.on_load("runs/none.js")
