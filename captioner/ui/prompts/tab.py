"""The Prompts tab: the library as a list, the chosen prompt in an editor, and a pane that tries it on one file."""

import functools
import html
from dataclasses import dataclass

import gradio as gr

from captioner.config.prompts import VARIABLES
from captioner.ui import scripts
from captioner.ui.dialogs import confirm_button
from captioner.ui.prompts.handlers import PromptHandlers
from captioner.ui.prompts.tester import tester_pane
from captioner.ui.wiring import KEEP_EVERY_EVENT, Trigger, in_background, on_action

LIST_TEMPLATE = (
    '<button type="button" class="plain new" data-pick="">New prompt</button><div class="list">${value}</div>'
    '<div popover class="question" role="alertdialog" aria-label="Discard unsaved changes?">'
    '<h4>Discard unsaved changes?</h4><p class="about">The prompt in the editor has unsaved changes.</p>'
    '<div class="answers"><button type="button" class="no plain" autofocus>Keep editing</button>'
    '<button type="button" class="yes plain danger">Discard</button></div></div>'
)
LIST_JS = scripts.on_load("prompts/tab.js", "startList", events=("pick",))
INSERT_JS = scripts.on_load("prompts/tab.js", "startVariables")
BUILTIN_HINT = '<p class="locked">Built-in prompts cannot be edited. Duplicate this one and edit the copy.</p>'
TEXT_HINT = "Tell the model what to write."

bare_html = functools.partial(gr.HTML, apply_default_css=False)
bare_textbox = functools.partial(gr.Textbox, "", show_label=False, container=False)


def script(function: str) -> str:
    """Return the `js` of an event that calls a function of tab.js."""
    return scripts.call("prompts/tab.js", function)


@dataclass(frozen=True)
class PromptsTab:
    """The components of the tab that the page needs."""

    chosen: gr.Textbox
    search: gr.Textbox
    listing: gr.HTML  # shows PromptHandlers.list_prompts(chosen, search)


def prompts_tab(handlers: PromptHandlers, tab: gr.Tab, loaded: Trigger) -> PromptsTab:
    """Draw the tab and wire it. loaded: the event of a page that was loaded."""
    chosen, before, exported, kept = (gr.Textbox("", visible="hidden") for _ in range(4))
    with gr.Row(elem_id="prompts"):
        search, listing, upload, export = _draw_side()
        name, text, hint, save, duplicate, use, delete = _draw_editor()
        tester_pane(handlers.services, text, tab)
    outputs = [chosen, before, listing, name, text, hint, save, duplicate, use, delete]
    edited = [before, name, text]
    for event, handler, inputs in (
        (listing.pick, handlers.pick, [search]),
        (save.click, handlers.save, [chosen, *edited, search]),
        (use.click, handlers.use, [chosen, *edited, search]),
        (duplicate.click, handlers.duplicate, [chosen, before, text, search]),
        (delete.confirm, handlers.delete, [chosen, search]),
    ):
        filled = on_action(event, handler, inputs, outputs, js=script("lockEditor"))
        for ended in (filled.success, filled.failure):  # `then` alone does not run after a failure
            in_background(ended, None, js=script("unlockEditor"))
    in_background(search.change, handlers.list_prompts, [chosen, search], listing, mode="always_last")
    marked = [*edited, search]
    in_background([part.change for part in marked], None, marked, js=script("mark"), mode=KEEP_EVERY_EVENT)
    on_action(upload.upload, handlers.import_file, [upload, chosen, search], listing)
    ready = on_action(export.click, handlers.export, None, exported)
    in_background(ready.success, None, exported, js=script("download"))
    in_background(loaded, handlers.restore, kept, [search, *outputs], js=script("shownBefore"))
    return PromptsTab(chosen, search, listing)


def _draw_side() -> tuple[gr.Textbox, gr.HTML, gr.UploadButton, gr.Button]:
    with gr.Column(elem_id="prompt-side", elem_classes="card"):
        search = bare_textbox(placeholder="Search prompts", elem_id="find-prompt")
        listing = bare_html(html_template=LIST_TEMPLATE, js_on_load=LIST_JS, elem_id="prompt-list")
        with gr.Row(elem_id="prompt-files"):
            upload = gr.UploadButton("Import", size="sm", type="binary", file_types=[".json"], min_width=60)
            export = gr.Button("Export", size="sm", min_width=60, elem_id="export-prompts")
    return search, listing, upload, export


def _draw_editor() -> tuple[gr.Textbox, gr.Textbox, gr.HTML, gr.Button, gr.Button, gr.Button, gr.HTML]:
    with gr.Column(elem_id="prompt-editor", elem_classes="card"):
        with gr.Row(elem_id="prompt-buttons"):
            name = bare_textbox(label="Name", placeholder="Name of the prompt", max_lines=1, elem_id="prompt-name")
            delete = confirm_button("Delete", "Delete this prompt?", "Delete", elem_id="delete-prompt", danger=True)
            duplicate = gr.Button("Duplicate", size="sm", min_width=80, elem_id="duplicate-prompt")
            use = gr.Button("Set as current", size="sm", min_width=110, elem_id="use-prompt")
            save = gr.Button("Save", variant="primary", size="sm", min_width=70, elem_id="save-prompt")
        hint = bare_html(BUILTIN_HINT)
        text = bare_textbox(
            label="Instruction to the model", placeholder=TEXT_HINT, lines=14, max_lines=14, elem_id="prompt-text"
        )
        bare_html(_variables(), js_on_load=INSERT_JS, elem_id="variables")
    return name, text, hint, save, duplicate, use, delete


def _variables() -> str:
    rows = "".join(
        f'<button type="button" class="plain" data-insert="{name}" title="Insert at the cursor">'
        f"{{{name}}}</button><span>{html.escape(meaning)}</span>"
        for name, meaning in VARIABLES.items()
    )
    return f'<div class="variables">{rows}</div>'
