"""The decode threads in front of an engine: bounded memory, stuck decoders, and clips that need fewer frames."""

import contextlib
import gc
import os
import queue
import threading
import time
import weakref
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import psutil
import pytest
import torch

from captioner.demo.clips import write_samples
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.prepare import Preparer
from captioner.replicas import decoding
from captioner.replicas.decoding import DecodePool, with_fewer_frames
from captioner.replicas.protocol import Failed, Finished, Load, Lost, Ready
from captioner.replicas.worker import Worker
from captioner.values import CaptionRequest, GenerationOptions, ModelSpec, SamplePlan
from tests.support.media_maker import make_video

PLAN = SamplePlan(max_frames=16, min_frames=4, frame_size=96)


def request(number: int, path: Path, plan: SamplePlan = PLAN) -> CaptionRequest:
    kind = "image" if path.suffix == ".png" else "video"
    return CaptionRequest(number, path, kind, plan, "describe", GenerationOptions(max_new_tokens=6))


@pytest.fixture(scope="module")
def long_clips(tmp_path_factory) -> list[Path]:
    """Return 60 names of one clip of ten minutes."""
    folder = tmp_path_factory.mktemp("long")
    make_video(folder / "clip 00.mp4", num_frames=3000, fps=5, size=(160, 96), keyframe_every=50)
    for number in range(1, 60):
        os.link(folder / "clip 00.mp4", folder / f"clip {number:02}.mp4")
    return sorted(folder.iterdir())


def feed(decoders: DecodePool, inbox: queue.Queue, paths: list[Path], take) -> None:
    """Hand over all paths at once, then take one decoded request after the other, as an engine does."""
    for number, path in enumerate(paths):
        decoders.submit(request(number, path))
    waiting = []
    for _ in paths:
        decoders.refill(len(waiting))
        decoded = inbox.get(timeout=60)
        decoders.on_delivered(decoded.id)
        waiting.append(decoded)
        take(waiting)


def test_at_most_depth_requests_are_ahead_of_the_engine(tiny_model, tmp_path):
    write_samples(tmp_path, num_clips=12, num_stills=0)
    paths = sorted(tmp_path.glob("*.mp4"))
    inbox = queue.Queue()
    decoders = DecodePool(Preparer(tiny_model.processor), num_threads=2, depth=4, deliver=inbox.put)
    for number, path in enumerate(paths):
        decoders.submit(request(number, path))
    waiting = 0
    for _ in range(4):
        decoders.refill(waiting)
        assert waiting + decoders.num_decoding <= 4
        decoders.on_delivered(inbox.get(timeout=30).id)
        waiting += 1
    decoders.refill(waiting)
    assert decoders.num_decoding == 0
    assert decoders.more_coming
    decoders.close()


def test_memory_stays_bounded_over_ten_minute_clips(tiny_model, long_clips):
    alive, most_alive, most_bytes = weakref.WeakSet(), 0, 0

    def deliver(decoded):
        nonlocal most_alive, most_bytes
        alive.add(decoded.prepared)
        most_alive = max(most_alive, len(alive))
        tensors = [t for p in list(alive) for t in (*p.inputs.values(), *p.layout.values())]
        most_bytes = max(most_bytes, sum(t.nbytes for t in tensors))
        inbox.put(decoded)

    core = ContinuousCore(tiny_model.model)
    inbox, depth, resident = queue.Queue(), 5, []
    decoders = DecodePool(Preparer(tiny_model.processor, core.layout), num_threads=2, depth=depth, deliver=deliver)

    def take(waiting):
        assert "prepared" in vars(waiting[0])
        waiting.pop(0)
        if decoders.num_decoding == 0:
            gc.collect()
        resident.append(psutil.Process().memory_info().rss)

    feed(decoders, inbox, long_clips, take)
    decoders.close()
    core.close()
    clip_bytes = PLAN.max_frames * 96 * 64 * 3  # 160 x 96 becomes 96 x 64
    assert most_alive <= depth + 1
    assert most_bytes <= (depth + 1) * clip_bytes * 1.5  # tokens and positions beside the pixels
    assert max(resident[30:]) - max(resident[:30]) < 40e6


def test_cancelled_request_that_is_queued_is_never_decoded(tiny_model, tmp_path):
    write_samples(tmp_path, num_clips=3, num_stills=0)
    inbox = queue.Queue()
    decoders = DecodePool(Preparer(tiny_model.processor), num_threads=1, depth=1, deliver=inbox.put)
    for number, path in enumerate(sorted(tmp_path.glob("*.mp4"))):
        decoders.submit(request(number, path))
    decoders.refill(0)
    decoders.cancel(2)
    ids = []
    while decoders.more_coming:
        ids.append(inbox.get(timeout=30).id)
        decoders.on_delivered(ids[-1])
        decoders.refill(0)
    assert ids == [0, 1]
    decoders.close()


