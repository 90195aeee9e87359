"""The command `doctor`: what a trainer will do with the files of a folder."""

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Sequence

from captioner.cli.bar import new_bar
from captioner.cli.command import Commands, add_command, add_folder, given_roots
from captioner.cli.setting_options import EXTENSION_TEXT, given_settings
from captioner.cli.streams import say
from captioner.dataset.doctor.examine import examine, look_at
from captioner.dataset.doctor.finding import Finding, codes
from captioner.dataset.doctor.repair import repair
from captioner.dataset.doctor.scene import Scene
from captioner.dataset.trainers import SEVERITIES, trainers
from captioner.formatting import plural
from captioner.media.facts import FactsCache
from captioner.services import Services


def add_doctor(commands: Commands) -> None:
    """Add `doctor`."""
    example = (
        "captioner doctor clips --trainer musubi --target wan2.2\ncaptioner doctor clips --trainer sd-scripts --fix"
    )
    parser = add_command(commands, "doctor", examine_folder, "FOLDER", example)
    add_folder(parser)
    add = parser.add_argument
    add("--trainer", required=True, metavar="NAME", help=f"trainer that will read the folder: {', '.join(trainers())}")
    add("--target", metavar="NAME", help="model to train, named as by `captioner targets` (default: the setting)")
    add("--recursive", action="store_true", help="include subfolders, also if the trainer does not")
    add("--caption-extension", metavar="EXTENSION", help=EXTENSION_TEXT)
    add("--fix", action="store_true", help="repair what is safe; `captioner undo` brings the captions back")
    add("--json", action="store_true", help="print one finding per line as JSON")


def examine_folder(args: argparse.Namespace) -> int:
    """Find out what a trainer will do with each file of a folder."""
    with Services(args.state, given_settings(args), given_roots(args)) as services:
        scene = _look(services, args)
        found = examine(scene)
        if args.fix and any(each.can_repair for each in found):
            services.claim()
            _repair(scene, found, services)
            scene = _look(services, args)
            found = examine(scene)
    if args.json:
        for each in found:
            print(json.dumps(each.to_json()))
    else:
        _print(scene, found)
    return int(any(each.severity == "error" for each in found))


def _look(services: Services, args: argparse.Namespace) -> Scene:
    folder, settings = services.roots.resolve(args.folder), services.settings
    facts = FactsCache(services.database, services.sandbox.probe)
    with new_bar(args.json) as bar:
        return look_at(folder, args.trainer, settings, services.captions, facts, args.recursive, bar.show)


def _repair(scene: Scene, found: Sequence[Finding], services: Services) -> None:
    done = repair(scene, found, services.captions)
    for file, reason in done.kept:
        say(f"kept {file}: {reason}", is_note=True)
    if done.operation is not None:
        text = f"repaired {plural(len(done.paths), 'caption file')}; undo with: captioner undo {done.operation}"
        say(text, is_note=True)


def _print(scene: Scene, found: Sequence[Finding]) -> None:
    about = codes()
    for (severity, code), group in itertools.groupby(found, key=lambda each: (each.severity, each.code)):
        findings = list(group)
        say(f"{severity}: {about[code].title} [{code}]")
        for each in findings:
            say(f"  {each.file}: {each.message}")
        say(f"  fix: {findings[0].fix}{' (--fix)' if any(each.can_repair for each in findings) else ''}")
        say(f"  source: {findings[0].source}")
    counts = Counter(each.severity for each in found)
    parts = [plural(counts[severity], severity) for severity in SEVERITIES if counts[severity]]
    names = " and ".join([scene.trainer.title, *([] if scene.target.name == "none" else [scene.target.title])])
    say(f"{', '.join(parts) or 'nothing found'} in {plural(len(scene.media), 'media file')} for {names}")
