"""A real worker process that does harm on files whose names say so, such as "segfault 1.png".

In the decoder: exit, segfault, stick (never comes back). In the engine: hang, cuda (the device is gone), memory (too
little on the device), drop (no answer), stranger (an answer under another id). Everything else is captioned.
"""

import ctypes
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path

from captioner.replicas.process import worker_main
from captioner.values import ModelSpec
from tests.support.quick_replica import QuickReplica

DECODE_TIMEOUT_S = 2.0
MAX_SILENCE_S = 4.0


class FaultyReplica(QuickReplica):
    """Does what the names of the files say."""

    @staticmethod
    def main(connection: Connection, spec: ModelSpec, folder: Path, num_threads: int) -> None:
        _die_on_start(folder)
        _install_faults()
        worker_main(connection, spec, folder, num_threads)


def _die_on_start(folder: Path) -> None:
    """As often as the file says."""
    counter = folder / "deaths to come"
    if counter.exists() and (left := int(counter.read_text())):
        counter.write_text(str(left - 1))
        os._exit(7)


def _install_faults() -> None:
    import torch

    from captioner.engine import continuous
    from captioner.replicas import decoding, worker

    worker.DECODE_TIMEOUT_S, worker.MAX_SILENCE_CPU_S = DECODE_TIMEOUT_S, MAX_SILENCE_S
    faults: dict[int, str] = {}  # of requests in the engine
    sample, launch, submit = decoding.sample, continuous.ContinuousCore._launch, continuous.ContinuousCore.submit

    def decode(decoders, request):
        faults[request.id] = request.path.name.split()[0]
        return original_decode(decoders, request)

    def faulty_sample(path, plan, kind, within):
        match path.name.split()[0]:
            case "exit":
                os._exit(3)
            case "segfault":
                ctypes.string_at(0)
            case "stick":
                time.sleep(3600)
        return sample(path, plan, kind, within)

    def faulty_launch(self, pieces, slots):
        for running, _ in pieces:
            match faults[running.request.id]:
                case "hang":
                    time.sleep(3600)
                case "cuda":
                    raise RuntimeError("CUDA error: an illegal memory access was encountered")
                case "memory":
                    raise torch.OutOfMemoryError("full")
        return launch(self, pieces, slots)

    def faulty_submit(self, request):
        if faults[request.id] != "drop":
            submit(self, request)

    def faulty_on_step(self, event):
        if event.finish_reason and faults[event.id] == "stranger":
            self._flights[-event.id] = self._flights.pop(event.id)
            event = continuous.StepEvent(-event.id, event.num_tokens, event.tokens, event.finish_reason)
        on_step(self, event)

    original_decode, on_step = decoding.DecodePool._decode, worker.Worker._on_step
    decoding.DecodePool._decode, decoding.sample = decode, faulty_sample
    continuous.ContinuousCore._launch, continuous.ContinuousCore.submit = faulty_launch, faulty_submit
    worker.Worker._on_step = faulty_on_step
