"""The settings form as HTML: what most people change on top, the rest by group under Advanced."""

from collections.abc import Sequence

from captioner.ui.settings.fields import BASICS, draw_field, grouped_fields

_BAR = (
    '<div class="settings-bar" id="settings-bar"><input type="search" placeholder="Search settings" '
    'aria-label="Search settings"><p><b class="state" role="status">Everything is saved</b>'
    "<span>All browsers share these settings.</span></p>"
    '<button type="button" class="plain" id="discard-settings">Discard</button>'
    '<div id="reset-settings"><button type="button" class="ask plain">Reset all</button>'
    '<div popover class="question" role="dialog" aria-labelledby="reset-question"><h4 id="reset-question">'
    'Reset all settings to their defaults?</h4><p class="about">The open folder stays.</p><div class="answers">'
    '<button type="button" class="no plain">Cancel</button>'
    '<button type="button" class="yes plain danger">Reset all</button></div></div></div>'
    '<button type="submit" class="plain primary" id="save-settings">Save</button></div>'
)
_MODEL = (
    '<section class="card" id="loaded-model" aria-labelledby="loaded-title"><div class="heading">'
    '<h3 id="loaded-title">Loaded model</h3>'
    '<button type="button" class="plain" id="load-model">Load model</button>'
    '<button type="button" class="plain" id="unload-model">Unload</button></div>'
    '<div id="model-state"></div><div id="model-report"></div></section>'
)


def form_markup(devices: Sequence[str]) -> str:
    """Return the form as a template of gr.HTML, in which "$", "`", braces and backslashes would be code."""
    basics = "".join(draw_field(name) + ('<div id="model-note"></div>' if name == "model" else "") for name in BASICS)
    groups = "".join(_group(title, names, devices) for title, names in grouped_fields().items())
    text = (
        # disabled until the settings are there: what is chosen before that would be lost
        f'<form novalidate><fieldset class="settings-form" role="none" disabled>{_BAR}'
        f'<div class="settings-columns"><section class="card" '
        f'aria-labelledby="basics-title"><h3 id="basics-title">Captions</h3>{basics}</section>{_MODEL}</div>'
        f'<details id="settings-advanced"><summary>Advanced<i></i></summary>'
        f'<div class="settings-columns groups">{groups}</div></details>'
        f'<p class="settings-none" role="status" hidden>No setting matches.</p></fieldset></form>'
    )
    return text.translate({ord(character): f"&#{ord(character)};" for character in "$`{}\\"})


def _group(title: str, names: Sequence[str], devices: Sequence[str]) -> str:
    fields = "".join(draw_field(name, devices) for name in names if name not in BASICS)
    return f'<section class="card" aria-label="{title}"><h3>{title}</h3>{fields}</section>'
