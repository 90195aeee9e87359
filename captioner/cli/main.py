"""The command `captioner`: the same services as the page, without a browser.

Worker processes import this module again when the program is the installed command, so it imports nothing heavy.
"""

import os
import signal
import sys

from captioner.cli.bench.command import add_bench
from captioner.cli.command import STOPPED_BY_USER, Parser, add_common_options, new_parser, run_command


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status. arguments: those of the process if None."""
    handles_interrupts = arguments is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if handles_interrupts:  # libraries would print the exception while they are being imported
        signal.signal(signal.SIGINT, lambda *_: os._exit(STOPPED_BY_USER))
    words = sys.argv[1:] if arguments is None else arguments
    parser = build_parser(bench_only=words[:1] == ["bench"])
    try:
        if handles_interrupts:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = run_command(parser, words)
        if handles_interrupts:  # the program is ending already
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:  # outside of run_command
        return STOPPED_BY_USER
    return status


def build_parser(bench_only: bool = False) -> Parser:
    """Return the parser of all commands, or of `bench`, which also runs without PyAV, pydantic and Gradio."""
    parser, commands = new_parser()
    if not bench_only:
        from captioner.cli.caption import add_captioning  # these import the media libraries
        from captioner.cli.edit import add_editing
        from captioner.cli.serve import add_serving
        from captioner.cli.show import add_showing

        add_captioning(commands)
        add_editing(commands)
        add_showing(commands)
        for command in commands.choices.values():
            add_common_options(command)
        add_serving(commands)
    add_bench(commands)
    return parser
