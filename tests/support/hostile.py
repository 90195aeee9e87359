"""Names and texts that must do nothing on the page but be shown: the one table for every test of them."""

import os

SCRIPT, TEMPLATE, HANDLEBARS, TAG, LINES, BACKWARDS = HOSTILE = (
    "<script>alert(1)</script>",
    "${alert(1)}",
    "{{constructor.constructor('alert(1)')()}}",
    "\"></p><img src=x onerror=alert(1)> 'a' & `b`",
    "two\nlines",
    "\u202egnp.txet left \u05e9\u05dc\u05d5\u05dd",
)
ALL_IN_ONE = " ".join(HOSTILE[:4])  # one line

# Stems of file names, which hold no slash; the last is not UTF-8.
STEMS = tuple(text.replace("/", "") for text in HOSTILE)
HARD_STEMS = (*STEMS, "back\\..\\slash", "line\r\n", "%2e%2e%2f #?&=+", "猫の動画", os.fsdecode(b"h\xe4lf"))


def assert_escaped(html: str) -> None:
    """Assert that HTML with hostile texts in it holds no tag of theirs."""
    assert "<script>" not in html
    assert "<img src=x" not in html
