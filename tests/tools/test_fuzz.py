"""A short run of tests/tools/fuzz.py; `python -m tests.tools.fuzz` is the long one."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from captioner.media.kinds import KINDS
from tests.tools import damaged_media, fuzz

# Other names of kinds that are made, and what nothing here can encode.
NOT_MADE = {
    "3g2", "apng", "asf", "avifs", "divx", "dv", "f4v", "heic", "heif", "hif", "ivf", "j2c", "j2k", "jpc", "jpe", "jpf",
    "jpx", "jxl", "m1v", "m2t", "m2ts", "m2v", "mpe", "mpo", "nut", "ogm", "pbm", "pgm", "pnm", "qt", "rm", "rmvb",
}  # fmt: skip


def test_damaged_files_cost_themselves_alone():
    """In a process of its own, for what is measured is the most memory that it ever took."""
    command = [sys.executable, "-m", "tests.tools.fuzz", "--files", "200", "--seed", "1"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = {line[:28].strip(): line[28:] for line in done.stdout.splitlines()}
    assert int(figures["read in spite of it"]) + int(figures["refused"]) == 200
    assert int(figures["refused"]) > 50
    assert figures["what must not happen"] == "0"


def test_every_supported_type_is_among_the_seeds(tmp_path):
    made = damaged_media.make_seeds(tmp_path)
    suffixes = {path.suffix[1:].lower() for path in made} - {"jxl"}
    assert set(KINDS) - suffixes - NOT_MADE == suffixes - set(KINDS) == set()
    assert len(made) >= len(damaged_media.VIDEOS) + len(damaged_media.PICTURES) + len(damaged_media.ANIMATIONS) - 3


@pytest.mark.parametrize("rule", damaged_media.RULES, ids=lambda rule: rule.__name__)
def test_each_rule_does_damage(rule):
    data = bytes(range(256)) * 20
    changed = {bytes(rule(bytearray(data), b"other" * 100, random.Random(number))) for number in range(20)}
    assert len(changed - {data}) > 5


def test_same_seed_gives_the_same_file():
    one, two = (damaged_media.damage(bytes(3000), b"other" * 9, random.Random("7 1")) for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        ("file is empty", ""),
        ("two\nlines", "not one line of text"),
        ("cannot open /media/clip.mp4", "repeats the path"),
        ("cannot be read (TypeError: x)", "not foreseen"),
        ("UNEXPECTED KeyError: 'facts'", "not foreseen"),
    ],
)
def test_what_must_not_be_said_is_found(reason, fault):
    assert fuzz._fault(reason, Path("/media/clip.mp4")) == fault
