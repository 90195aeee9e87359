"""The commands `edit`, `approve`, `history` and `undo`."""

import argparse
import sys
import time
from pathlib import Path

from captioner.captions.edit import BulkEdit
from captioner.captions.operations import OperationInfo, last_standing, operation_info, recent_operations
from captioner.cli.command import Parser, add_command, given_roots
from captioner.errors import CaptionerError
from captioner.formatting import plural
from captioner.library.bulk import Preview, preview
from captioner.library.library import Library
from captioner.services import Services

PREVIEWED = 20  # captions that `edit` prints before and after


def add_editing(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add `edit`, `approve`, `history` and `undo`."""
    _add_edit(commands)

    text = "protect captions from jobs and bulk edits"
    example = 'captioner approve clips "clip 01.mp4"\ncaptioner approve clips --all'
    approve = add_command(commands, "approve", approve_captions, text, "FOLDER [NAME ...]", example)
    _add_files(approve, "files whose captions to approve, named as by `captioner list`")
    approve.add_argument("--all", action="store_true", help="approve all captions of the folder")
    approve.add_argument("--off", action="store_true", help="withdraw the approval")

    text = "list the jobs, bulk edits and undos that changed captions, latest first"
    history = add_command(commands, "history", list_operations, text, "", "captioner history --limit 5")
    history.add_argument("--limit", type=int, default=20, metavar="N", help="number of lines (default: %(default)s)")

    text = "restore the captions that a job or bulk edit changed"
    undo = add_command(commands, "undo", undo_operation, text, "[NUMBER]", "captioner undo 3")
    text = "number of the job or bulk edit in `captioner history` (default: the latest)"
    undo.add_argument("operation", type=int, nargs="?", metavar="NUMBER", help=text)


def _add_edit(commands: "argparse._SubParsersAction[Parser]") -> None:
    text = "edit many captions at once, after a preview"
    example = 'captioner edit clips --find grey --replace gray\ncaptioner edit clips --trim-openers --prefix "sks,"'
    parser = add_command(commands, "edit", edit_captions, text, "FOLDER [NAME ...]", example)
    _add_files(parser, "files whose captions to edit, named as by `captioner list` (default: all)")
    change = parser.add_argument_group("change")
    change.add_argument("--find", default="", metavar="TEXT", help="text to find, in upper or lower case")
    change.add_argument("--replace", default="", metavar="TEXT", help="replacement (default: none, which removes it)")
    text = r"--find is a regular expression, and \1 in --replace its first group"
    change.add_argument("--regex", action="store_true", help=text)
    change.add_argument("--match-case", action="store_true", help="find only text in the same case")
    change.add_argument("--prefix", default="", metavar="TEXT", help="text to add before each caption (default: none)")
    change.add_argument("--suffix", default="", metavar="TEXT", help="text to add after each caption (default: none)")
    text = 'remove "The video shows" and similar words from the start'
    change.add_argument("--trim-openers", action="store_true", help=text)
    change.add_argument("--delete", action="store_true", help="delete the caption files")
    answer = parser.add_argument_group("confirmation").add_mutually_exclusive_group()
    answer.add_argument("--dry-run", action="store_true", help="show the changes only")
    answer.add_argument("--yes", action="store_true", help="make the changes without asking")


def _add_files(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of videos and images")
    parser.add_argument("names", nargs="*", metavar="NAME", help=text)
    parser.add_argument("--recursive", action="store_true", help="include subfolders")


def edit_captions(args: argparse.Namespace) -> int:
    """Run the command `edit`."""
    edit = BulkEdit(
        find=args.find,
        replace=args.replace,
        regex=args.regex,
        match_case=args.match_case,
        prefix=args.prefix,
        suffix=args.suffix,
        trim_openers=args.trim_openers,
        delete=args.delete,
    )
    with Services(args.state, None, given_roots(args)) as services:
        library = services.open_folder(args.folder, args.recursive, "all")
        chosen = _chosen(library, args.names)
        shown = preview(library, chosen, edit, PREVIEWED)
        _print_preview(shown)
        if args.dry_run or not shown.num_changed:
            return 0
        if not args.yes and not _confirmed(shown.num_changed):
            return 1
        done = services.bulk_edit(chosen, edit)
    _print_counts("changed", done.num_changed, done.num_same, done.skipped)
    print(f"undo with: captioner undo {done.operation}")
    return 0 if done.num_changed == shown.num_changed else 1


def _print_preview(shown: Preview) -> None:
    for name, before, after in shown.changed:
        mark = "  (changed outside)" if name in shown.changed_outside else ""
        print(f"{name}{mark}\n- {before}\n+ {after}" if after else f"{name}{mark}\n- {before}")
    if shown.num_changed > len(shown.changed):
        print(f"… and {shown.num_changed - len(shown.changed):,} more")
    outside = f" ({len(shown.changed_outside):,} of them changed outside)" if shown.changed_outside else ""
    _print_counts(f"to change{outside}", shown.num_changed, shown.num_same, shown.skipped)


def approve_captions(args: argparse.Namespace) -> int:
    """Run the command `approve`."""
    if bool(args.names) == args.all:
        raise CaptionerError("name the files whose captions to approve, or use --all")
    with Services(args.state, None, given_roots(args)) as services:
        library = services.open_folder(args.folder, args.recursive, "all")
        chosen = _chosen(library, args.names)
        done = library.edits.approve(chosen, not args.off)
    print(f"{done:,} {'unapproved' if args.off else 'approved'}")
    if done < len(chosen):
        why = "not approved before" if args.off else "no caption"
        print(f"{len(chosen) - done:,} skipped: {why}", file=sys.stderr)
    return 0


def list_operations(args: argparse.Namespace) -> int:
    """Run the command `history`."""
    with Services(args.state) as services:
        for operation in recent_operations(services.database, args.limit):
            print(_line(operation))
    return 0


def undo_operation(args: argparse.Namespace) -> int:
    """Run the command `undo`."""
    with Services(args.state) as services:
        number = args.operation
        if number is None:
            last = last_standing(services.database)
            if last is None:
                print("nothing to undo", file=sys.stderr)
                return 0
            number = last.id
        title = operation_info(services.database, number).title
        undone = services.undo(number)
    print(f"{number}: {title}: {plural(undone.restored, 'caption')} restored")
    for path, reason in undone.kept:
        print(f"kept {path}: {reason}", file=sys.stderr)
    return 1 if undone.kept else 0


def _chosen(library: Library, names: list[str]) -> list[str]:
    """Return the names, or those of all files if there are none. Raise CaptionerError for an unknown name."""
    known = {item.name for item in library.items}
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise CaptionerError(
            f"no media file named {unknown} in {library.folder}; run `captioner list` to see the names"
        )
    return names or [item.name for item in library.items]


def _confirmed(count: int) -> bool:
    if not sys.stdin.isatty():
        print("nothing was changed; add --yes to make the changes", file=sys.stderr)
        return False
    return input(f"Change {plural(count, 'caption')}? [y/N] ").strip().lower() in ("y", "yes")


def _print_counts(what: str, changed: int, same: int, skipped: dict[str, int]) -> None:
    reasons = (f"{count:,} skipped: {reason}" for reason, count in skipped.items())
    print(", ".join([f"{changed:,} {what}", f"{same:,} unchanged", *reasons]))


def _line(operation: OperationInfo) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(operation.created_at_s))
    state = "undone" if operation.undone_at_s else operation.state
    return (
        f"{operation.id:5}  {when}  {state:11}  {operation.changed:6,} changed  {operation.title}  {operation.folder}"
    )
