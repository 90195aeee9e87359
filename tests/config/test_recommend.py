"""Which presets are recommended on which machine, and why."""

import pytest

from captioner.config import recommend
from captioner.config.presets import PRESETS
from captioner.config.recommend import Machine, read_machine, suited
from captioner.system.resources import Gpu

GB = 2**30 / 1e9


def recommended(machine: Machine) -> dict[str, str]:
    found = suited(machine)
    assert sorted(each.preset.key for each in found) == sorted(preset.key for preset in PRESETS)
    assert all(each.why for each in found)
    flags = [each.is_recommended for each in found]
    assert flags == sorted(flags, reverse=True)  # recommended ones first
    return {each.preset.key: each.why for each in found if each.is_recommended}


def test_no_gpu():
    assert recommended(Machine((), 32.0)) == {
        "qwen3-vl-2b": "the default here; runs on the CPU, slowly, in 10 of 32 GB of memory",
        "marlin-2b": "runs on the CPU, slowly, in 10 of 32 GB of memory",
        "demo": "runs everywhere, to try the app",
    }
    assert recommended(Machine((), 4.0)) == {
        "qwen3-vl-2b": "the default here; needs 10 GB of memory, more than the 4 GB here",
        "demo": "runs everywhere, to try the app",
    }
    mac = recommended(Machine((), 64.0, is_mac=True))
    assert mac["marlin-2b"] == "runs on the GPU of this Mac, in 10 of 64 GB of memory"


def test_8_gb():
    found = recommended(Machine((8 * GB,), 32.0))
    assert list(found) == ["qwen3-vl-2b", "qwen3.5-4b", "caprl-4b", "marlin-2b", "demo"]
    assert found["qwen3-vl-2b"] == "the default here; fits in 8 GB of GPU memory"
    assert found["qwen3.5-4b"] == "fits in 8 GB of GPU memory with quantization 8bit"


def test_24_gb():
    found = recommended(Machine((24 * GB,), 64.0))
    assert list(found)[:3] == ["qwen3.5-9b", "qwen3-vl-8b", "qwen3-vl-8b-abliterated"]
    assert found["qwen3.5-9b"] == "the default here; fits in 24 GB of GPU memory"
    assert "qwen3.8-27b" not in found


def test_80_gb():
    found = recommended(Machine((80 * GB,), 200.0))
    assert list(found)[:3] == ["qwen3.5-9b", "qwen3.8-27b", "qwen3.6-35b-a3b"]
    assert set(found.values()) - {"runs everywhere, to try the app"} == {
        "fits in 80 GB of GPU memory", "the default here; fits in 80 GB of GPU memory"
    }  # fmt: skip


def test_eight_gpus():
    found = recommended(Machine((80 * GB,) * 8, 900.0))
    assert found["qwen3.8-27b"] == "fits in 80 GB of GPU memory, a copy on each of 8 GPUs"
    assert list(found) == list(recommended(Machine((80 * GB,), 900.0)))
    mixed = recommended(Machine((24 * GB, 8 * GB, 24 * GB), 64.0))
    assert mixed["qwen3.5-9b"].endswith("fits in 24 GB of GPU memory, a copy on 2 of 3 GPUs")
    assert mixed["marlin-2b"].endswith("a copy on each of 3 GPUs")


def test_what_does_not_fit_says_so():
    others = {each.preset.key: each.why for each in suited(Machine((24 * GB,), 64.0)) if not each.is_recommended}
    assert others["qwen3.6-35b-a3b"] == "needs more than the 24 GB of GPU memory here"
    assert others["qwen3.5-4b"] == "fits in 24 GB of GPU memory"


@pytest.mark.parametrize("usable", [True, False])
def test_machine_is_read_from_the_driver_and_torch(monkeypatch, usable):
    gpus = [Gpu(0, "A", vram_total_bytes=24 * 2**30), Gpu(1, "unreadable"), Gpu(2, "B", vram_total_bytes=8 * 2**30)]
    monkeypatch.setattr(recommend, "nvidia_gpus", lambda: gpus)
    monkeypatch.setattr(recommend, "cuda_missing", lambda: not usable)
    machine = read_machine()
    assert machine.gpus_gb == pytest.approx((24 * GB, 8 * GB) if usable else ())
    assert machine.memory_gb > 0.5
