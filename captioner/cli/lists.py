"""The commands `export` and `import`: lists of captions for trainers and other programs."""

import argparse
import functools
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from huggingface_hub.utils import disable_progress_bars

from captioner.cli.bar import Bar
from captioner.cli.command import Commands, add_command, add_folder, given_path, given_roots
from captioner.cli.setting_options import CAPTIONS_TO_TEXT, EXTENSION_TEXT, given_settings
from captioner.cli.streams import say
from captioner.dataset.exports.entries import LeftOut, read_entries
from captioner.dataset.exports.export import FORMATS, export
from captioner.dataset.exports.push import check_push, push
from captioner.dataset.exports.request import Exported, Request
from captioner.dataset.exports.styles import styles
from captioner.dataset.imports.matching import MediaFinder, match_rows
from captioner.dataset.imports.rows import READERS, read_rows
from captioner.dataset.targets import chosen_target
from captioner.errors import CaptionerError
from captioner.formatting import plural
from captioner.library.imports import import_captions
from captioner.library.library import Library
from captioner.media.facts import FactsCache
from captioner.services import Services
from captioner.system.paths import absolute_path

Each = TypeVar("Each")


def add_lists(commands: Commands) -> None:
    """Add `export` and `import`."""
    example = (
        "captioner export clips --format jsonl --to clips.jsonl\n"
        "captioner export clips --format config --trainer musubi --target wan2.2 --to training"
    )
    parser = add_command(commands, "export", export_captions, "FOLDER --format FORMAT --to PATH", example)
    add_folder(parser)
    add = parser.add_argument
    add("--format", required=True, choices=FORMATS, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    add("--to", required=True, type=_target_path, metavar="PATH", help="file or folder to write")
    add("--trainer", default="none", choices=[*styles()], metavar="NAME", help=f"one of {', '.join(styles())}")
    text = "model of the configuration; see `captioner targets` (default: that of the settings)"
    add("--target", metavar="NAME", help=text)
    add("--overwrite", action="store_true", help="replace a list that exists")
    add("--push", metavar="OWNER/NAME", help="upload the folder to the Hugging Face Hub, as a private data set")
    add("--public", action="store_true", help="let anyone read what is pushed")
    _add_reading(parser, "print the result and each file that is left out as JSON, one per line")

    example = "captioner import clips captions.csv"
    importing = add_command(commands, "import", import_list, "FOLDER FILE", example)
    add_folder(importing)
    text = f"list of captions ({', '.join(READERS)}), or a folder of such files"
    importing.add_argument("file", type=given_path, metavar="FILE", help=text)
    importing.add_argument("--overwrite", action="store_true", help="replace captions that are different")
    _add_reading(importing, "print the result and each row that is refused as JSON, one per line")


def _target_path(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("give a path")
    return absolute_path(given_path(text))


def _add_reading(parser: argparse.ArgumentParser, json_text: str) -> None:
    parser.add_argument("--recursive", action="store_true", help="include subfolders")
    parser.add_argument("--caption-extension", metavar="EXTENSION", help=EXTENSION_TEXT)
    parser.add_argument("--captions-to", metavar="DIR", help=CAPTIONS_TO_TEXT)
    parser.add_argument("--json", action="store_true", help=json_text)


def export_captions(args: argparse.Namespace) -> int:
    """Write the captions of a folder as a list or data set that trainers read."""
    if args.push is not None:
        check_push(args.push, args.format)
    elif args.public:
        raise CaptionerError("--public is about what is pushed; name it with --push OWNER/NAME")
    with Services(args.state, given_settings(args), given_roots(args)) as services:
        library = _open(services, args)
        entries = read_entries(services.captions, library.items)
        target, extension = chosen_target(services.settings), services.settings.caption_extension
        facts = FactsCache(services.database, services.sandbox.probe)
        rates = functools.partial(facts.rates, library.scan.folder or args.folder)
        asked = Request(args.format, args.to, args.trainer, target, args.overwrite, extension, rates)
        done = export(asked, library.items, _with_bar(entries, len(library.items), args.json))
    _print_left_out(done.left_out, "left out", args.json)
    _print_exported(done, args.json)
    if args.push is not None:
        _push(args)
    return 1 if done.left_out else 0


def _push(args: argparse.Namespace) -> None:
    if args.json or not sys.stderr.isatty():
        disable_progress_bars()
    address = push(args.to, args.push, args.public)
    if args.json:
        print(json.dumps({"pushed": address}))
    else:
        say(f"pushed to {address}")


def _open(services: Services, args: argparse.Namespace) -> Library:
    library = services.open_folder(args.folder, args.recursive)
    for warning in library.scan.warnings:
        say(json.dumps({"note": warning}) if args.json else f"note: {warning}", is_note=True)
    if not library.items:
        raise CaptionerError(f"no clips or images in {args.folder}")
    return library


def _with_bar(entries: Iterable[Each], total: int, as_json: bool) -> Iterator[Each]:
    """Yield the entries while a bar on a terminal shows how many are done."""
    yield from Bar(entries, total=total, unit="file", disable=as_json or None, dynamic_ncols=True)


def _print_left_out(left_out: list[LeftOut], verb: str, as_json: bool) -> None:
    for name, reason in left_out:
        if as_json:
            print(json.dumps({"file": name, "problem": reason}))
        else:
            say(f"{verb} {name}: {reason}", is_note=True)


def _print_exported(done: Exported, as_json: bool) -> None:
    files = [str(path) for path in done.files]
    if as_json:
        about = {"exported": done.count, "left_out": len(done.left_out), "to": files, "notes": done.notes}
        print(json.dumps(about))
        return
    for note in done.notes:
        say(f"note: {note}", is_note=True)
    say(f"{plural(done.count, 'caption')} exported to {', '.join(files)}; {len(done.left_out):,} left out")


def import_list(args: argparse.Namespace) -> int:
    """Write the captions of a list into the caption files of a folder."""
    with Services(args.state, given_settings(args), given_roots(args)) as services:
        services.claim()
        library = _open(services, args)
        finder = MediaFinder(library.scan.folder or args.folder, library.items)
        found, refused = match_rows(read_rows(absolute_path(args.file)), finder)
        number = None
        if found:
            title = f"Import of {args.file.name}"
            number, outcomes = import_captions(services.database, library, found, title, args.overwrite)
            refused += [LeftOut(name, why) for name, why in outcomes.items() if why not in ("changed", "same")]
    counts = Counter(outcomes.values()) if found else Counter()
    _print_left_out(refused, "refused", args.json)
    if args.json:
        about = {"changed": counts["changed"], "unchanged": counts["same"], "refused": len(refused), "job": number}
        print(json.dumps(about))
    else:
        print(f"{counts['changed']:,} changed, {counts['same']:,} unchanged, {len(refused):,} refused")
        if counts["changed"]:
            print(f"undo with: captioner undo {number}")
    return 1 if refused else 0
