"""The commands `edit`, `approve`, `history` and `undo`."""

import argparse
import itertools
import time

from captioner.captions.edit import BulkEdit
from captioner.captions.encoding import HOW_TO_BE_CERTAIN
from captioner.captions.lines import with_line_feeds
from captioner.captions.operations import last_standing, operation_info, recent_operations
from captioner.cli.command import Commands, add_command, add_folder, given_roots
from captioner.cli.setting_options import CAPTIONS_TO_TEXT, EXTENSION_TEXT, given_settings
from captioner.cli.streams import confirmed, say
from captioner.errors import CaptionerError
from captioner.formatting import plural
from captioner.library.bulk import Preview, preview
from captioner.library.library import Library
from captioner.services import Services

PREVIEWED = 20  # captions that `edit` prints before and after


def add_editing(commands: Commands) -> None:
    """Add `edit`, `approve`, `history` and `undo`."""
    _add_edit(commands)

    example = 'captioner approve clips "clip 01.mp4"\ncaptioner approve clips --all'
    approve = add_command(commands, "approve", approve_captions, "FOLDER [NAME ...]", example)
    _add_files(approve, "files whose captions to approve, named as by `captioner list`")
    approve.add_argument("--all", action="store_true", help="approve all captions of the folder")
    approve.add_argument("--off", action="store_true", help="withdraw the approval")

    history = add_command(commands, "history", list_operations, "", "captioner history --limit 5")
    history.add_argument("--limit", type=int, default=20, metavar="N", help="number of lines (default: %(default)s)")

    undo = add_command(commands, "undo", undo_operation, "[NUMBER]", "captioner undo 3")
    text = "number of the job or bulk edit in `captioner history` (default: the latest)"
    undo.add_argument("operation", type=int, nargs="?", metavar="NUMBER", help=text)


def _add_edit(commands: Commands) -> None:
    example = 'captioner edit clips --find grey --replace gray\ncaptioner edit clips --trim-openers --prefix "sks,"'
    parser = add_command(commands, "edit", edit_captions, "FOLDER [NAME ...]", example)
    _add_files(parser, "files whose captions to edit, named as by `captioner list` (default: all)")
    add = parser.add_argument_group("change").add_argument
    add("--find", default="", metavar="TEXT", help="text to find, in upper or lower case")
    add("--replace", default="", metavar="TEXT", help="replacement (default: none, which removes it)")
    text = r"--find is a regular expression, and \1 in --replace its first group"
    add("--regex", action="store_true", help=text)
    add("--match-case", action="store_true", help="find only text in the same case")
    add("--prefix", default="", metavar="TEXT", help="text to add before each caption (default: none)")
    add("--suffix", default="", metavar="TEXT", help="text to add after each caption (default: none)")
    add("--trim-openers", action="store_true", help='remove "The video shows" and similar words from the start')
    add("--delete", action="store_true", help="delete the caption files")
    text = "encoding of captions that are not UTF-8; without it they are left alone (default: the setting)"
    add("--caption-encoding", metavar="NAME", help=text)
    answer = parser.add_argument_group("confirmation").add_mutually_exclusive_group()
    answer.add_argument("--dry-run", action="store_true", help="show the changes only")
    answer.add_argument("--yes", action="store_true", help="make the changes without asking")


def _add_files(parser: argparse.ArgumentParser, text: str) -> None:
    add_folder(parser)
    parser.add_argument("names", nargs="*", metavar="NAME", help=text)
    parser.add_argument("--recursive", action="store_true", help="include subfolders")
    parser.add_argument("--caption-extension", metavar="EXTENSION", help=EXTENSION_TEXT)
    parser.add_argument("--captions-to", metavar="DIR", help=CAPTIONS_TO_TEXT)


