"""Ending this process and its children, keeping Ctrl+C from them, and what libraries need to know of the user."""

import contextlib
import getpass
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

CLOSE_TIMEOUT_S = 4.0  # for an orderly end after Ctrl+C


def end_now(status: int) -> None:
    """End this process and its children at once. Caption files are complete at any moment."""
    import psutil  # a bare image, on which benchmarks run, does not have it

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
    os._exit(status)


def complete_environment() -> None:
    """Give the processes to be started what they need: a working folder that exists, and a name of the user.

    The folder may have been deleted since, and containers may run as a user without a name.
    """
    try:
        Path.cwd()
    except OSError:
        os.chdir(os.sep)
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = "captioner"


def end_after_the_app() -> None:
    """Leave Ctrl+C to the app, and end some seconds after other signals that end programs.

    They may go to all processes at once, and the app would take this one for a crashed one if it were not there first.
    """

    def end_later(*_: object) -> None:
        timer = threading.Timer(CLOSE_TIMEOUT_S, os._exit, [1])
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # no memory for a thread
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end_later)


@contextlib.contextmanager
def block_sigint() -> Iterator[None]:
    """Block SIGINT in this thread, so that processes started inside the `with` ignore Ctrl+C from their first line."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows a worker ignores SIGINT only when its own code runs
        yield
        return
    resource_tracker.ensure_running()  # otherwise starting the first process does this, and unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
