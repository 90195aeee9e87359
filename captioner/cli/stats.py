"""The command `stats`: what the captions of a set say, how often, and where they contradict themselves."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from captioner.cli.bar import Bar, new_bar
from captioner.cli.command import Commands, add_command, add_folder, given_path, given_roots
from captioner.cli.setting_options import CAPTIONS_TO_TEXT, EXTENSION_TEXT, given_settings
from captioner.cli.streams import say
from captioner.dataset.exports.placement import check_target, media_folders, write_file
from captioner.dataset.lint.listing import captioned_files
from captioner.dataset.statistics.by_settings import statistics_options
from captioner.dataset.statistics.compare import Difference, compare
from captioner.dataset.statistics.corpus import build_corpus
from captioner.dataset.statistics.folder import Captions, read_captions, read_job
from captioner.dataset.statistics.report import report
from captioner.dataset.statistics.rows import Row, captions_behind, differences_json, sections, summary, to_json
from captioner.dataset.statistics.statistics import Statistics, StatisticsOptions, count_captions
from captioner.errors import CaptionerError
from captioner.services import Services
from captioner.system.paths import absolute_path
from captioner.values import MediaItem

FILES_SHOWN = 3  # behind a contradiction


def add_stats(commands: Commands) -> None:
    """Add `stats`."""
    example = "captioner stats clips --target wan2.2 --trigger-word ohwx\ncaptioner stats clips --html stats.html"
    parser = add_command(commands, "stats", show_statistics, "FOLDER", example)
    add_folder(parser)
    add = parser.add_argument
    defaults = StatisticsOptions()
    add("--recursive", action="store_true", help="include subfolders")
    add("--target", metavar="NAME", help="model to train, named as by `captioner targets` (default: the setting)")
    add("--trigger-word", metavar="WORD", help="word that is meant to be in every caption (default: the setting)")
    add("--constant", type=float, default=100 * defaults.share, metavar="PERCENT",
        help="what is in more of the captions is a constant (default: %(default)g)")  # fmt: skip
    add("--min-count", type=int, default=defaults.min_count, metavar="CAPTIONS",
        help="captions that a pair of words must share (default: %(default)s)")  # fmt: skip
    add("--top", type=int, default=20, metavar="ROWS", help="rows of each table (default: %(default)s)")
    add("--stop-words", action="store_true", help='also list words such as "the"')
    add("--against", type=given_path, metavar="DIR", help="compare with the captions of another folder")
    add("--job", type=int, metavar="N", help="the captions as this job wrote them, instead of the files")
    add("--against-job", type=int, metavar="N", help="compare with the captions that this job wrote")
    add("--html", type=given_path, metavar="FILE", help="write a report that any browser shows offline")
    add("--overwrite", action="store_true", help="replace a report that exists")
    add("--caption-extension", metavar="EXTENSION", help=EXTENSION_TEXT)
    add("--captions-to", metavar="DIR", help=CAPTIONS_TO_TEXT)
    add("--json", action="store_true", help="print one row per line as JSON")


def show_statistics(args: argparse.Namespace) -> int:
    """Count the words of captions and find constants, contradictions and gaps."""
    _check(args)
    args.root += [args.against] if args.against else []
    with Services(args.state, given_settings(args), given_roots(args)) as services, new_bar(args.json) as bar:
        captions, items = _read(services, args, args.folder, args.job, bar)
        if args.html:
            check_target(absolute_path(args.html), media_folders(items), args.overwrite)
        found = count_captions(captions, _options(services, args), bar.show)
        others = _others(services, args, bar)
    differences = compare(found.corpus, build_corpus([each.text for each in others.found]), args.top) if others else []
    unreadable = [*captions.unreadable, *(others.unreadable if others else [])]
    for name, reason in unreadable:
        say(f"skipped {name}: {reason}", is_note=True)
    if args.json:
        for each in [*to_json(found), *differences_json(differences)]:
            print(json.dumps(each, ensure_ascii=False))
    else:
        _print(found, args.top)
        _print_differences(differences, bool(others))
    if args.html:
        _write(args, found, differences, others is not None)
    return int(bool(unreadable))


def _check(args: argparse.Namespace) -> None:
    if not 0 < args.constant < 100:
        raise CaptionerError("--constant is a percentage between 0 and 100")
    if min(args.top, args.min_count) < 1:
        raise CaptionerError("--top and --min-count are at least 1")
    if args.against and args.against_job is not None:
        raise CaptionerError("give either --against or --against-job")
    if args.html and args.html.suffix.lower() not in (".html", ".htm"):
        raise CaptionerError(f"the report is HTML; end its name in .html: {args.html}")


def _options(services: Services, args: argparse.Namespace) -> StatisticsOptions:
    options = statistics_options(services.settings)
    return replace(
        options, share=args.constant / 100, min_count=args.min_count, most=args.top, stop_words=args.stop_words
    )


def _read(
    services: Services, args: argparse.Namespace, folder: Path, job: int | None, bar: Bar
) -> tuple[Captions, Sequence[MediaItem]]:
    resolved = services.roots.resolve(folder)
    items, notes = captioned_files(resolved, services.listing_options(args.recursive), services.roots.escapes)
    if job is not None:
        return read_job(services.captions, job), items
    for note in notes:
        say(f"note: {note}", is_note=True)
    return read_captions(resolved, items, services.captions, bar.show), items


def _others(services: Services, args: argparse.Namespace, bar: Bar) -> Captions | None:
    if args.against_job is not None:
        return read_job(services.captions, args.against_job)
    return _read(services, args, args.against, None, bar)[0] if args.against else None


def _print(found: Statistics, top: int) -> None:
    for label, text in summary(found):
        say(f"{label}: {text}")
    for section in sections(found):
        if not section.rows:
            continue
        say(f"\n{section.title}{f': {section.note}' if section.note else ''}", keep="\n")
        for row in section.rows[:top]:
            say(f"  {row.share:4.0%} {row.captions:8,}  {row.text}{f' ({row.detail})' if row.detail else ''}")
            if section.name == "contradictions":
                say(f"                 {_files(found, row)}")


def _files(found: Statistics, row: Row) -> str:
    numbers = captions_behind(found, row)
    names = ", ".join(found.captions[i].name for i in numbers[:FILES_SHOWN])
    return f"{names}, and {len(numbers) - FILES_SHOWN:,} more" if len(numbers) > FILES_SHOWN else names


def _print_differences(differences: Sequence[Difference], is_asked: bool) -> None:
    if is_asked:
        say("\nDifferences: in which part of the captions, here and there", keep="\n")
        for each in differences:
            say(f"  {each.here:4.0%} {each.there:8.0%}  {each.text}")
        if not differences:
            say("  none that could not be chance")


def _write(args: argparse.Namespace, found: Statistics, differences: Sequence[Difference], is_compared: bool) -> None:
    against = (f"job {args.against_job}" if args.against_job is not None else str(args.against)) if is_compared else ""
    title = f"Captions of job {args.job}" if args.job is not None else f"Captions of {args.folder.name or args.folder}"
    path = absolute_path(args.html)
    write_file(path, report(found, title, differences, against).encode())
    say(f"report written: {path}", is_note=args.json)
