"""Ending this process and its children, and keeping Ctrl+C from them."""

import contextlib
import os
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker

CLOSE_TIMEOUT_S = 4.0  # for an orderly end after Ctrl+C


def end_now(status: int) -> None:
    """End this process and its children at once. Caption files are complete at any moment."""
    import psutil  # a bare image, on which benchmarks run, does not have it

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
    os._exit(status)


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
