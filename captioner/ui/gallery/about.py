"""The HTML and the lines of text of the caption panel."""

import difflib
import functools
import re
from collections.abc import Sequence
from pathlib import Path

from captioner.captions.history import HistoryEntry
from captioner.captions.provenance import Provenance
from captioner.formatting import clock, plural, size
from captioner.library.lookup import Entry
from captioner.media.contact_sheet import clock_text
from captioner.ui.format import escape
from captioner.values import MediaKind

REPLACED = {
    "job": "replaced by a job",
    "hand": "edited",
    "delete": "deleted",
    "restore": "replaced by an earlier text",
    "bulk": "changed by a bulk edit",
    "undo": "changed by an undo",
}
# A word, white space, or one character, such as a punctuation mark or one of a script that has no spaces.
_WORD = re.compile(r"[^\W\u2e80-\u9fff\uac00-\ud7af]+|\s+|.", re.DOTALL)
MAX_TRIED = 20
MAX_COMPARED = 20_000  # characters; longer texts are shown without marks


def facts(entry: Entry, kind: MediaKind) -> str:
    """Return plain text such as "video · 1.2 MB · 0:03 · done · agreement 93%"."""
    duration = [clock(entry.duration_s)] if entry.duration_s else []
    parts = [kind, size(entry.item.size_bytes), *duration]
    agreement = [f"agreement {entry.score.yes:.0%}"] if entry.score else []
    return " · ".join([*parts, entry.state, *["approved"] * entry.approved, *agreement])


def history_list(history: Sequence[HistoryEntry]) -> str:
    """Return HTML: earlier texts as buttons that restore them."""
    return "".join(
        f'<button type="button" data-history="{entry.id}" title="Restore this text"><span>{escape(entry.text)}</span>'
        f"<small>{_time(entry.replaced_at_s)} · {REPLACED.get(entry.origin, 'replaced')}</small></button>"
        for entry in history
    )


def about(made: Provenance | None, text: str, tried: Sequence[Provenance] = ()) -> str:
    """Return HTML: how the model made its latest caption, and what a repair tried. `text` is the current caption."""
    rows = (_made_rows(made, text) if made else {}) | _tried_rows(tried)
    cells = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in rows.items())
    return f"<h4>How it was made</h4><dl>{cells}</dl>" if rows else ""


def _tried_rows(tried: Sequence[Provenance]) -> dict[str, str]:
    if not tried:
        return {}
    texts = "".join(f"<p>{_time(each.created_at_s)}: {escape(each.caption.text)}</p>" for each in tried[:MAX_TRIED])
    num = "1 other caption" if len(tried) == 1 else f"{len(tried):,} other captions"
    return {"Repair": f"<details><summary>{num} tried</summary>{texts}</details>"}


def _made_rows(made: Provenance, text: str) -> dict[str, str]:
    caption, options = made.caption, made.caption.options
    rate = f" ({caption.num_tokens / caption.seconds:.0f} tokens/s)" if caption.seconds else ""
    model = "/".join(Path(caption.model).parts[-2:])  # a Hub id, or the end of a folder's path
    sampling = f"temperature {options.temperature:g}, top-p {options.top_p:g}, top-k {options.top_k}"
    sampling = sampling if options.temperature else "greedy"
    rows = {
        "Model": escape(model)
        + (f" with {escape(Path(caption.adapter).name)}" if caption.adapter else "")
        + (f" on {escape(caption.device)}" if caption.device else ""),
        "Created": f"{_time(made.created_at_s)}, in {caption.seconds:.1f} s",
        "Tokens": f"{caption.num_tokens:,} generated{rate}, {caption.num_prompt_tokens:,} in the request",
        "Frames": escape(_frames(caption.frame_times_s, caption.facts.span_s)),
        "Options": f"{sampling}, at most {plural(options.max_new_tokens, 'token')}, seed {options.seed}",
        "Prompt": f"<details><summary>{escape(caption.prompt)}</summary><p>{escape(caption.prompt)}</p></details>",
    }
    if caption.thinking:
        rows["Thinking"] = (
            f"<details><summary>{escape(caption.thinking)}</summary><p>{escape(caption.thinking)}</p></details>"
        )
    if made.flaw:
        rows["Check"] = f"The caption {escape(made.flaw)}."
    if caption.warning:
        rows["Note"] = escape(caption.warning)
    if caption.text not in text:
        rows["Since then"] = "The caption was changed." if text else "The caption was deleted."
    return rows


def _frames(times_s: Sequence[float], span_s: tuple[float, float] | None) -> str:
    if len(times_s) < 2:
        return plural(max(1, len(times_s)), "frame")
    part = f" of the part from {clock_text(span_s[0])} to {clock_text(span_s[1])}" if span_s else ""
    return f"{len(times_s)}{part}, at {', '.join(clock_text(time_s) for time_s in times_s)}"


def _time(posix_s: float) -> str:
    return f'<time data-s="{posix_s:.0f}"></time>'  # the browser fills it in its own time zone


@functools.lru_cache(64)
def comparison(before: str, after: str) -> tuple[str, str]:
    """Return both texts as HTML, in which the words that only one of them has are marked."""
    old, new = (_WORD.findall(text) for text in (before, after))
    if len(before) + len(after) > MAX_COMPARED:
        return escape(before), escape(after)
    marked: tuple[list[str], list[str]] = [], []
    for what, *ends in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        for out, words, tag in ((marked[0], old[ends[0] : ends[1]], "del"), (marked[1], new[ends[2] : ends[3]], "ins")):
            text = escape("".join(words))
            out.append(text if what == "equal" or not text else f"<{tag}>{text}</{tag}>")
    return "".join(marked[0]), "".join(marked[1])
