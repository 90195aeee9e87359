"""The faults of captions that a person should look at: noted by the job that wrote them, or found by the linter."""

from collections.abc import Iterable
from typing import NamedTuple

from captioner.dataset.lint.finding import Finding, LintOptions, finding, rules
from captioner.dataset.lint.lint import lint_text
from captioner.values import Measured, MediaFacts, MediaItem

SHOWN = 3
# By the first word of a flaw, see captions/flaws.
_BADGES = {"was": "Cut off", "repeats": "Repeats itself", "is": "Empty", "breaks": "Wrong form", "exceeds": "Too long"}


class Fault(NamedTuple):
    """badge: a word or two, for a tile. text: the rest of "This caption ..."."""

    badge: str
    text: str


def fault_of(flaw: str) -> Fault | None:
    """Return what a job has noted as a fault; None for ""."""
    return Fault(_BADGES.get(flaw.partition(" ")[0], "Check it"), flaw) if flaw else None


def fault_in(item: MediaItem, text: str, options: LintOptions, measured: Measured | None = None) -> Fault | None:
    """Return what the rules for a single caption find in it."""
    hits = lint_text(text, options, MediaFacts(is_still=item.kind == "image", measured=measured))
    return as_fault([finding(item.name, text, hit) for hit in hits[:SHOWN]])


def as_fault(found: Iterable[Finding]) -> Fault | None:
    """Return findings in one caption as a fault with the badge of the first."""
    found = list(found)
    if not found:
        return None
    parts = [each.why + (f" (“{each.text}”)" if each.text and len(each.text) < 80 else "") for each in found]
    return Fault(rules()[found[0].rule].badge, f"needs a look: {'; '.join(parts)}")
