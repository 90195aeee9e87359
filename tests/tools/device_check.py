"""One look at the engine on a device: every part is timed, and none stops the others.

python -m tests.tools.device_check --model qwen3-vl-8b; without a GPU, it runs the tiny model to test itself.
"""

import argparse
import json
import logging
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import torch
import transformers

from captioner.cli.bench.models import open_model
from captioner.cli.bench.rendered_clips import render_clips
from captioner.cli.bench.roofline import measure_device, step_bytes
from captioner.engine.attention_backends import pick_backend
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.core import first_line
from captioner.engine.loading import pick_device, pick_dtype
from captioner.engine.prepare import Prepared, Preparer
from captioner.values import GenerationOptions
from tests.support.engine_cases import next_decode_step, run_fixed_eagerly

log = logging.getLogger(__name__)

SHAPES = ((16, 8, 128), (32, 8, 128), (16, 4, 256), (16, 16, 64), (16, 16, 72))  # query heads, key heads, dimension
NEW_TOKENS = 500


class DeviceCheck:
    """The parts, and what they found."""

    def __init__(self, model_name: str, slots: list[int], stop_s: float) -> None:
        self.device = pick_device("auto")
        self.dtype = pick_dtype("auto", self.device)
        self.found: dict[str, object] = {"torch": torch.__version__, "transformers": transformers.__version__}
        self._model_name, self._slots, self._stop_s = model_name, sorted(slots, reverse=True), stop_s
        self._started_s = time.perf_counter()

    def run(self) -> None:
        """Run all parts that there is time for."""
        self._part("attention", self._check_attention)
        self._part("ceilings", self._measure_device)
        self._part("engine", self._run_engine)

    def _check_attention(self) -> None:
        for shape in SHAPES:
            backend, note = pick_backend(self.device, self.dtype, *shape)
            self.found[f"attention {shape}"] = f"{backend.name} {note}".strip()

    def _measure_device(self) -> None:
        self._speed = measure_device(self.device, self.dtype)
        gb_per_s, tflop_per_s = self._speed.bytes_per_s / 1e9, self._speed.flops_per_s / 1e12
        self.found["ceilings"] = f"{gb_per_s:.0f} GB/s, {tflop_per_s:.2f} TFLOP/s"

    def _run_engine(self) -> None:
        model, processor = open_model(self._model_name, True, self.device, self.dtype)
        self._config = model.config
        options = ContinuousOptions(max_slots=self._slots[0] + 1, max_tokens=2048)
        with closing(ContinuousCore(model, options)) as core:
            self._look_at(core, self._clips(Preparer(processor, core.layout, pin=self._on_cuda)))

    @property
    def _on_cuda(self) -> bool:
        return self.device.type == "cuda"

    def _clips(self, preparer: Preparer) -> list[Prepared]:
        frames, size = (16, (320, 192)) if self._on_cuda else (4, (96, 64))
        clips = render_clips(self._slots[0], (frames, frames), (size, size), seed=0)
        options = GenerationOptions(max_new_tokens=NEW_TOKENS)
        return [preparer.prepare(i, clip, "describe this video in detail", options) for i, clip in enumerate(clips)]

    def _look_at(self, core: ContinuousCore, clips: list[Prepared]) -> None:
        for clip in clips:
            core.submit(clip)
        mixed = []
        while core.num_waiting or any(running.is_reading for running in core._running.values()):
            mixed.append(self._timed(core.step, 1))
        self.found["mixed steps, ms"] = mixed
        for count in self._slots:
            self._part(f"{count} rows", lambda count=count: self._measure_rows(core, count, clips[0]))
        self._part("waits", lambda: self._find_waits(core))
        self._part("kernels", lambda: self._count_kernels(core))
        self.found |= dict(core.report_rows())

    def _measure_rows(self, core: ContinuousCore, count: int, clip: Prepared) -> None:
        for running in [each for each in core._running.values() if each.slot >= count]:
            core.cancel(running.request.id)
        self._timed(core.step, 3)
        step_ms, memory = self._timed(core.step, 25), core._memory
        step = next_decode_step(core)
        assert memory is not None
        assert step is not None
        with torch.inference_mode():
            decode_ms = self._timed(lambda: memory.decode.run(*step), 20)
        bound_ms = 1e3 * step_bytes(self._config, count, step[2], self.dtype.itemsize) / self._speed.bytes_per_s
        core.submit(replace(clip, id=1000 + count))
        joining_ms = self._timed(core.step, 1)
        core.cancel(1000 + count)
        numbers = {"step": step_ms, "decode": decode_ms, "bound": bound_ms, "joining": joining_ms}
        self.found[f"{count} rows, ms"] = {name: round(ms, 3) for name, ms in numbers.items()} | {"tokens": step[2]}

    def _count_kernels(self, core: ContinuousCore) -> None:
        step, memory = next_decode_step(core), core._memory
        assert memory is not None
        assert step is not None
        with torch.inference_mode(), torch.profiler.profile() as profile:
            run_fixed_eagerly(memory.decode, *step)
            self._wait()
        kernels = [each for each in profile.events() if each.device_type == torch.autograd.DeviceType.CUDA]
        self.found["kernels of a decode step"] = len(kernels)
        order = "self_cuda_time_total" if self._on_cuda else "self_cpu_time_total"
        print(profile.key_averages().table(sort_by=order, row_limit=14, max_name_column_width=60))

    def _part(self, name: str, work: Callable[[], object]) -> None:
        started_s = time.perf_counter()
        if started_s - self._started_s > self._stop_s:
            self.found[f"{name} failed"] = "left out for lack of time"
            return
        try:
            work()
            self._wait()
        except Exception as error:  # the device may fail in any way
            log.exception("%s failed", name)
            self.found[f"{name} failed"] = first_line(error)
        print(f"{name}: {time.perf_counter() - started_s:.2f} s", flush=True)

    def _timed(self, work: Callable[[], object], count: int) -> float:
        """Return the milliseconds of one call."""
        self._wait()
        started_s = time.perf_counter()
        for _ in range(count):
            work()
        self._wait()
        return round(1e3 * (time.perf_counter() - started_s) / count, 3)

    def _find_waits(self, core: ContinuousCore) -> None:
        """Find the file and line of each place where a decode step makes the host wait, as torch notices it."""
        with warnings.catch_warnings(record=True) as noticed:
            warnings.simplefilter("always")
            if self._on_cuda:
                torch.cuda.set_sync_debug_mode("warn")
            core.step()
            if self._on_cuda:
                torch.cuda.set_sync_debug_mode("default")
        places = [f"{each.filename}:{each.lineno}" for each in noticed if "synchroniz" in str(each.message)]
        self.found["waits in a decode step"] = places

    def _wait(self) -> None:
        if self._on_cuda:
            torch.cuda.synchronize(self.device)


def main() -> None:
    on_cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="qwen3-vl-8b" if on_cuda else "tiny", help="default %(default)s")
    parser.add_argument("--slots", type=int, nargs="+", default=[64, 32, 8, 1] if on_cuda else [8, 1])
    parser.add_argument("--stop-s", type=float, default=200, help="begin no part after so many seconds")
    args = parser.parse_args()
    check = DeviceCheck(args.model, args.slots, args.stop_s)
    check.run()
    print(json.dumps(check.found, indent=1))


if __name__ == "__main__":
    main()
