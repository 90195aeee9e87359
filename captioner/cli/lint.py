"""The command `lint`: captions that are faulty, told from their text."""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from captioner.cli.bar import new_bar
from captioner.cli.command import Commands, add_command, add_folder, given_path, given_roots
from captioner.cli.setting_options import CAPTIONS_TO_TEXT, EXTENSION_TEXT, given_settings
from captioner.cli.streams import say
from captioner.dataset.lint.by_settings import options_by
from captioner.dataset.lint.finding import Finding, LintOptions, chosen_rules, rules, tuned_values
from captioner.dataset.lint.folder import FolderLint, lint_items
from captioner.dataset.lint.listing import captioned_files
from captioner.dataset.lint.scripts import RANGES
from captioner.dataset.lint.waivers import not_waived, read_waivers
from captioner.errors import CaptionerError
from captioner.formatting import plural
from captioner.media.facts import FactsCache
from captioner.services import Services


def add_lint(commands: Commands) -> None:
    """Add `lint`."""
    example = "captioner lint clips --target wan2.2 --trigger-word ohwx\ncaptioner lint clips --no-rule negative --json"
    parser = add_command(commands, "lint", lint_folder, "FOLDER", example)
    add_folder(parser)
    add = parser.add_argument
    add("--recursive", action="store_true", help="include subfolders")
    add("--target", metavar="NAME", help="model to train, named as by `captioner targets` (default: the setting)")
    add("--trigger-word", metavar="WORD", help="word that each caption begins with (default: the setting)")
    add_rules(parser)
    add("--caption-extension", metavar="EXTENSION", help=EXTENSION_TEXT)
    add("--captions-to", metavar="DIR", help=CAPTIONS_TO_TEXT)
    add("--json", action="store_true", help="print one finding per line as JSON")


def add_rules(parser: argparse._ActionsContainer) -> None:
    """Add the options that choose and tune the rules."""
    add = parser.add_argument
    add("--script", metavar="NAME", help=f"script of all captions: {', '.join(RANGES)} (default: that of most)")
    names = ", ".join(rules())
    add("--rule", action="append", metavar="NAME", help=f"only this rule; repeatable: {names}")
    add("--no-rule", action="append", metavar="NAME", help="without this rule; repeatable")
    tunable = "; ".join(
        f"{name}={rule.value:g}, {rule.unit}" for name, rule in rules().items() if rule.value is not None
    )
    add("--tune", action="append", metavar="RULE=NUMBER", help=f"tune a rule; repeatable (defaults: {tunable})")
    text = 'lines of --json that may stand, each with a reason, such as {..., "reason": "it is a sign"}'
    add("--waivers", type=given_path, metavar="FILE", help=text)


def lint_folder(args: argparse.Namespace) -> int:
    """Find faulty captions: loops, refusals, guesses, near-duplicates and others."""
    chosen, values = chosen_rules(args.rule or (), args.no_rule or ()), tuned_values(args.tune or ())
    waivers = read_waivers(args.waivers) if args.waivers else []
    with Services(args.state, given_settings(args), given_roots(args)) as services, new_bar(args.json) as bar:
        options = _options(services, chosen, values, args.script)
        folder = services.roots.resolve(args.folder)
        items, notes = captioned_files(folder, services.listing_options(args.recursive), services.roots.escapes)
        facts = FactsCache(services.database, services.sandbox.probe)
        done = lint_items(folder, items, options, services.captions, facts, bar.show)
    found = not_waived(done.findings, waivers)
    for note in notes:
        say(f"note: {note}", is_note=True)
    print_findings(found, done, args.json)
    return int(bool(found or done.unreadable))


def _options(services: Services, chosen: frozenset[str], values: dict[str, float], script: str | None) -> LintOptions:
    options = options_by(services.settings, services.prompts)
    return replace(options, script=known_script(script), chosen=chosen, values=values)


def known_script(script: str | None) -> str:
    """Return the chosen script, or "". Raise CaptionerError if there is none of this name."""
    if script and script not in RANGES:
        raise CaptionerError(f"there is no script {script!r}; there are {', '.join(RANGES)}")
    return script or ""


def print_findings(found: Sequence[Finding], done: FolderLint, as_json: bool) -> None:
    """Print findings, and which captions could not be read."""
    for name, reason in done.unreadable:
        say(f"skipped {name}: {reason}", is_note=True)
    if not as_json:
        _print(found, done)
    for each in found if as_json else ():
        print(json.dumps(each.to_json(), ensure_ascii=False))


def _print(found: Sequence[Finding], done: FolderLint) -> None:
    groups = defaultdict(list)
    for each in found:
        groups[each.rule].append(each)
    for name, rule in rules().items():
        if name in groups:
            say(f"{rule.title} [{name}]")
            for each in groups[name]:
                say(f"  {each.file}: {each.why}{f': {each.text}' if each.text else ''}")
            say(f"  fix: {rule.fix}")
    counts = Counter(each.rule for each in found)
    parts = [f"{name} {count:,}" for name, count in counts.most_common()]
    num_faulty = len({each.file for each in found})
    say(f"{num_faulty:,} of {plural(len(done.texts), 'caption')} faulty{': ' if parts else ''}{', '.join(parts)}")