def edit_captions(args: argparse.Namespace) -> int:
    """Edit many captions at once, after a preview."""
    edit = BulkEdit(
        args.find, args.replace, args.regex, args.match_case, args.prefix, args.suffix, args.trim_openers, args.delete
    )
    with Services(args.state, given_settings(args), given_roots(args)) as services:
        names = _chosen_names(services, args)
        shown = preview(services.library, names, edit, PREVIEWED)
        _print_preview(shown)
        if any(HOW_TO_BE_CERTAIN in reason for reason in shown.skipped):
            _print_guesses(services.library, names)
        if args.dry_run or not shown.num_changed:
            return 0
        if not args.yes and not confirmed(f"Change {plural(shown.num_changed, 'caption')}?", "make the changes"):
            return 1
        done = services.bulk_edit(names, edit)
    _print_counts("changed", done.num_changed, done.num_same, done.skipped)
    print(f"undo with: captioner undo {done.operation}")
    return 0 if done.num_changed == shown.num_changed else 1


def _print_preview(shown: Preview) -> None:
    for name, before, after in shown.changed:
        mark = "  (changed outside)" if name in shown.changed_outside else ""
        say(f"{name}{mark}")
        say(_signed("-", before) + (f"\n{_signed('+', after)}" if after else ""), keep="\n")
    if shown.num_changed > len(shown.changed):
        print(f"… and {shown.num_changed - len(shown.changed):,} more")
    outside = f" ({len(shown.changed_outside):,} of them changed outside)" if shown.changed_outside else ""
    _print_counts(f"to change{outside}", shown.num_changed, shown.num_same, shown.skipped)


def _print_guesses(library: Library, names: list[str]) -> None:
    """Print the first captions whose text is a guess, so that a person can tell whether it is right."""
    entries = (entry for name in names if (entry := library.lookup.find(name)) and entry.doubt)
    for entry in itertools.islice(entries, PREVIEWED):
        say(f"note: {entry.item.name} is {entry.doubt}: {entry.text}", is_note=True)


def _signed(sign: str, text: str) -> str:
    return "\n".join(f"{sign} {line}" for line in with_line_feeds(text).split("\n"))


def _print_counts(what: str, changed: int, same: int, skipped: dict[str, int]) -> None:
    reasons = (f"{count:,} skipped: {reason}" for reason, count in skipped.items())
    say(", ".join([f"{changed:,} {what}", f"{same:,} unchanged", *reasons]))


def approve_captions(args: argparse.Namespace) -> int:
    """Protect captions from jobs and bulk edits."""
    if bool(args.names) == args.all:
        raise CaptionerError("name the files whose captions to approve, or use --all")
    with Services(args.state, given_settings(args), given_roots(args)) as services:
        names = _chosen_names(services, args)
        done = services.library.edits.approve(names, not args.off)
    print(f"{done:,} {'unapproved' if args.off else 'approved'}")
    if done < len(names):
        why = "not approved before" if args.off else "no caption"
        say(f"{len(names) - done:,} skipped: {why}", is_note=True)
    return 0


def _chosen_names(services: Services, args: argparse.Namespace) -> list[str]:
    """Open the folder and return the given names, or those of all files. Raise CaptionerError for an unknown name."""
    library = services.open_folder(args.folder, args.recursive, "all")
    known = dict.fromkeys(item.name for item in library.items)
    unknown = next((name for name in args.names if name not in known), None)
    if unknown is not None:
        where = f"in {library.folder}; run `captioner list` to see the names"
        raise CaptionerError(f"no media file named {unknown} {where}")
    return args.names or list(known)


def list_operations(args: argparse.Namespace) -> int:
    """List the jobs, bulk edits and undos that changed captions, latest first."""
    with Services(args.state) as services:
        for row in recent_operations(services.database, args.limit):
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.created_at_s))
            state = "undone" if row.undone_at_s is not None else row.state
            say(f"{row.id:5}  {when}  {state:11}  {row.changed:6,} changed  {row.title}  {row.folder}")
    return 0


def undo_operation(args: argparse.Namespace) -> int:
    """Restore the captions that a job or bulk edit changed."""
    with Services(args.state) as services:
        if args.operation is None:
            chosen = last_standing(services.database)
        else:
            chosen = operation_info(services.database, args.operation)
        if chosen is None:
            say("nothing to undo", is_note=True)
            return 0
        undone = services.undo(chosen.id)
    say(f"{chosen.id}: {chosen.title}: {plural(undone.restored, 'caption')} restored")
    for path, reason in undone.kept:
        say(f"kept {path}: {reason}", is_note=True)
    return 1 if undone.kept else 0