def test_stuck_decode_thread_is_replaced_and_its_late_result_is_dropped(tiny_model, tmp_path, monkeypatch):
    write_samples(tmp_path, num_clips=2, num_stills=0)
    released, read = threading.Event(), decoding.sample

    def sample(path, plan, kind, within):
        if path.stem == "clip 01":
            released.wait(60)
        return read(path, plan, kind)

    monkeypatch.setattr(decoding, "sample", sample)
    inbox = queue.Queue()
    decoders = DecodePool(Preparer(tiny_model.processor), num_threads=1, depth=2, deliver=inbox.put, timeout_s=3)
    for number, path in enumerate(sorted(tmp_path.iterdir())):
        decoders.submit(request(number, path))
    decoders.refill(0)
    decoded = []
    while len(decoded) < 2:
        decoders.give_up_overdue()
        with contextlib.suppress(queue.Empty):
            decoded.append(inbox.get(timeout=0.1))
            decoders.on_delivered(decoded[-1].id)
    assert [(d.id, d.error) for d in decoded] == [
        (0, "decoding took longer than 3 s; the file may be damaged"),
        (1, ""),
    ]
    assert (len(decoders.stuck), decoders.more_coming) == (1, False)
    released.set()
    while decoders.stuck:
        time.sleep(0.01)
    assert inbox.empty()
    decoders.close()


def test_halving_keeps_an_even_number_of_frames_and_ends_at_two():
    asked = request(1, Path("a.mp4"), SamplePlan(max_frames=32, min_frames=8))
    sizes, frames = [], 22
    while smaller := with_fewer_frames(asked, frames):
        frames = smaller.plan.max_frames
        sizes.append((frames, smaller.plan.min_frames))
    assert sizes == [(10, 8), (4, 4), (2, 2)]
    assert with_fewer_frames(request(1, Path("a.png")), 1) is None


@contextlib.contextmanager
def running(core, loaded):
    """Run a worker's whole loop in a thread of this process; yield the near end of its connection."""
    near, far = Pipe()
    worker = Worker(far, ModelSpec("tiny", device="cpu"), loaded, core, num_threads=2)
    thread = threading.Thread(target=worker.run, name="worker")
    thread.start()
    yield near
    near.send(None)
    thread.join(30)
    assert not thread.is_alive()
    core.close()


@pytest.fixture
def worker(tiny_model):
    with running(ContinuousCore(tiny_model.model, ContinuousOptions(max_slots=2, max_tokens=256)), tiny_model) as near:
        yield near


def answers(near, *kinds, count: int = 1) -> list:
    found = []
    while len(found) < count:
        assert near.poll(60)
        event = near.recv()
        if isinstance(event, kinds):
            found.append(event)
    return found


@pytest.fixture
def tight_memory(tiny_model):
    """Make the model run out of memory for prompts of more than 100 tokens."""

    def check(module, args, kwargs):
        if any(piece.length > 100 for piece in kwargs["text_step"].pieces):
            raise torch.OutOfMemoryError("full")

    handle = tiny_model.model.model.language_model.layers[0].register_forward_pre_hook(check, with_kwargs=True)
    yield
    handle.remove()


def test_clip_that_does_not_fit_is_captioned_from_fewer_frames_with_a_warning(worker, tight_memory, tmp_path):
    make_video(tmp_path / "long.mp4", num_frames=200, fps=25, size=(96, 96))
    make_video(tmp_path / "short.mp4", num_frames=4, fps=8, size=(64, 64))
    worker.send(request(1, tmp_path / "long.mp4"))
    worker.send(request(2, tmp_path / "short.mp4"))
    done = {event.id: event for event in answers(worker, Finished, Failed, count=2)}
    assert done[1].caption.warning.startswith("captioned from at most ")
    assert done[1].caption.warning.endswith(" frames because device memory was short")
    assert 2 <= len(done[1].caption.frame_times_s) < 16
    assert done[1].caption.num_prompt_tokens <= 100
    assert (done[2].caption.warning, len(done[2].caption.frame_times_s)) == ("", 4)


def test_image_that_does_not_fit_fails_alone(worker, tmp_path, tiny_model):
    def check(module, args, kwargs):
        if kwargs["text_step"].pieces:
            raise torch.OutOfMemoryError("full")

    handle = tiny_model.model.model.language_model.layers[0].register_forward_pre_hook(check, with_kwargs=True)
    write_samples(tmp_path, num_clips=1, num_stills=1)
    worker.send(request(1, tmp_path / "still 01.png"))
    (failed,) = answers(worker, Finished, Failed)
    assert failed.reason.startswith("out of device memory; lower ")
    handle.remove()
    worker.send(request(2, tmp_path / "still 01.png"))
    assert isinstance(answers(worker, Finished, Failed)[0], Finished)


