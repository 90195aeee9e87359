"""The log of unexpected errors: users see one line, and the traceback is kept in the state folder."""

import contextlib
import logging
import os
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from captioner.errors import StateError
from captioner.formatting import printable
from captioner.redaction import redact

NAME = "errors.log"
MAX_BYTES = 1_000_000  # a longer log is deleted first
MAX_LINE = 300
INSTALL = "install what is missing with: pip install -r requirements.txt"
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)

ExceptionInfo: TypeAlias = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class ErrorLog:
    """Writes tracebacks to the log in a state folder, and returns one line for the user. Any thread may call."""

    def __init__(self, state: Path | None) -> None:
        """Make no file yet. state: as given with --state."""
        self._state = state

    def record(self, error: BaseException) -> str:
        """Return what happened and where its traceback was written, in one line."""
        return self.record_text(_summary(error), "".join(traceback.format_exception(error)))

    def record_text(self, summary: str, details: str) -> str:
        """Write the details to the log and return the summary with its path, in one line."""
        line = printable(redact(summary))
        path = self._write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n{redact(details).rstrip()}\n\n")
        return f"{line}; details are in {printable(str(path))}" if path else line

    def _write(self, text: str) -> Path | None:
        for folder in (self._folder, lambda: Path(tempfile.mkdtemp(prefix="captioner-"))):
            with contextlib.suppress(OSError, ValueError, StateError, ImportError):
                return _append(folder() / NAME, text.encode("utf-8", "backslashreplace"))
        return None

    def _folder(self) -> Path:
        from captioner.system.files import state_folder  # not on a bare image, on which only `bench` runs

        return state_folder(self._state)


def _append(path: Path, data: bytes) -> Path:
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        path.unlink()
    with open(os.open(path, _FLAGS, 0o600), "ab") as file:
        file.write(data[:MAX_BYTES])
    return path


def _summary(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines() or [""]
    if isinstance(error, ImportError) and error.name and not error.name.startswith("captioner"):
        library = error.name.partition(".")[0]
        return f"cannot load the library {library}: {lines[0]}"[:MAX_LINE] + f"; {INSTALL}"
    return f"unexpected {type(error).__name__}: {lines[0]}"[:MAX_LINE].removesuffix(": ")


class OneLine(logging.Formatter):
    """Formats a record as one line without control characters, and keeps its traceback in the log of errors."""

    def __init__(self, errors: ErrorLog) -> None:
        super().__init__()
        self._errors = errors

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = f"{record.levelname} {record.getMessage()}"
        if not record.exc_info or not record.exc_info[0]:
            return printable(line)
        summary = f"{line.splitlines()[0][:MAX_LINE]}: {_summary(record.exc_info[1])}"
        return self._errors.record_text(summary, record.exc_text or self.formatException(record.exc_info))


def one_line_handler(errors: ErrorLog) -> logging.Handler:
    """Return a handler that prints records as single lines on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(errors))
    return handler


def catch_all(errors: ErrorLog) -> None:
    """Show what nothing else catches, in any thread, as one line on standard error."""

    def show(kind: type[BaseException], error: BaseException | None) -> None:
        line = errors.record(error or kind())
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"error: {line}\n")

    def show_of_thread(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, SystemExit):
            show(args.exc_type, args.exc_value)

    def record_ignored(args: "sys.UnraisableHookArgs") -> None:
        if args.exc_value is not None:
            errors.record(args.exc_value)

    sys.excepthook = lambda kind, error, _: show(kind, error)
    threading.excepthook, sys.unraisablehook = show_of_thread, record_ignored
