"""The parts that all commands of the command line share. Imports nothing heavy.

Exit status: 0 everything succeeded, 1 some files failed, 2 the command could not run, 130 stopped with Ctrl+C.
"""

import argparse
import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from captioner import __version__
from captioner.cli.streams import drop_output, owns_streams, prepare_streams, say
from captioner.errors import CaptionerError
from captioner.formatting import printable
from captioner.redaction import hide_secrets, redact
from captioner.system.error_log import ErrorLog, catch_all, one_line_handler
from captioner.system.paths import plain_path
from captioner.system.roots import Roots

STOPPED_BY_USER = 130
STATE_TEXT = (
    "folder for settings, prompts and history ($CAPTIONER_STATE); "
    "default: .gradio in a checkout, else a folder in the user's data folder"
)
ROOT_TEXT = "also allow reading this folder (for symlinks)"


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {printable(redact(message))}; see {self.prog} --help\n")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
Run: TypeAlias = Callable[[argparse.Namespace], int]


def new_parser() -> tuple[Parser, Commands]:
    """Return the parser of the program, and the object that commands are added to."""
    parser = Parser(
        prog="captioner",
        usage="captioner COMMAND [options]",
        description="Caption folders of clips and images with a vision-language model.",
        epilog="`captioner COMMAND --help` shows the options of a command and an example.",
    )
    parser.add_argument("--version", action="version", version=f"captioner {__version__}")
    commands = parser.add_subparsers(required=True, title="commands", metavar="COMMAND", prog="captioner")
    add_common_options(parser)
    return parser, commands


def add_command(commands: Commands, name: str, run: Run, arguments: str = "", example: str = "") -> Parser:
    """Add a command that `run` carries out. The first sentence of its docstring is the help.

    arguments: the positional ones, for the usage line. example: command lines that show it.
    """
    text = (run.__doc__ or "").partition(".")[0]
    parser = commands.add_parser(
        name,
        help=f"{text[:1].lower()}{text[1:]}",
        usage=f"%(prog)s {arguments} [options]".replace("  ", " "),
        description=f"{text}.",
        epilog="\n  ".join(["example:", *example.splitlines()]) if example else None,
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=28),
    )
    parser.set_defaults(run=run)
    return parser


def add_folder(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """Add the argument FOLDER."""
    text = "folder of clips and images"
    parser.add_argument("folder", type=given_path, nargs="?" if optional else None, metavar="FOLDER", help=text)


def add_common_options(parser: argparse.ArgumentParser, root: str = ROOT_TEXT) -> None:
    """Add the options that stand before a command or behind it. root: what --root does."""
    add = parser.add_argument_group("common options").add_argument
    unset = argparse.SUPPRESS  # else the default behind a command would replace the value before it
    add("--state", type=given_path, default=unset, metavar="DIR", help=STATE_TEXT)
    dest = "root" if parser.prog == "captioner" else "more_roots"  # two lists, since one would replace the other
    add("--root", action="append", type=given_path, dest=dest, default=unset, metavar="DIR", help=f"{root}; repeatable")
    add("--verbose", action="store_true", default=unset, help="log what happens")


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed arguments, with the common options of both places. arguments: those of the process if None."""
    args = parser.parse_args(arguments)
    given = vars(args)
    args.root = [*given.get("root", []), *given.get("more_roots", [])]
    args.state, args.verbose = given.get("state"), given.get("verbose", False)
    return args


def given_roots(args: argparse.Namespace) -> Roots:
    """Return the folders that a command may read: the user's home folder, FOLDER and each --root. Raise FolderError.

    A command without FOLDER continues something that was allowed before, so all is allowed at first.
    """
    if not args.folder:
        return Roots(None)
    captions_to = [path for path in [getattr(args, "captions_to", None)] if path and os.path.isdir(plain_path(path))]  # noqa: PTH112
    return Roots.local([args.folder, *args.root, *captions_to])


def given_path(text: str) -> Path:
    """Return the path that a user gave, without quotes and other traces of where it was copied."""
    return Path(plain_path(text))


def run_command(build_parser: Callable[[], argparse.ArgumentParser], arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run their command and return its exit status; print an error as one line."""
    prepare_streams()
    errors = ErrorLog(None)
    try:
        try:
            args = parse(build_parser(), arguments)
            errors = ErrorLog(args.state)
            _prepare_logging(errors, args)
            return args.run(args)
        finally:
            sys.stdout.flush()
    except CaptionerError as error:
        problem = str(error)
    except BrokenPipeError:  # the other end was closed, as by `head`
        drop_output()
        return 1
    except KeyboardInterrupt:
        return STOPPED_BY_USER
    except Exception as error:  # a bug, or a library that is missing, of which the user sees one line
        problem = errors.record(error)
    say(f"error: {problem}", is_note=True)
    return 2


def _prepare_logging(errors: ErrorLog, args: argparse.Namespace) -> None:
    level = logging.INFO if args.verbose else logging.ERROR
    logging.basicConfig(level=level, handlers=[one_line_handler(errors)])
    hide_secrets()
    if owns_streams():
        catch_all(errors)
        if args.state:
            os.environ["CAPTIONER_STATE"] = str(args.state)  # so that the workers find the log