def test_worker_reports_its_load(worker, tmp_path):
    write_samples(tmp_path, num_clips=4, num_stills=0)
    (ready,) = answers(worker, Ready)
    assert ready.capacity >= 2 + 3
    assert dict(ready.report.rows)["engine"] == "continuous batching"
    paths = sorted(tmp_path.glob("clip*.mp4"))
    for number, path in enumerate(paths):
        worker.send(request(number, path))
    answers(worker, Finished, count=len(paths))
    (load,) = answers(worker, Load)
    while load.running or load.decoding:
        (load,) = answers(worker, Load)
    assert (load.slots, load.running, load.waiting, load.decoding) == (2, 0, 0, 0)
    assert 0 <= load.starved_s <= load.up_s


@pytest.mark.logs_error("the engine failed")
def test_broken_engine_ends_the_replica_with_the_reason(worker, tmp_path, tiny_model):
    def check(module, args, kwargs):
        if not kwargs["text_step"].pieces:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")

    handle = tiny_model.model.model.language_model.layers[0].register_forward_pre_hook(check, with_kwargs=True)
    write_samples(tmp_path, num_clips=1, num_stills=0)
    worker.send(request(1, next(tmp_path.glob("*.mp4"))))
    (lost,) = answers(worker, Lost)
    handle.remove()
    assert lost.reason == "the model failed: RuntimeError: CUDA error: an illegal memory access was encountered"


def test_worker_sends_ready_again_when_a_longer_request_changes_the_plan(tiny_model, tmp_path, monkeypatch):
    memory = 4 * 1024 * 2 * 2 * 2 * 16 * 4  # of 4 slots of 1,024 tokens
    monkeypatch.setattr("captioner.engine.slot_memory.free_bytes", lambda device: memory)
    make_video(tmp_path / "clip.mp4", num_frames=4, fps=8, size=(64, 64))
    core = ContinuousCore(tiny_model.model, ContinuousOptions(max_slots=8, max_tokens=1000))
    with running(core, tiny_model) as near:
        (first,) = answers(near, Ready)
        near.send(replace(request(1, tmp_path / "clip.mp4"), max_tokens=200))
        (second,) = (event for event in answers(near, Ready, Finished, count=2) if isinstance(event, Ready))
        (load,) = answers(near, Load)
    memories = [dict(ready.report.rows)["memory"].partition(" each")[0] for ready in (first, second)]
    assert memories == ["4 slots, 1,024 tokens", "8 slots, 256 tokens"]
    assert second.capacity - first.capacity == 4 + 2
    assert load.slots == 8


def test_host_memory_is_bounded_by_running_and_decoded_requests(tiny_model, tmp_path, monkeypatch):
    """In a whole worker, no request holds pixels before its turn or after its end."""
    make_video(tmp_path / "clip.mp4", num_frames=4, fps=8, size=(64, 64))
    alive, most, prepare = weakref.WeakSet(), 0, Preparer.prepare

    def watched(preparer, *arguments):
        nonlocal most
        prepared = prepare(preparer, *arguments)
        alive.add(prepared)
        most = max(most, len(alive))
        return prepared

    monkeypatch.setattr(Preparer, "prepare", watched)
    core = ContinuousCore(tiny_model.model, ContinuousOptions(max_slots=2, max_tokens=256))
    with running(core, tiny_model) as near:
        for number in range(20):
            near.send(request(number, tmp_path / "clip.mp4"))
        assert {type(event) for event in answers(near, Finished, Failed, count=20)} == {Finished}
    assert 2 < most <= 2 + (2 // 2 + 2) + 2


@pytest.mark.logs_error("a.mp4 failed")
def test_unexpected_decoder_error_fails_the_request_with_one_line(worker, tmp_path, monkeypatch):
    def fail(path, plan, kind, within):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(decoding, "sample", fail)
    worker.send(request(1, tmp_path / "a.mp4"))
    (failed,) = answers(worker, Failed)
    assert failed.reason == "decoding failed: RuntimeError: first"


def test_scoring_measures_nothing(tiny_model, tmp_path, monkeypatch):
    write_samples(tmp_path, num_clips=1, num_stills=0)
    [clip] = tmp_path.glob("*.mp4")
    measured = []
    monkeypatch.setattr(decoding, "measured_facts", lambda frames, known: measured.append(known) or frames.facts)
    inbox: queue.Queue = queue.Queue()
    decoders = DecodePool(Preparer(tiny_model.processor), num_threads=1, depth=1, deliver=inbox.put)
    for number, scores in enumerate((True, False)):
        asked = request(number, clip)
        decoders.submit(replace(asked, options=replace(asked.options, scores=scores)))
        decoders.refill(0)
        inbox.get(timeout=60)
        decoders.on_delivered(number)
        assert measured == [None] * number
    decoders.close()
