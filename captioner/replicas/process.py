"""A replica in a separate process: all its memory is returned when it ends, and a crash stays inside."""

import ctypes
import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from captioner.redaction import hide_secrets
from captioner.replicas.piped import PipedReplica
from captioner.replicas.protocol import Lost, ReplicaEvent
from captioner.system.error_log import ErrorLog, one_line_handler
from captioner.system.processes import block_sigint, complete_environment, end_after_the_app
from captioner.values import ModelSpec

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 1.0  # for a worker to end by itself; it has nothing to clean up
EXIT_TIMEOUT_S = 3.0  # from the end of the connection to the end of the process
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def worker_main(connection: Connection, spec: ModelSpec, folder: Path, num_threads: int) -> None:
    """Run the worker process."""
    prepare_process()
    gc.disable()  # all objects of the imports stay, and looking through them again and again takes a tenth of the time
    try:
        from captioner.replicas.worker import serve  # imports torch and transformers, which only this process needs
    except Exception:  # a damaged installation may raise anything
        log.exception("the libraries of the worker cannot be loaded")
        sys.exit(1)
    gc.freeze()
    gc.enable()
    serve(connection, spec, folder, num_threads)


def prepare_process() -> None:
    """Make this process a worker: it ends with the app, and logs no secrets."""
    end_after_the_app()
    multiprocessing.current_process().daemon = False  # so that it may start the process for chat templates
    _end_with_the_app()
    hide_secrets()
    logging.basicConfig(level=logging.WARNING, handlers=[one_line_handler(ErrorLog(None))])


class ProcessReplica(PipedReplica):
    """A replica in a spawned worker process; worker.py is the other end of the connection.

    On Linux the worker ends with the thread that created it, so that thread must live long enough.
    """

    main = staticmethod(worker_main)

    def _open_far_end(self, far_end: Connection, num_threads: int) -> None:
        arguments = (far_end, self.spec, self.folder, num_threads)
        name = f"replica {self.name}"
        self._process = self.context.Process(target=self.main, args=arguments, name=name, daemon=True)
        complete_environment()
        with block_sigint():
            self._process.start()

    def _kill(self) -> None:
        self._process.kill()

    def _describe_end(self) -> list[ReplicaEvent]:
        self._process.join(EXIT_TIMEOUT_S)
        reason = f"its process ended unexpectedly (exit code {self._process.exitcode})"
        raised = self._process.exitcode == 1  # an exception, which another worker would raise again
        return [Lost(reason, final=raised and not self.capacity)]

    def close(self) -> None:
        self._outbox.put(None)
        self._process.join(CLOSE_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _end_with_the_app() -> None:
    """Make this process end when the app is killed, even while it loads a model or a decoder hangs."""

    def watch(app: BaseProcess) -> None:
        app.join()
        os._exit(1)

    if sys.platform == "linux":  # a thread does not notice the app's end while C code holds the GIL
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if app := multiprocessing.parent_process():
        threading.Thread(target=watch, args=(app,), name="watch the app", daemon=True).start()
