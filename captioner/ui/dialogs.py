"""Dialogs of the page: a button that asks for confirmation, and a question with several answers."""

import html

import gradio as gr

from captioner.ui.format import file_text

# Fires the event `confirm` after the answer yes. The property `about` names the thing in question.
_JS = """
const dialog = element.querySelector('[popover]');
element.querySelector('.ask').addEventListener('click', () => {
  element.querySelector('.about').textContent = props.about || '';
  dialog.showPopover();
  element.querySelector('.no').focus();
});
element.querySelector('.no').addEventListener('click', () => dialog.hidePopover());
element.querySelector('.yes').addEventListener('click', () => { dialog.hidePopover(); trigger('confirm', {}); });
"""


def confirm_button(label: str, question: str, yes: str, *, elem_id: str, danger: bool = False) -> gr.HTML:
    """Return a button that fires `confirm` after a question. Its texts become part of the template: no user input."""
    template = (
        f'<button type="button" class="ask plain{" danger" if danger else ""}">{html.escape(label)}</button>'
        f'<div popover class="question"><h4>{html.escape(question)}</h4><p class="about"></p><div class="answers">'
        f'<button type="button" class="no plain">Cancel</button>'
        f'<button type="button" class="yes plain danger">{html.escape(yes)}</button></div></div>'
    )
    return gr.HTML("", html_template=template, js_on_load=_JS, apply_default_css=False, about="", elem_id=elem_id)


def question(elem_id: str) -> gr.HTML:
    """Return a dialog that dialogs.js opens. It fires `answer` with the `id` of the chosen answer and the `data`."""
    return gr.HTML(
        "",
        html_template='<div popover class="question"><h4></h4><p class="about"></p><div class="answers"></div></div>',
        js_on_load=file_text("dialogs.js"),
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="aside",
        asked={},
    )
