"""Names and texts that the page must only show: the one table for every test of them."""

import os

HOSTILE = [
    "<script>alert(1)</script>",
    "${alert(1)}",
    "{{constructor.constructor('alert(1)')()}}",
    "\"><img src=x onerror=alert(1)> 'a' & `b`",
    "two\nlines",
    "\u202egnp.txet left \u05e9\u05dc\u05d5\u05dd",
]
MARKUP = "</p><script>alert(1)</script> ${alert(2)} {{x}} \"'&"
FOLDER_NAME = "<img src=x onerror=alert(1)> ${alert(1)} {{x}} & 'a'"

# Stems of file names, which hold no slash; the last one is not UTF-8.
STEMS = [text.replace("/", "") for text in HOSTILE]
HARD_STEMS = [*STEMS, "back\\..\\slash", "line\r\n", "%2e%2e%2f #?&=+", "猫の動画", os.fsdecode(b"h\xe4lf")]
