"""The streams of the commands: closed, full or limited to some characters; lines for a terminal, and questions."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator

from captioner.errors import CaptionerError
from captioner.formatting import printable
from captioner.redaction import redact


def say(text: str, keep: str = "", is_note: bool = False) -> None:
    """Print a line in which control characters of names and captions are escapes. keep: those that stay.

    is_note: print it on standard error, without secrets.
    """
    if is_note:
        print(printable(redact(text), keep), file=sys.stderr)
    else:
        print(printable(text, keep))


def confirmed(question: str, act: str) -> bool:
    """Ask whether to go on; return False if nobody can answer, after a note that --yes is the way to `act`."""
    if not sys.stdin.isatty():
        say(f"nothing was changed; add --yes to {act}", is_note=True)
        return False
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class _LossyStream(io.TextIOWrapper):
    """A text stream that drops what cannot be written, as on a full disk, since a note must never end a job."""

    def write(self, text: str) -> int:
        """Write the text if possible."""
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered if possible."""
        with contextlib.suppress(OSError):
            super().flush()


class _CheckedStream(io.TextIOWrapper):
    """A text stream that raises CaptionerError if it cannot be written, and BrokenPipeError if nobody reads it."""

    def write(self, text: str) -> int:
        """Write the text."""
        with _one_line_errors():
            return super().write(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with _one_line_errors():
            super().flush()


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output()
        raise CaptionerError(f"cannot write to standard output: {error.strerror}") from None


def prepare_streams() -> None:
    """Replace closed streams, and let the others print any filename; those of the process also fail in one line."""
    is_process = owns_streams()
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, errors="backslashreplace"))  # noqa: SIM115
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            if is_process and type(stream) is io.TextIOWrapper:
                kind = _CheckedStream if name == "stdout" else _LossyStream
                setattr(sys, name, _same_stream(kind, stream))


def _same_stream(kind: type[io.TextIOWrapper], stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Return a stream of another kind on the same buffer, which the interpreter keeps open."""
    return kind(stream.buffer, stream.encoding, "backslashreplace", None, stream.line_buffering, stream.write_through)


def owns_streams() -> bool:
    """Return whether the streams are those of the process, and not ones that another program put in their place."""
    return sys.stderr in (sys.__stderr__, None) or isinstance(sys.stderr, _LossyStream)


def drop_output() -> None:
    """Drop what is left for standard output, which at the end of the process would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
