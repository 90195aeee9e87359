"""The command `serve`, which is also app.py: open the page."""

import argparse
import gc
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from captioner.cli.command import Commands, Parser, add_command, add_common_options, run_command
from captioner.errors import CaptionerError
from captioner.system.handles import raise_limit
from captioner.system.repeats import RepeatFilter
from captioner.ui.server.options import LOGIN_VARIABLE, ROOT_TEXT, add_options, find_access, last_folder, prepare_gradio
from captioner.ui.server.startup import import_gradio


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page as app.py does, and return the exit status. arguments: those of the process if None."""
    return run_command(build_parser, arguments)


def build_parser() -> Parser:
    """Return the parser of app.py."""
    parser = Parser(description="Caption folders of clips and images in the browser.")
    _add_all_options(parser)
    parser.set_defaults(run=serve)
    return parser


def add_serving(commands: Commands) -> None:
    """Add `serve`."""
    example = "captioner serve clips\ncaptioner serve --demo --open\ncaptioner serve /data --root /data --listen"
    _add_all_options(add_command(commands, "serve", serve, "[FOLDER]", example))


def _add_all_options(parser: Parser) -> None:
    add_options(parser)
    add_common_options(parser, ROOT_TEXT)


def serve(args: argparse.Namespace) -> int:
    """Open the page in the browser to caption, review and edit.

    Return after Ctrl+C, SIGTERM or SIGHUP, when the job is stopped and every process ended. Raises CaptionerError.
    """
    logging.getLogger().setLevel(logging.INFO if args.verbose else logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(RepeatFilter())
    raise_limit()
    stop = threading.Event()
    for number in _ending_signals():
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_end_late, args=(stop,), name="end late", daemon=True).start()
    gc.disable()  # nearly all objects of the start stay, and looking through them takes a tenth of it
    try:
        _serve(args, stop)
    except OSError as error:
        raise CaptionerError(str(error)) from None
    finally:
        gc.enable()
    return 0


def _ending_signals() -> list[int]:
    """Return the signals that end the page; that of a closed terminal is ignored under `nohup`."""
    numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # Windows lacks it
        numbers.append(signal.SIGHUP)
    return numbers


def _serve(args: argparse.Namespace, stop: threading.Event) -> None:
    import psutil  # noqa: F401 - commands do without it, but the page shows the load of the machine

    from captioner.demo.clips import write_samples  # heavy libraries, which need some seconds
    from captioner.services import Services

    access = find_access(args, os.environ)
    os.environ.pop(LOGIN_VARIABLE, None)  # the worker processes need not know it
    overrides = {"model": "demo", "recursive": False} if args.demo else None
    with Services(args.state, overrides, access.roots) as services:
        services.claim()
        prepare_gradio(services.folder)
        import_gradio()
        from captioner.ui.launch import launch
        from captioner.ui.page import build

        folder: Path | None
        if args.demo:
            folder = services.folder / "demo"
            shutil.rmtree(folder, ignore_errors=True)
            write_samples(folder)
            access.roots.add(folder)
        else:
            folder = args.folder or last_folder(services.settings.folder, access.roots)
        blocks, page = build(services, folder, access.exposed, write_samples, args.allow_delete)
        address = launch(blocks, page, access, args.port, args.open, args.mcp)
        gc.freeze()
        gc.enable()
        print(f"Video Caption Suite is at {address} (press Ctrl+C to stop)", flush=True)
        if access.generated and access.login:
            print("Log in as {} with the password {}".format(*access.login), flush=True)
        while not stop.wait(0.5):  # in short waits, since Windows handles Ctrl+C only between them
            pass
        blocks.close(verbose=False)


def _end_late(stop: threading.Event) -> None:
    """End the program if it does not end by itself after the stop."""
    stop.wait()
    from captioner.system.processes import CLOSE_TIMEOUT_S, end_now  # a library that may be missing at the start

    time.sleep(CLOSE_TIMEOUT_S)
    end_now(1)
