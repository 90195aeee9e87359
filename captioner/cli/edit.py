"""`edit`, `approve`, `history` and `undo` of the command line. Light: the services are imported when one is run."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.cli.command import add_command, given_roots
from captioner.errors import CaptionerError

if TYPE_CHECKING:
    from captioner.captions.operations import OperationInfo
    from captioner.library.library import Library

SHOWN = 20


def add_bulk(commands: argparse._SubParsersAction) -> None:
    text = "edit many captions at once: show what would change, and change it if told to"
    edit = add_command(commands, "edit", edit_captions, text)
    _add_files(edit)
    edit.add_argument("--find", default="", metavar="TEXT", help="text to replace, in whatever case")
    edit.add_argument("--replace", default="", metavar="TEXT", help="what to put there; nothing if not given")
    edit.add_argument("--regex", action="store_true", help=r"--find is a regular expression, \1 in --replace a group")
    edit.add_argument("--match-case", action="store_true", help="find only what is written in the same case")
    edit.add_argument("--prefix", default="", metavar="TEXT", help="put this before each caption")
    edit.add_argument("--suffix", default="", metavar="TEXT", help="put this after each caption")
    edit.add_argument("--trim-openers", action="store_true", help='remove "The video shows" and the like at the start')
    edit.add_argument("--delete", action="store_true", help="delete the caption files")
    answer = edit.add_mutually_exclusive_group()
    answer.add_argument("--dry-run", action="store_true", help="only show what would change")
    answer.add_argument("--yes", action="store_true", help="change it without asking")

    text = "lock captions as they stand: no job and no bulk edit touches them"
    approve = add_command(commands, "approve", approve_captions, text)
    _add_files(approve)
    approve.add_argument("--all", action="store_true", help="all captions of the folder")
    approve.add_argument("--off", action="store_true", help="unlock them")

    history = add_command(commands, "history", list_operations, "list what has changed captions, the latest first")
    history.add_argument("--limit", type=int, default=20, help="how many to list; default %(default)s")

    text = "put the captions back that a job or an edit has changed, byte for byte"
    undo = add_command(commands, "undo", undo_operation, text)
    undo.add_argument("operation", type=int, nargs="?", help="its number in `history`; default: the latest")


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help="media files, as `list` names them")
    parser.add_argument("--recursive", action="store_true", help="look into subfolders, too")


def edit_captions(args: argparse.Namespace) -> int:
    from captioner.captions.edit import BulkEdit
    from captioner.library.bulk import preview
    from captioner.services import Services

    names = ("find", "replace", "regex", "match_case", "prefix", "suffix", "trim_openers", "delete")
    edit = BulkEdit(**{name: getattr(args, name) for name in names})
    with Services(args.state, None, given_roots(args)) as services:
        library = services.open_folder(args.folder, args.recursive, "all")
        chosen = _chosen(library, args.names)
        seen = preview(library, chosen, edit, SHOWN)
        for name, before, after in seen.changed:
            mark = "  (changed outside)" if name in seen.changed_outside else ""
            print(f"{name}{mark}\n- {before}\n+ {after}" if after else f"{name}{mark}\n- {before}")
        if seen.num_changed > len(seen.changed):
            print(f"… and {seen.num_changed - len(seen.changed):,} more")
        what = (
            f"to change, {len(seen.changed_outside):,} of them changed outside" if seen.changed_outside else "to change"
        )
        _print_counts(what, seen.num_changed, seen.num_same, seen.left_alone)
        if args.dry_run or not seen.num_changed:
            return 0
        if not args.yes and not _confirmed(seen.num_changed):
            return 1
        done = services.bulk_edit(chosen, edit)
    _print_counts("changed", done.num_changed, done.num_same, done.left_alone)
    print(f"undo with: python -m captioner undo {done.operation}")
    return 0 if done.num_changed == seen.num_changed else 1


def approve_captions(args: argparse.Namespace) -> int:
    from captioner.services import Services

    if bool(args.names) == args.all:
        raise CaptionerError("name the files whose captions to approve, or give --all")
    with Services(args.state, None, given_roots(args)) as services:
        library = services.open_folder(args.folder, args.recursive, "all")
        chosen = _chosen(library, args.names)
        done = library.edits.approve(chosen, not args.off)
    print(f"{done:,} {'unlocked' if args.off else 'approved'}")
    if done < len(chosen):
        why = "not having been approved" if args.off else "having no caption"
        print(f"left alone, for {why}: {len(chosen) - done:,}", file=sys.stderr)
    return 0


def list_operations(args: argparse.Namespace) -> int:
    from captioner.captions.operations import recent_operations
    from captioner.services import Services

    with Services(args.state) as services:
        for operation in recent_operations(services.database, args.limit):
            print(_line(operation))
    return 0


def undo_operation(args: argparse.Namespace) -> int:
    from captioner.captions.operations import last_standing, operation_info
    from captioner.services import Services

    with Services(args.state) as services:
        if args.operation is None and (last := last_standing(services.database)) is None:
            print("nothing to undo", file=sys.stderr)
            return 0
        number = last.id if args.operation is None else args.operation
        title = operation_info(services.database, number).title
        undone = services.undo(number)
    print(f"{number}: {title}: {undone.restored:,} caption{'s' * (undone.restored != 1)} put back")
    for path, reason in undone.kept:
        print(f"kept {path}: {reason}", file=sys.stderr)
    return 1 if undone.kept else 0


def _chosen(library: "Library", names: list[str]) -> list[str]:
    """The names, or all. Raises CaptionerError for one that is not there."""
    there = {item.name for item in library.items}
    missing = next((name for name in names if name not in there), None)
    if missing is not None:
        raise CaptionerError(f"{missing} is no media file in {library.folder}; see `list` for the names")
    return names or [item.name for item in library.items]


def _confirmed(count: int) -> bool:
    if not sys.stdin.isatty():
        print("nothing was changed; add --yes to change them", file=sys.stderr)
        return False
    return input(f"Change {count:,} captions? [y/N] ").strip().lower() in ("y", "yes")


def _print_counts(what: str, changed: int, same: int, left_alone: dict[str, int]) -> None:
    parts = [
        f"{changed:,} {what}",
        f"{same:,} the same",
        *(f"{n:,} left alone: {why}" for why, n in left_alone.items()),
    ]
    print(", ".join(parts))


def _line(operation: "OperationInfo") -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(operation.created_at_s))
    state = "undone" if operation.undone_at_s else operation.state
    return (
        f"{operation.id:5}  {when}  {state:11}  {operation.changed:6,} changed  {operation.title}  {operation.folder}"
    )
