"""The forms by name, and the one that a text has."""

from captioner.captions.forms.base import Form
from captioner.captions.forms.boxes import Boxes
from captioner.captions.forms.h3 import H3
from captioner.captions.forms.plain import Free, Tags
from captioner.errors import CaptionerError

PARAGRAPH = Form()
FORMS: dict[str, Form] = {form.name: form for form in (PARAGRAPH, Tags(), H3(), Boxes(), Free())}


def form(name: str) -> Form:
    """Return the form of this name. Raises CaptionerError with the known names."""
    if name not in FORMS:
        raise CaptionerError(f"there is no caption form {name!r}; there are {', '.join(FORMS)}")
    return FORMS[name]


def form_of(text: str) -> Form | None:
    """Return the form with fields that a text in a file certainly has, or None."""
    return next((form for form in FORMS.values() if form.recognizes(text)), None)
