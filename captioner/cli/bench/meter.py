"""Measure how busy a device is and how much memory a run takes."""

import threading
import time
from types import TracebackType

import torch

from captioner.system.resources import nvidia_gpus, resident_bytes

INTERVAL_S = 0.05


class Meter:
    """Measures a run on one device: peak memory within `with`, seconds and load between start() and stop().

    peak_bytes is what torch allocated on a GPU, and the growth of the process on a CPU, which is too small if memory of
    an earlier run is reused; None without psutil.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ended = threading.Event()
        self._timing = False
        self._readings: list[int] = []
        self._thread = threading.Thread(target=self._watch, name="meter", daemon=True)
        self._uuid = ""  # NVML and torch may number the GPUs differently
        if device.type == "cuda":
            self._uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        self._rss_before = self._rss_peak = resident_bytes()
        self.peak_bytes: int | None = None
        self.wall_s = self.cpu_s = 0.0

    def __enter__(self) -> "Meter":
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        if self._device.type == "cuda":
            self.peak_bytes = torch.cuda.max_memory_allocated(self._device)
        elif self._rss_peak is not None and self._rss_before is not None:
            self.peak_bytes = self._rss_peak - self._rss_before

    def start(self) -> None:
        """Begin the timed part."""
        self._timing = True
        self.wall_s, self.cpu_s = -time.perf_counter(), -time.process_time()

    def stop(self) -> None:
        """End the timed part."""
        self.wall_s += time.perf_counter()
        self.cpu_s += time.process_time()
        self._timing = False

    @property
    def busy(self) -> float | None:
        """The load in 0..1: on a CPU the process's CPU seconds / (wall seconds x threads).

        On a GPU it is the mean of NVML's readings, each the share of its last sample period (about 0.2 s) in which any
        kernel ran; None without NVML and for other devices.
        """
        if self._device.type == "cpu":
            return self.cpu_s / (self.wall_s * torch.get_num_threads())
        return sum(self._readings) / len(self._readings) / 100 if self._readings else None

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            if self._device.type != "cuda":
                self._rss_peak = max(self._rss_peak or 0, resident_bytes() or 0) or None
            elif self._timing:
                loads = (gpu.utilization_percent for gpu in nvidia_gpus() if gpu.uuid == self._uuid)
                self._readings.extend(load for load in loads if load is not None)
