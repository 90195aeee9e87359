"""Readings of the CPU, the memory and the NVIDIA GPUs; some are missing on a bare image without psutil and pynvml."""

import functools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

try:
    import psutil
except ImportError:
    psutil = None  # type: ignore[assignment]
try:
    import pynvml
except ImportError:
    pynvml = None

CPU_WINDOW_S, VRAM_CACHE_S = 0.5, 2.0


@dataclass(frozen=True)
class Gpu:
    """The state of one NVIDIA GPU. A value that the card or its driver does not report is None."""

    index: int  # NVML's number, in PCI bus order; CUDA's may differ unless CUDA_DEVICE_ORDER=PCI_BUS_ID
    name: str
    utilization_percent: int | None = None
    vram_used_bytes: int | None = None
    vram_total_bytes: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    uuid: str = ""  # "GPU-..."; "" if the driver does not report it


@dataclass(frozen=True)
class Resources:
    """The state of the machine. `gpu_note` says in one line why `gpus` is empty."""

    cpu_percent: float  # over all cores, since the previous reading
    ram_used_bytes: int
    ram_total_bytes: int
    gpus: tuple[Gpu, ...]
    gpu_note: str = ""


class _CpuMeter:
    """Measures CPU use between two readings of any threads. psutil measures per thread and gives 0 to every new one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._percent, self._read_at_s = 0.0, 0.0
        self._busy_s, self._total_s = 0.0, 0.0  # 0: the first reading is the mean since boot

    def read(self) -> float:
        """Return the percentage over all cores since the previous reading, or that reading if it is very recent."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._read_at_s < CPU_WINDOW_S:
                return self._percent
            times = psutil.cpu_times()._asdict()
            total_s = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)  # user includes them
            busy_s = total_s - times["idle"] - times.get("iowait", 0.0)
            busy, total = busy_s - self._busy_s, total_s - self._total_s
            if total > 0:
                self._percent = round(min(max(100 * busy / total, 0.0), 100.0), 1)
            self._read_at_s, self._busy_s, self._total_s = now_s, busy_s, total_s
            return self._percent


_CPU = _CpuMeter()


def read_resources() -> Resources:
    """Return one reading, in about a millisecond. Without NVML there are no GPUs, which is not an error."""
    memory = psutil.virtual_memory()
    gpus, note = _read_gpus()
    return Resources(_CPU.read(), memory.total - memory.available, memory.total, gpus, note)


def available_bytes() -> int:
    """Return the bytes of main memory that are available without swapping."""
    if psutil:
        return psutil.virtual_memory().available
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # Linux; the page cache is not counted


def total_bytes() -> int:
    """Return the bytes of main memory."""
    if psutil:
        return psutil.virtual_memory().total
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int | None:
    """Return the bytes of main memory that this process uses; None without psutil."""
    return psutil.Process().memory_info().rss if psutil else None


def nvidia_gpus() -> list[Gpu]:
    """Return the NVIDIA GPUs that the driver reports, whether or not torch can use them."""
    return list(_read_gpus()[0])


def largest_vram_gb() -> float | None:
    """Return the memory of the largest NVIDIA GPU in 10^9 bytes, or None; cached because every open page polls it."""
    return _largest_vram_gb(int(time.monotonic() / VRAM_CACHE_S))


@functools.lru_cache(maxsize=1)
def _largest_vram_gb(_: int) -> float | None:
    return max((gpu.vram_total_bytes / 1e9 for gpu in nvidia_gpus() if gpu.vram_total_bytes), default=None)


def _read_gpus() -> tuple[tuple[Gpu, ...], str]:
    if pynvml is None:
        return (), "no NVIDIA GPU can be read (nvidia-ml-py is not installed)"
    try:
        _start_nvml()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError_LibraryNotFound:
        return (), "no NVIDIA GPU found (no NVIDIA driver)"
    except pynvml.NVMLError as error:
        return (), f"no NVIDIA GPU found ({error})"
    gpus = tuple(_read_gpu(index) for index in range(count))
    return gpus, "" if gpus else "no NVIDIA GPU found"


@functools.cache
def _start_nvml() -> None:
    """Start NVML once per process, which may take long. A failure is not cached: a driver may be loaded later."""
    pynvml.nvmlInit()


def _read_gpu(index: int) -> Gpu:
    handle = _or_none(pynvml.nvmlDeviceGetHandleByIndex, index)
    if handle is None:  # it fell off the bus, or access is denied
        return Gpu(index, f"GPU {index} (not readable)")
    name = _or_none(pynvml.nvmlDeviceGetName, handle) or f"GPU {index}"
    utilization = _or_none(pynvml.nvmlDeviceGetUtilizationRates, handle)
    memory = _or_none(pynvml.nvmlDeviceGetMemoryInfo, handle)
    power_mw = _or_none(pynvml.nvmlDeviceGetPowerUsage, handle)
    limit_mw = _or_none(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    return Gpu(
        index=index,
        name=_text(name),
        utilization_percent=utilization and utilization.gpu,
        vram_used_bytes=memory and memory.used,
        vram_total_bytes=memory and memory.total,
        temperature_c=_or_none(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        power_w=None if power_mw is None else power_mw / 1000,
        power_limit_w=None if limit_mw is None else limit_mw / 1000,
        uuid=_text(_or_none(pynvml.nvmlDeviceGetUUID, handle) or ""),
    )


def _text(value: str | bytes) -> str:
    """Return text; the bindings of old drivers give bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _or_none(read: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except pynvml.NVMLError:
        return None
