"""Export and import of a large folder in every format."""

import tempfile
import time
from pathlib import Path

from captioner.cli.bench.report import Report
from captioner.dataset.exports.entries import read_entries
from captioner.dataset.exports.export import FORMATS, LISTS, export
from captioner.dataset.exports.request import Request
from captioner.dataset.imports.matching import MediaFinder, match_rows
from captioner.dataset.imports.rows import read_rows
from captioner.dataset.targets import target
from captioner.services import Services

MAX_S = 20.0
CAPTION = 'A red ball, number {}, rolls over a "green" table.\nIt stops at the edge and falls; the camera follows it.'


def bench_exports(num_files: int = 50_000, as_json: bool = False) -> None:
    """Print the seconds to export the folder in each format and to read it back; media files hold 1 kB."""
    with tempfile.TemporaryDirectory(prefix="bench-exports-") as name:
        folder = Path(name) / "media"
        folder.mkdir()
        for number in range(num_files):
            (folder / f"clip {number:06d}.mp4").write_bytes(b"x" * 1000)
            (folder / f"clip {number:06d}.txt").write_text(CAPTION.format(number), encoding="utf-8")
        report = Report(("format", "export_s", "read_s", "target_s"), as_json)
        with Services(Path(name) / "state") as services:
            items = services.open_folder(folder, recursive=False).items
            for file_format in FORMATS:
                where = folder if file_format == "captions.json" else Path(name)
                to = where / (f"list.{file_format}" if file_format in LISTS else file_format)
                chosen = ("musubi", target("wan2.2")) if file_format == "config" else ("none", target("none"))
                started_s = time.perf_counter()
                done = export(Request(file_format, to, *chosen), items, read_entries(services.captions, items))
                export_s = time.perf_counter() - started_s
                assert done.count == num_files
                started_s = time.perf_counter()
                if file_format != "config":
                    found, _ = match_rows(read_rows(to), MediaFinder(folder, items))
                    assert len(found) == num_files
                read_s = time.perf_counter() - started_s
                report.add(file_format, round(export_s, 1), round(read_s, 1), MAX_S)
        report.end(num_files=num_files)
