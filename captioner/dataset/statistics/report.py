"""Writes the statistics as one HTML file that needs no network and runs no script."""

import html
import time
from collections.abc import Sequence
from importlib.resources import files

from captioner.dataset.statistics.compare import Difference
from captioner.dataset.statistics.rows import Row, captions_behind, sections, summary
from captioner.dataset.statistics.statistics import Statistics
from captioner.formatting import plural, printable, sendable

MAX_FILES = 50  # named behind a row
WITH_FILES = ("contradictions", "coverage")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def report(found: Statistics, title: str, differences: Sequence[Difference] = (), against: str = "") -> str:
    """Return the report. title: of the set. against: the other set that `differences` are about."""
    style = (files(__package__) / "report.css").read_text(encoding="utf-8")
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<title>{_text(title)}</title><style>{style}</style>"
    )
    facts = "".join(f"<dt>{_text(label)}</dt><dd>{_text(value)}</dd>" for label, value in summary(found))
    parts = [f"<h1><bdi>{_text(title)}</bdi></h1><p>{time.strftime('%Y-%m-%d %H:%M')}</p><dl>{facts}</dl>"]
    parts += [_differences(differences, against)] if against else []
    for section in sections(found):
        if section.rows:
            rows = "".join(_row(found, row, section.name in WITH_FILES) for row in section.rows)
            parts.append(f"<h2>{_text(section.title)}</h2><p>{_text(section.note)}</p><table>{rows}</table>")
    return f'<!DOCTYPE html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _row(found: Statistics, row: Row, with_files: bool) -> str:
    detail = _text(row.detail)
    if with_files and row.captions:
        numbers = captions_behind(found, row)
        names = "".join(f"<bdi>{_text(found.captions[i].name)}</bdi>" for i in numbers[:MAX_FILES])
        more = f"<bdi>and {len(numbers) - MAX_FILES:,} more</bdi>" if len(numbers) > MAX_FILES else ""
        detail += f"<details><summary>{plural(len(numbers), 'file')}</summary>{names}{more}</details>"
    cells = (f"<bdi>{_text(row.text)}</bdi>", f"{row.captions:,}", _bar(row.share), detail)
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _differences(differences: Sequence[Difference], against: str) -> str:
    rows = "".join(
        f"<tr><td><bdi>{_text(each.text)}</bdi></td><td>{each.here:.1%}</td><td>{_bar(each.here)}{_bar(each.there)}</td>"
        f"<td>{each.there:.1%}</td></tr>"
        for each in differences
    )
    note = f"In which part of the captions a word or phrase is, here and in {against}."
    return f"<h2>Differences</h2><p>{_text(note)}</p><table>{rows or '<tr><td>none</td></tr>'}</table>"


def _bar(share: float) -> str:
    return f'<i style="width: {100 * share:.1f}%" title="{share:.1%}"></i>'


def _text(text: str) -> str:
    return html.escape(printable(sendable(text)))
