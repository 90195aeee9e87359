"""The command `targets`: the models that captions are written for, and what follows from each."""

import argparse
import json
from dataclasses import asdict

from captioner.cli.command import Commands, add_command
from captioner.cli.streams import say
from captioner.dataset.targets import Target, target, targets

HEADING = f"{'':17} {'fps':>3}  {'frames':32} {'size':4} {'tokens':>6}  {'form':10} prompt"


def add_targets(commands: Commands) -> None:
    """Add `targets`."""
    example = "captioner targets\ncaptioner targets wan2.2"
    parser = add_command(commands, "targets", list_targets, "[TARGET]", example)
    parser.add_argument("name", nargs="?", metavar="TARGET", help="target to show in full (default: list all)")
    parser.add_argument("--json", action="store_true", help="print one target per line as JSON")


def list_targets(args: argparse.Namespace) -> int:
    """List the models that captions can be written for, and what follows from each."""
    chosen = [target(args.name)] if args.name else [*targets().values()]
    if args.json:
        for each in chosen:
            print(json.dumps(asdict(each) | {"fields": each.caption_form.fields}))
    elif args.name:
        for label, text in chosen[0].facts():
            say(f"{label:14} {text}")
    else:
        say(HEADING)
        for each in chosen:
            say(_row(each))
    return 0


def _row(each: Target) -> str:
    fps = "" if each.fps is None else f"{each.fps:g}"
    frames = str(each.frames) if each.frames else ("image" if each.kind == "image" else "")
    size = f"/{each.size_multiple}" if each.size_multiple > 1 else ""
    return f"{each.name:17} {fps:>3}  {frames:32} {size:4} {each.token_limit or '':>6}  {each.form:10} {each.prompt}"
