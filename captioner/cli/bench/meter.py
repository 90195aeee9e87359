"""How busy a device is and how much memory a run takes, seen from outside."""

import threading
import time
from types import TracebackType

import torch

from captioner.system.resources import nvidia_gpus, resident_bytes

INTERVAL_S = 0.05


class Meter:
    """From `with` to its end, wall and CPU seconds from start(), for a run on one device.

    busy: on a CPU the process's CPU seconds / (wall x threads); on a GPU the mean of NVML's readings, the share of its
    last sample period (about 0.2 s) in which any kernel ran; None without NVML, or for other devices.
    peak_bytes: on a GPU what torch had allocated at most; on a CPU how far the process grew (resident set, sampled),
    which is too little where memory of an earlier run is used again; None without psutil.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ended = threading.Event()
        self._timing = False
        self._readings: list[int] = []
        self._thread = threading.Thread(target=self._watch, name="meter", daemon=True)
        self._uuid = ""  # NVML numbers the GPUs otherwise than torch, which sees CUDA_VISIBLE_DEVICES alone
        if device.type == "cuda":
            self._uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        self._rss_before = self._rss_peak = resident_bytes()
        self.wall_s = self.cpu_s = 0.0

    def __enter__(self) -> "Meter":
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def start(self) -> None:
        """The timed part begins."""
        self._timing = True
        self.wall_s, self.cpu_s = -time.perf_counter(), -time.process_time()

    def stop(self) -> None:
        self.wall_s += time.perf_counter()
        self.cpu_s += time.process_time()
        self._timing = False

    @property
    def busy(self) -> float | None:
        if self._device.type == "cpu":
            return self.cpu_s / (self.wall_s * torch.get_num_threads())
        return sum(self._readings) / len(self._readings) / 100 if self._readings else None

    @property
    def peak_bytes(self) -> int | None:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return None if self._rss_peak is None else self._rss_peak - self._rss_before

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            if self._device.type != "cuda":
                if self._rss_peak is not None:
                    self._rss_peak = max(self._rss_peak, resident_bytes())
            elif self._timing:
                self._read_gpu()

    def _read_gpu(self) -> None:
        for gpu in nvidia_gpus():
            if gpu.uuid == self._uuid and gpu.utilization_percent is not None:
                self._readings.append(gpu.utilization_percent)
