"""The command `captioner`: the same services as the page, without a browser.

Worker processes import this module again when the program is the installed command, so it imports nothing heavy.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from captioner.cli.bench.command import add_bench
from captioner.cli.command import STOPPED_BY_USER, Parser, add_common_options, new_parser, run_command

Handler: TypeAlias = Callable[..., Any] | signal.Handlers


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status. arguments: those of the process if None."""
    signals = _ending_signals() if arguments is None else []
    _handle(signals, lambda *_: os._exit(STOPPED_BY_USER))  # libraries would print the exception while being imported
    words = sys.argv[1:] if arguments is None else arguments

    def prepare() -> Parser:
        parser = build_parser(bench_only=words[:1] == ["bench"])
        _handle(signals, signal.default_int_handler)
        return parser

    try:
        status = run_command(prepare, words)
        _handle(signals, signal.SIG_IGN)  # the program is ending already
    except KeyboardInterrupt:  # outside of run_command
        return STOPPED_BY_USER
    return status


def _ending_signals() -> list[int]:
    """Return the signals that end a command in order; one that is ignored, as by `nohup`, stays ignored."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # the last one is that of Windows, which lacks others
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [n for n in numbers if signal.getsignal(n) in (signal.SIG_DFL, signal.default_int_handler)]


def _handle(signals: Sequence[int], handler: Handler) -> None:
    for number in signals:
        signal.signal(number, handler)


def build_parser(bench_only: bool = False) -> Parser:
    """Return the parser of all commands, or of `bench`, which also runs without PyAV, pydantic and Gradio."""
    parser, commands = new_parser()
    if not bench_only:
        from captioner.cli.caption import add_captioning  # these import the media libraries
        from captioner.cli.compare import add_compare
        from captioner.cli.doctor import add_doctor
        from captioner.cli.edit import add_editing
        from captioner.cli.lint import add_lint
        from captioner.cli.lists import add_lists
        from captioner.cli.measure import add_measure
        from captioner.cli.repair import add_repair
        from captioner.cli.score import add_score
        from captioner.cli.serve import add_serving
        from captioner.cli.show import add_showing
        from captioner.cli.stats import add_stats
        from captioner.cli.targets import add_targets

        add_captioning(commands)
        add_compare(commands)
        add_editing(commands)
        add_doctor(commands)
        add_lint(commands)
        add_repair(commands)
        add_lists(commands)
        add_measure(commands)
        add_score(commands)
        add_showing(commands)
        add_stats(commands)
        add_targets(commands)
        for command in commands.choices.values():
            add_common_options(command)
        add_serving(commands)
    add_bench(commands)
    return parser
