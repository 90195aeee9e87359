"""Weights on a CPU lie in large pages, where Linux gives them on request."""

import subprocess
import sys
from pathlib import Path

import pytest

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SCRIPT = """
import re
from captioner.engine.arranged import OneDnnWeight
import torch
kept = OneDnnWeight(torch.ones(4096, 4096))
print(re.search(r"AnonHugePages:\\s+(\\d+)", open("/proc/self/smaps_rollup").read()).group(1))
"""


@pytest.mark.skipif(not SETTING.exists() or "[never]" in SETTING.read_text(), reason="this kernel has no large pages")
def test_weights_lie_in_large_pages():
    kilobytes = int(subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True).stdout)
    assert kilobytes > 0
