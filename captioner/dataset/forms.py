"""The forms of captions for those who write or check captions of a trainer: see captioner/captions/forms."""

from captioner.captions.forms.base import Form, Problem
from captioner.captions.forms.known import FORMS, form, form_of
from captioner.captions.text import one_line
from captioner.values import UNKNOWN_FACTS, MediaFacts

__all__ = ["FORMS", "UNKNOWN_FACTS", "Form", "MediaFacts", "Problem", "as_one_line", "form", "form_of", "is_one_line"]


def is_one_line(form: Form) -> bool:
    """Return whether captions of this form lie in a file as one line, so that no trainer can split them."""
    return form.is_one_line


def as_one_line(text: str) -> str:
    """Return a caption for trainers that take each line as a caption of its own; nothing but its lines is lost."""
    return one_line(text)
