"""The limits of a process begin when it is ready: what the program itself imports does not count."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from captioner.system.limited_process import LimitedProcess, ProcessFailure

imported = bytearray(300_000_000)  # as heavy libraries do, also in the process, which imports this file again
imported[::4096] = b"x" * len(imported[::4096])

def answer(size):
    return {"size": len(bytearray(size))}, b""

if __name__ == "__main__":
    process = LimitedProcess("test", answer, 100_000_000)
    print(process.ask(30, 1_000_000)[0])
    try:
        process.ask(30, 400_000_000)
    except ProcessFailure as failure:
        print(failure.reason)
    process.end()
"""


def test_memory_of_the_importing_program_does_not_count(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout.splitlines() == ["{'size': 1000000}", "large"], done.stderr
