"""The results of writing a model's caption: it is written, or its file is left alone for a reason."""

from dataclasses import dataclass
from typing import Final, Literal

from captioner.captions.provenance import Outcome

SkipReason = Literal["has a caption", "approved", "changed outside", "changed since it was checked"]
CHANGED_OUTSIDE: Final = "changed outside"
CHANGED_SINCE: Final = "changed since it was checked"


@dataclass(frozen=True)
class Written:
    """The result of `write`. `text` is what the file holds now; "kept" means that it was left alone for `reason`."""

    text: str
    outcome: Outcome
    reason: SkipReason | None = None
    flaw: str = ""  # of the text that was written; see captions/flaws
