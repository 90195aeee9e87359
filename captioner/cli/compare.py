"""The command `compare`: prompts, models or settings tried on some files, judged blind, and ranked."""

import argparse
import itertools
import json
from collections.abc import Callable
from typing import Any

from captioner.cli.bar import new_bar
from captioner.cli.command import STOPPED_BY_USER, Commands, add_command, given_path, given_roots
from captioner.cli.setting_options import add_settings, given_settings
from captioner.cli.streams import confirmed, say
from captioner.config.json_file import parse_json
from captioner.errors import CaptionerError, SettingsError
from captioner.formatting import plural
from captioner.library.comparisons.ballots import cast_all, exported_ballots, exported_votes
from captioner.library.comparisons.comparer import Comparer
from captioner.library.comparisons.comparison import DEFAULT_FILES, Comparison
from captioner.library.comparisons.contenders import changes_to_use, parse_values
from captioner.library.comparisons.result import Row, result_of, to_json
from captioner.services import Services

EXAMPLE = """captioner compare clips --prompts Detailed,Short --files 30
captioner compare clips --try model=qwen3-vl-4b --try "model=qwen3-vl-8b max_frames=16"
captioner compare --json
captioner compare --apply"""
MAX_VOTES_BYTES = 10_000_000


def add_compare(commands: Commands) -> None:
    """Add `compare`."""
    parser = add_command(commands, "compare", compare, "[FOLDER]", EXAMPLE)
    add_settings(parser, optional_folder=True)
    add = parser.add_argument_group("contenders").add_argument
    add("--prompts", metavar="NAME[,NAME]", help="prompts of the library; with --models, each with each")
    add("--models", metavar="MODEL[,MODEL]", help="presets, Hub ids or model folders")
    text = 'settings of one contender, such as "name=Warm temperature=0.7"; "" stands for the settings as they are'
    add("--try", action="append", dest="tries", metavar="SETTINGS", help=f"{text}; repeatable")
    add("--files", type=int, default=DEFAULT_FILES, metavar="N", help="files to compare on (default: %(default)s)")
    add = parser.add_argument_group("this comparison").add_argument
    add("--number", type=int, metavar="N", help="comparison to continue, without FOLDER (default: the newest)")
    add("--resume", action="store_true", help="write the captions that are missing")
    add("--ballots", action="store_true", help="print the captions to vote on as JSON lines, in a random order")
    text = 'count the votes of a file with JSON lines, such as {"file": "a.mp4", "pick": 2}; 0: tie, null: skipped'
    add("--votes", type=given_path, metavar="FILE", help=text)
    add("--export-votes", action="store_true", help="print the votes as such lines")
    add("--apply", action="store_true", help="make the settings of the winner the settings of the app")
    add("--use", metavar="NAME", help="with --apply: another contender than the winner")
    add("--delete", action="store_true", help="delete the comparison of --number, with its captions and votes")
    add("--yes", action="store_true", help="with --delete: do not ask")
    add("--restore", action="store_true", help="bring the deleted comparison of --number back")
    add("--json", action="store_true", help="print the result as one JSON object")


def compare(args: argparse.Namespace) -> int:
    """Try prompts, models or settings on some files of a folder and rank them by blind votes."""
    with Services(args.state, given_settings(args), given_roots(args)) as services:
        comparer = Comparer(services)
        if args.delete or args.restore:
            return _delete_or_restore(args, comparer)
        comparison = _new(args, services, comparer) if args.folder else comparer.store.get(args.number)
        if (args.folder or args.resume) and not _run(args, comparer, comparison.number):
            return STOPPED_BY_USER
        if args.votes:
            rows = _read_votes(args)
            comparison = comparer.store.change(comparison.number, lambda now: cast_all(now, rows))
            say(f"counted {plural(len(rows), 'vote')}", is_note=True)
        comparison = comparer.store.get(comparison.number)
        if args.apply or args.use:
            _apply(args, services, comparison)
    for wanted, rows_of in ((args.ballots, exported_ballots), (args.export_votes, exported_votes)):
        if wanted:
            _print_lines(comparison, rows_of)
            return 0
    _print(args, comparison)
    return int(any(contender.problem for contender in comparison.contenders))


def _delete_or_restore(args: argparse.Namespace, comparer: Comparer) -> int:
    number = args.number
    if number is None or args.folder or (args.delete and args.restore):
        raise CaptionerError("name the comparison with --number, without FOLDER, and give --delete or --restore")
    if args.restore:
        comparer.store.restore(number)
        say(f"restored comparison {number}", is_note=True)
    elif args.yes or confirmed(f"Delete comparison {number} with its captions and votes?", "delete it"):
        comparer.delete(number)
        say(f"deleted comparison {number}; undo with: captioner compare --number {number} --restore", is_note=True)
    else:
        return 1
    return 0


