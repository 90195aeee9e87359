"""The command `repair`: caption again what the linter finds faulty."""

import argparse
from collections import Counter

from captioner.cli.bar import new_bar
from captioner.cli.caption import RESUME_TEXT, open_for_job, run_job
from captioner.cli.command import Commands, add_command, given_roots
from captioner.cli.lint import add_rules, known_script, print_findings
from captioner.cli.setting_options import add_settings, given_settings
from captioner.cli.streams import say
from captioner.dataset.lint.finding import chosen_rules, tuned_values
from captioner.dataset.lint.folder import FolderLint
from captioner.dataset.lint.waivers import not_waived, read_waivers
from captioner.errors import CaptionerError
from captioner.formatting import plural
from captioner.jobs.repair import MAX_TRIES, TRIES, Repair, RepairWish
from captioner.services import Services

OWN_OPTIONS = ("rule", "no_rule", "tune", "waivers", "script", "tries", "dry_run")


def add_repair(commands: Commands) -> None:
    """Add `repair`."""
    example = "captioner repair clips --target wan2.2 --trigger-word ohwx\ncaptioner repair clips --rule loop --dry-run"
    parser = add_command(commands, "repair", repair_folder, "[FOLDER]", example)
    add_settings(parser, optional_folder=True)
    add_rules(parser.add_argument_group("what is repaired"))
    add = parser.add_argument_group("this job").add_argument
    text = f"captions to make for each file until one is good, 1 to {MAX_TRIES} (default: {TRIES})"
    add("--tries", type=int, metavar="N", help=text)
    add("--dry-run", action="store_true", help="show what would be captioned again, and change nothing")
    add("--resume", action="store_true", help=RESUME_TEXT)
    add("--changed-outside", action="store_true", help="also replace captions edited by other programs")
    add("--json", action="store_true", help="print one event per line as JSON, or one finding with --dry-run")


def repair_folder(args: argparse.Namespace) -> int:
    """Caption again the files whose captions are faulty, and keep the better caption of each."""
    wish = _wish(args)
    given = [name for name in OWN_OPTIONS if getattr(args, name)] if args.resume else []
    if given:
        raise CaptionerError(f"--resume uses the job's own settings; remove --{given[0].replace('_', '-')}")
    if args.dry_run and args.folder:
        with Services(args.state, given_settings(args), given_roots(args)) as services:
            found = _find(services, args, wish)
            return _show(services, args, *found) if found else 0
    return run_job(args, lambda services: _start(services, args, wish))


def _wish(args: argparse.Namespace) -> RepairWish:
    return RepairWish(
        wanted=chosen_rules(args.rule or (), args.no_rule or ()),
        without=frozenset(args.no_rule or ()),
        script=known_script(args.script),
        values=tuned_values(args.tune or ()),
        waivers=tuple(read_waivers(args.waivers)) if args.waivers else (),
        tries=TRIES if args.tries is None else args.tries,
    )


def _find(services: Services, args: argparse.Namespace, wish: RepairWish) -> tuple[Repair, FolderLint] | None:
    if not open_for_job(services, args.folder):
        return None
    with new_bar(args.json) as bar:
        return services.find_repair(wish, bar.show)


def _start(services: Services, args: argparse.Namespace, wish: RepairWish) -> int | None:
    found = _find(services, args, wish)
    if found is None:
        return None
    repair, done = found
    for name, reason in done.unreadable:
        say(f"skipped {name}: {reason}", is_note=True)
    if not repair.found:
        say(f"no faulty captions among {len(done.texts):,}", is_note=True)
        return None
    return services.repair(repair, consent=args.changed_outside)


def _show(services: Services, args: argparse.Namespace, repair: Repair, done: FolderLint) -> int:
    """Print what would be repaired."""
    found = [each for each in not_waived(done.findings, repair.waivers) if each.rule in repair.wanted]
    print_findings(found, done, args.json)
    items = [item for item in services.library.items if item.name in repair.found]
    reasons = Counter(services.captions.skip_reason(item, "overwrite", args.changed_outside) for item in items)
    skipped = "".join(f", {count:,} {reason}" for reason, count in reasons.items() if reason)
    tries = f"up to {repair.tries} {'try' if repair.tries == 1 else 'tries'} each"
    say(f"{plural(reasons[None], 'file')} would be captioned again, {tries}{skipped}", is_note=args.json)
    return int(bool(found))
