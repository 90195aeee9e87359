"""What all commands of the command line share: options, and one line an error. Imports nothing heavy.

Exit status: 0 all done, 1 some items failed, 2 could not run, 130 stopped with Ctrl+C.
"""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from captioner.errors import CaptionerError
from captioner.redaction import hide_secrets
from captioner.system.roots import EVERYWHERE, Roots

STOPPED_BY_USER = 130


def new_parser() -> tuple[argparse.ArgumentParser, argparse._SubParsersAction]:
    """The program's parser with the options of every command, and where to add commands."""
    parser = argparse.ArgumentParser(prog="captioner", description="Caption folders of videos and images.")
    parser.add_argument("--state", type=Path, help="folder for settings, prompts and history (CAPTIONER_STATE)")
    text = "folder that may be read, too; for links in FOLDER that lead there. May be given often"
    parser.add_argument("--root", action="append", type=Path, default=[], metavar="DIR", help=text)
    parser.add_argument("--verbose", action="store_true", help="log what happens")
    return parser, parser.add_subparsers(required=True, metavar="COMMAND")


def add_command(
    commands: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def given_roots(args: argparse.Namespace) -> Roots:
    """What a command may read: the user's home folder, FOLDER and each --root. Raises FolderError.

    Without a FOLDER everything, for then it goes on with something that was asked for before.
    """
    return Roots.local([args.folder, *args.root]) if args.folder else EVERYWHERE


def run_command(args: argparse.Namespace) -> int:
    """Run the parsed command; errors become one line and an exit status."""
    logging.basicConfig(level=logging.INFO if args.verbose else logging.ERROR, format="%(levelname)s %(message)s")
    hide_secrets()
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr.reconfigure(errors="backslashreplace")
    try:
        return args.run(args)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return STOPPED_BY_USER
