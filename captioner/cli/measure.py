"""The command `measure`: what the frames of clips show without a model."""

import argparse
import json
from dataclasses import asdict

from captioner.cli.command import Commands, add_command, add_folder, given_roots
from captioner.cli.setting_options import given_settings
from captioner.cli.streams import say
from captioner.media.discover import discover
from captioner.media.facts import FactsCache
from captioner.media.words import describe
from captioner.services import Services
from captioner.values import SamplePlan

PLAN = SamplePlan(max_frames=256)  # two frames a second of two minutes, one of four


def add_measure(commands: Commands) -> None:
    """Add `measure`."""
    example = "captioner measure clips\ncaptioner measure clips --json"
    parser = add_command(commands, "measure", measure_folder, "FOLDER", example)
    add_folder(parser)
    add = parser.add_argument
    add("--recursive", action="store_true", help="include subfolders")
    add("--json", action="store_true", help="print one clip per line as JSON")


def measure_folder(args: argparse.Namespace) -> int:
    """Measure the camera, cuts, freezes, black, light and bars of clips, without a model."""
    with Services(args.state, given_settings(args), given_roots(args)) as services:
        folder = services.roots.resolve(args.folder)
        found = discover(folder, services.listing_options(args.recursive), services.roots.escapes)
        clips = [item for item in found.items if item.kind == "video"]
        facts, failed = FactsCache(services.database, services.sandbox.probe), False
        for item, measured in facts.measure(folder, clips, lambda item: services.sandbox.measure(item, PLAN)):
            if isinstance(measured, str):
                failed = True
                say(f"skipped {item.name}: {measured}", is_note=True)
            elif args.json:
                print(json.dumps({"file": item.name} | asdict(measured)))
            else:
                say(f"{item.name}: {describe(measured) or 'nothing to tell'}")
    for note in found.warnings:
        say(f"note: {note}", is_note=True)
    return int(failed)
