"""Libraries in C, built on the machine on which they run when a large model is loaded, and never kept."""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

COMPILERS = ("cc", "gcc", "clang")
# Sums may be added in any order, and nothing asks for the sign of a zero; -ffast-math would change the whole process.
FLAGS = (
    "-O3", "-march=native", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno",
    "-fopenmp", "-shared", "-fPIC",
)  # fmt: skip
BUILD_LIMIT_S = 60
BUILD_ERRORS = OSError, subprocess.SubprocessError  # no compiler, or one that knows other flags


def build(source: Path, *options: str) -> ctypes.CDLL:
    """Build and load a file of C with these options. Raises one of BUILD_ERRORS, which reason_of() puts into words."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise OSError("no C compiler was found")
    with tempfile.TemporaryDirectory(prefix="captioner-") as folder:  # a library that is loaded needs no file
        library = Path(folder, source.with_suffix(".so").name)
        command = [compiler, *FLAGS, *options, str(source), "-lm", "-o", str(library)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=BUILD_LIMIT_S)
        return ctypes.CDLL(str(library))


def reason_of(error: Exception) -> str:
    """Return one line: what the compiler printed first, if it did."""
    if isinstance(error, subprocess.CalledProcessError):
        return (error.stderr.strip() or f"the compiler ended with {error.returncode}").splitlines()[0][:160]
    return str(error)[:160]
