import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from captioner.system import resources
from captioner.system.resources import Gpu, nvidia_gpus, read_resources

ROOT = Path(__file__).parents[2]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Replace NVML by a driver with one healthy GPU."""
    readings = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda handle: "NVIDIA H200",
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=87, memory=40),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=20_000, total=150_000, free=130_000),
        "nvmlDeviceGetTemperature": lambda handle, sensor: 61,
        "nvmlDeviceGetPowerUsage": lambda handle: 512_500,
        "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 700_000,
        "nvmlDeviceGetUUID": lambda handle: "GPU-1f2e3d4c",
    }
    for name, function in readings.items():
        monkeypatch.setattr(pynvml, name, function)
    resources._start_nvml.cache_clear()
    yield monkeypatch
    resources._start_nvml.cache_clear()


def fail(*arguments: object) -> None:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


def test_gpu_readings_have_units(nvml: pytest.MonkeyPatch) -> None:
    expected = Gpu(0, "NVIDIA H200", 87, 20_000, 150_000, 61, 512.5, 700.0, "GPU-1f2e3d4c")
    assert read_resources().gpus == (expected,)
    assert read_resources().gpu_note == ""
    assert nvidia_gpus() == [expected]


@pytest.mark.parametrize(
    ("function", "fields"),
    [
        ("nvmlDeviceGetName", {"name"}),
        ("nvmlDeviceGetUtilizationRates", {"utilization_percent"}),
        ("nvmlDeviceGetMemoryInfo", {"vram_used_bytes", "vram_total_bytes"}),
        ("nvmlDeviceGetTemperature", {"temperature_c"}),
        ("nvmlDeviceGetPowerUsage", {"power_w"}),
        ("nvmlDeviceGetEnforcedPowerLimit", {"power_limit_w"}),
    ],
)
def test_failed_reading_costs_only_its_own_fields(nvml: pytest.MonkeyPatch, function: str, fields: set[str]) -> None:
    [healthy] = nvidia_gpus()
    nvml.setattr(pynvml, function, fail)
    [gpu] = nvidia_gpus()
    assert {name for name in vars(gpu) if getattr(gpu, name) != getattr(healthy, name)} == fields
    assert all(getattr(gpu, name) == ("GPU 0" if name == "name" else None) for name in fields)


def test_lost_gpu_is_listed_without_readings(nvml: pytest.MonkeyPatch) -> None:
    nvml.setattr(pynvml, "nvmlDeviceGetHandleByIndex", fail)
    assert nvidia_gpus() == [Gpu(0, "GPU 0 (not readable)")]


def test_name_of_an_old_driver_is_text(nvml: pytest.MonkeyPatch) -> None:
    nvml.setattr(pynvml, "nvmlDeviceGetName", lambda handle: b"Tesla K80")
    assert nvidia_gpus()[0].name == "Tesla K80"


@pytest.mark.parametrize(
    ("code", "note"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "no NVIDIA GPU found (no NVIDIA driver)"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "no NVIDIA GPU found (Driver Not Loaded)"),
    ],
)
def test_machine_without_nvml_has_a_note_and_no_error(nvml: pytest.MonkeyPatch, code: int, note: str) -> None:
    def start() -> None:
        raise pynvml.NVMLError(code)

    nvml.setattr(pynvml, "nvmlInit", start)
    reading = read_resources()
    assert (reading.gpus, reading.gpu_note) == ((), note)
    assert nvidia_gpus() == []


def test_driver_without_gpus_has_a_note(nvml: pytest.MonkeyPatch) -> None:
    nvml.setattr(pynvml, "nvmlDeviceGetCount", lambda: 0)
    assert (read_resources().gpus, read_resources().gpu_note) == ((), "no NVIDIA GPU found")


def test_cpu_and_memory_are_those_of_the_machine() -> None:
    reading = read_resources()
    assert 0 <= reading.cpu_percent <= 100
    assert reading.ram_total_bytes == psutil.virtual_memory().total
    assert 0 < reading.ram_used_bytes < reading.ram_total_bytes


def test_cpu_use_is_the_share_of_the_time_since_the_previous_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 11.0, 11.1, 13.0])
    times = iter([(10.0, 90.0, 0.0), (12.0, 94.0, 2.0), (12.0, 100.0, 2.0)])  # user, idle, iowait

    def cpu_times() -> SimpleNamespace:
        user, idle, iowait = next(times)
        return SimpleNamespace(_asdict=lambda: {"user": user, "idle": idle, "iowait": iowait, "guest": 0.0})

    monkeypatch.setattr(resources.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(psutil, "cpu_times", cpu_times)
    meter = resources._CpuMeter()
    assert [meter.read() for _ in range(4)] == [10.0, 25.0, 25.0, 0.0]


def test_reading_needs_no_torch() -> None:
    modules = (
        "system.resources, captioner.config.settings, captioner.captions.store, captioner.config.presets, "
        "captioner.config.prompts, captioner.system.database, captioner.captions.text"
    )
    script = f"import sys, captioner.{modules}; print({{'torch', 'transformers', 'gradio'}} & {{*sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
