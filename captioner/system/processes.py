"""The end of this process and of those that it started."""

import contextlib
import os
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker

import psutil

CLOSE_TIMEOUT_S = 4.0  # to come to an end in order after Ctrl+C


def end_now(status: int) -> None:
    """End this process and those that it started, whatever they do. Captions are whole at any moment."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
    os._exit(status)


@contextlib.contextmanager
def block_sigint() -> Iterator[None]:
    """Block SIGINT in this thread, so that processes started inside the block ignore Ctrl+C from their first line.

    Ctrl+C reaches every process of a terminal, and the app ends its workers in order. Windows has no signal mask; there
    a worker ignores SIGINT only once its own code runs.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # else the first start does so, and lifts the mask before it starts the worker
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
