"""Dialogs of the page: a button that asks for confirmation, and a question with several answers."""

import html

import gradio as gr

from captioner.ui import scripts


def confirm_button(label: str, question: str, yes: str, *, elem_id: str, danger: bool = False) -> gr.HTML:
    """Return a button that fires `confirm` after a question. Its texts become part of the template: no user input."""
    title = html.escape(question)
    template = (
        f'<button type="button" class="ask plain{" danger" if danger else ""}">{html.escape(label)}</button>'
        f'<div popover class="question" role="alertdialog" aria-label="{title}"><h4>{title}</h4>'
        f'<p class="about"></p><div class="answers">'
        f'<button type="button" class="no plain">Cancel</button>'
        f'<button type="button" class="yes plain danger">{html.escape(yes)}</button></div></div>'
    )
    script = scripts.on_load("dialogs.js", "startConfirm", events=("confirm",))
    return gr.HTML("", html_template=template, js_on_load=script, apply_default_css=False, about="", elem_id=elem_id)


def question(elem_id: str) -> gr.HTML:
    """Return a dialog that dialogs.js opens. It fires `answer` with the `id` of the chosen answer and the `data`."""
    return gr.HTML(
        "",
        html_template='<div popover class="question" role="alertdialog"><h4></h4><p class="about"></p>'
        '<div class="answers"></div></div>',
        js_on_load=scripts.on_load("dialogs.js", "startQuestion", events=("answer",)),
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="aside",
        asked={},
        name=elem_id,
    )
