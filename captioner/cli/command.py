"""The parts that all commands of the command line share. Imports nothing heavy.

Exit status: 0 everything succeeded, 1 some files failed, 2 the command could not run, 130 stopped with Ctrl+C.
"""

import argparse
import io
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from captioner import __version__
from captioner.errors import CaptionerError
from captioner.redaction import hide_secrets
from captioner.system.roots import EVERYWHERE, Roots

STOPPED_BY_USER = 130
STATE_TEXT = (
    "folder for settings, prompts and history ($CAPTIONER_STATE); "
    "default: .gradio in a checkout, else a folder in the user's data folder"
)
ROOT_TEXT = "also allow reading this folder (for symlinks)"


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def new_parser() -> tuple[Parser, "argparse._SubParsersAction[Parser]"]:
    """Return the parser of the program, and the object that commands are added to."""
    parser = Parser(
        prog="captioner",
        usage="captioner COMMAND [options]",
        description="Caption folders of videos and images with a vision-language model.",
        epilog="`captioner COMMAND --help` shows the options of a command and an example.",
    )
    parser.add_argument("--version", action="version", version=f"captioner {__version__}")
    commands = parser.add_subparsers(required=True, title="commands", metavar="COMMAND", prog="captioner")
    add_common_options(parser)
    return parser, commands


def add_command(
    commands: "argparse._SubParsersAction[Parser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    arguments: str = "",
    example: str = "",
) -> Parser:
    """Add a command that `run` carries out.

    text: what it does, in a few words that begin with a verb. arguments: the positional ones, for the usage line.
    example: command lines that show it, without the name of the program.
    """
    parser = commands.add_parser(
        name,
        help=text,
        usage=f"%(prog)s {arguments} [options]".replace("  ", " "),
        description=f"{text[0].upper()}{text[1:]}.",
        epilog="\n  ".join(["example:", *example.splitlines()]) if example else None,
        formatter_class=_Formatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_common_options(parser: argparse.ArgumentParser, root: str = ROOT_TEXT) -> None:
    """Add the options that stand before a command or behind it. root: what --root does."""
    group = parser.add_argument_group("common options")
    unset = argparse.SUPPRESS  # else the default behind a command would replace the value before it
    group.add_argument("--state", type=Path, default=unset, metavar="DIR", help=STATE_TEXT)
    dest = "root" if parser.prog == "captioner" else "more_roots"  # two lists, since one would replace the other
    text = f"{root}; repeatable"
    group.add_argument("--root", action="append", type=Path, dest=dest, default=unset, metavar="DIR", help=text)
    group.add_argument("--verbose", action="store_true", default=unset, help="log what happens")


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed arguments, with the common options of both places. arguments: those of the process if None."""
    args = parser.parse_args(arguments)
    given = vars(args)
    args.root = [*given.get("root", []), *given.get("more_roots", [])]
    args.state, args.verbose = given.get("state"), given.get("verbose", False)
    return args


def given_roots(args: argparse.Namespace) -> Roots:
    """Return the folders that a command may read: the user's home folder, FOLDER and each --root. Raise FolderError.

    A command without FOLDER continues something that was allowed before, so it may read everything.
    """
    return Roots.local([args.folder, *args.root]) if args.folder else EVERYWHERE


def run_command(args: argparse.Namespace, log_level: int = logging.ERROR) -> int:
    """Run the parsed command and return its exit status; print an error as one line."""
    logging.basicConfig(level=logging.INFO if args.verbose else log_level, format="%(levelname)s %(message)s")
    hide_secrets()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return args.run(args)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return STOPPED_BY_USER


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help with the lines of the example as they are, and options that take up one line of their own."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)