def _new(args: argparse.Namespace, services: Services, comparer: Comparer) -> Comparison:
    if args.number is not None or args.resume:
        raise CaptionerError("a new comparison of FOLDER has no --number and no --resume; leave out FOLDER or these")
    library = services.open_folder(args.folder, services.settings.recursive)
    scan = library.scan
    assert scan.folder  # it was just opened
    made = comparer.create(scan.folder, scan.recursive, scan.items, _contenders(args), args.files)
    files, contenders = plural(len(made.files), "file"), plural(len(made.contenders), "contender")
    say(f"comparison {made.number}: {contenders} on {files}", is_note=True)
    return made


def _contenders(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what each contender sets: every prompt with every model, and each --try."""
    lists = []
    for setting, text in (("model", args.models), ("prompt_name", args.prompts)):
        if text:
            lists.append([{setting: value.strip()} for value in text.split(",") if value.strip()])
    pairs = [dict(itertools.chain.from_iterable(map(dict.items, some))) for some in itertools.product(*lists)]
    found = [*(pairs if lists else []), *map(parse_values, args.tries or ())]
    if not found:
        raise SettingsError("say what to compare with --prompts, --models or --try")
    return found


def _run(args: argparse.Namespace, comparer: Comparer, number: int) -> bool:
    """Run the comparison; return False if the user stopped it."""
    try:
        with new_bar(args.json) as bar:
            comparer.run(number, bar.show)
    except KeyboardInterrupt:
        comparer.stop()
        say(f"stopped; continue with: captioner compare --number {number} --resume", is_note=True)
        return False
    return True


def _read_votes(args: argparse.Namespace) -> list[Any]:
    try:
        if args.votes.stat().st_size > MAX_VOTES_BYTES:
            raise CaptionerError(f"{args.votes} is larger than {MAX_VOTES_BYTES // 1_000_000} MB")
        lines = args.votes.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CaptionerError(f"cannot read the votes: {error}") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows += [parse_json(line)] if line.strip() else []
        except ValueError as error:
            raise CaptionerError(f"{args.votes}, line {number}: {error}") from None
    return rows


def _apply(args: argparse.Namespace, services: Services, comparison: Comparison) -> None:
    result = result_of(comparison)
    if not args.use and not result.num_votes:
        raise CaptionerError("there is no winner yet: vote first, or name a contender with --use")
    name = args.use or result.rows[0].name
    chosen = next((each for each in comparison.contenders if each.name == name), None)
    if chosen is None:
        names = ", ".join(each.name for each in comparison.contenders)
        raise CaptionerError(f"there is no contender {name!r}; there are {names}")
    changes = changes_to_use(chosen, services.settings, services.prompts)
    if changes:
        services.change_settings(changes)
    say(f"the settings are now those of {name}: {', '.join(changes) or 'nothing changed'}", is_note=True)


def _print_lines(comparison: Comparison, rows_of: Callable[[Comparison], list[dict[str, Any]]]) -> None:
    for row in rows_of(comparison):
        print(json.dumps(row, ensure_ascii=False))


def _print(args: argparse.Namespace, comparison: Comparison) -> None:
    if args.json:
        print(json.dumps(to_json(comparison)))
        return
    result = result_of(comparison)
    width = max(len(row.name) for row in result.rows)
    say(f"{'contender':{width}}  preferred  95 % interval  picked  1,000 files")
    for row in result.rows:
        say(_line(row, width))
    say(result.summary())
    if comparison.num_left:
        say(f"{plural(comparison.num_left, 'caption')} left; continue with: captioner compare --resume", is_note=True)
    elif result.num_open:
        files = plural(result.num_open, "file")
        say(f"{files} to vote on: on the page (Prompts, Compare on many files), or see --ballots", is_note=True)


def _line(row: Row, width: int) -> str:
    place = row.place
    share = f"{place.chance:9.0%}    {place.low:4.0%} to {place.high:4.0%}" if place else f"{'-':>9}  {'':13}"
    failed = f"  ({plural(row.num_failed, 'file')} failed)" if row.num_failed else ""
    problem = f"  ({row.problem})" if row.problem else ""
    return f"{row.name:{width}}  {share}  {row.num_picked:6}  {row.cost}{failed}{problem}"
