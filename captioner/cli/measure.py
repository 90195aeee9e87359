"""The command `measure`: what the frames of clips show without a model."""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from captioner.cli.command import Commands, add_command, add_folder, given_roots
from captioner.cli.setting_options import given_settings
from captioner.cli.streams import say
from captioner.config.request_options import sampling_plan
from captioner.errors import MediaError
from captioner.media.discover import discover
from captioner.media.measure import describe
from captioner.media.sandbox import WORKERS
from captioner.services import Services
from captioner.values import Measured, MediaItem


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
        plan = sampling_plan(services.settings, services.preset())
        folder = services.roots.resolve(args.folder)
        found = discover(folder, services.listing_options(args.recursive), services.roots.escapes)

        def measure(item: MediaItem) -> Measured | MediaError:
            try:
                return services.sandbox.measure(item, plan)
            except MediaError as error:
                return error

        clips = [item for item in found.items if item.kind == "video"]
        failed = False
        with ThreadPoolExecutor(WORKERS, "measure") as pool:
            for item, measured in zip(clips, pool.map(measure, clips), strict=True):
                if isinstance(measured, MediaError):
                    failed = True
                    say(f"skipped {item.name}: {measured}", is_note=True)
                elif args.json:
                    print(json.dumps({"file": item.name} | asdict(measured)))
                else:
                    say(f"{item.name}: {describe(measured) or 'nothing to tell'}")
    for note in found.warnings:
        say(f"note: {note}", is_note=True)
    return int(failed)
