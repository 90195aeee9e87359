"""Real worker processes with a tiny random model: answers, cancels, crashes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from captioner.captions.store import CaptionStore
from captioner.demo.clips import write_samples
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemFailed, ItemProgress, ReplicaChanged
from captioner.jobs.job import Job, Model
from captioner.jobs.runner import JobRunner
from captioner.media.discover import discover
from captioner.replicas.process import ProcessReplica
from captioner.replicas.protocol import Cancelled, Failed, Finished, Lost, Ready, Scored, TokensSoFar
from captioner.system.database import Database
from captioner.values import CaptionRequest, GenerationOptions, ModelSpec, SamplePlan
from tests.support.tiny import YES_AND_NO, make_tiny_model

PLAN = SamplePlan(max_frames=4, min_frames=2, frame_size=64)
START_TIMEOUT_S = 120  # a worker imports torch and transformers


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_samples(folder, num_clips=6, num_stills=2)
    (folder / "broken.mp4").write_bytes(b"this is no video")
    return folder


@pytest.fixture(scope="module")
def replica(tiny_model_folder):
    spec = ModelSpec(str(tiny_model_folder), device="cpu", batch_size=4)
    replica = ProcessReplica("cpu", spec, tiny_model_folder, num_threads=1)
    (ready,) = wait_for(replica, Ready)
    assert dict(ready.report.rows)["dtype"] == "float32"
    yield replica
    replica.close()


def wait_for(replica, *kinds, count=1):
    """Collect events of the given kinds until there are `count`."""
    found, deadline = [], time.monotonic() + START_TIMEOUT_S
    while len(found) < count and time.monotonic() < deadline:
        found += [e for e in replica.events(0.2) if isinstance(e, kinds)]
    assert len(found) >= count, f"got {found}"
    return found


def request(number: int, path: Path, max_new_tokens: int = 8) -> CaptionRequest:
    kind = "image" if path.suffix == ".png" else "video"
    options = GenerationOptions(max_new_tokens=max_new_tokens)
    return CaptionRequest(number, path, kind, PLAN, "describe this video", options)


def test_scores_and_captions_come_from_one_worker(clips, tmp_path):
    folder = make_tiny_model(tmp_path / "model", corpus=YES_AND_NO)
    worker = ProcessReplica("cpu", ModelSpec(str(folder), device="cpu", batch_size=4), folder, num_threads=1)
    try:
        wait_for(worker, Ready)
        for number, path in enumerate(sorted(clips.glob("*.*"))):
            written = request(number, path)
            score = replace(written, options=GenerationOptions(max_new_tokens=1, scores=True))
            worker.submit(score if number % 2 else written)
        answers = {e.id: e for e in wait_for(worker, Scored, Finished, Failed, count=number + 1)}
    finally:
        worker.close()
    scores = [each for each in answers.values() if isinstance(each, Scored)]
    assert len(scores) >= 4
    assert all(0 < each.yes < 1 and 0 < each.no < 1 and each.prompt == "describe this video" for each in scores)
    assert [each.id for each in answers.values() if isinstance(each, Failed)] == [0]  # broken.mp4


def test_model_that_cannot_score_fails_each_request_with_one_line(replica, clips):
    replica.submit(replace(request(50, clips / "clip 01.mp4"), options=GenerationOptions(scores=True)))
    (answer,) = wait_for(replica, Failed, Scored)
    assert answer.reason == 'the model cannot score captions: "yes" is not one token of its tokenizer'


def test_every_request_gets_one_answer_that_says_how_it_was_made(replica, clips):
    paths = sorted(p for p in clips.iterdir() if p.suffix != ".txt")
    for number, path in enumerate(paths):
        replica.submit(request(number, path))
    answers = {e.id: e for e in wait_for(replica, Finished, Failed, count=len(paths))}
    assert set(answers) == set(range(len(paths)))
    for number, path in enumerate(paths):
        if path.name == "broken.mp4":
            assert isinstance(answers[number], Failed)
            assert "\n" not in answers[number].reason
            assert "Error" not in answers[number].reason
        else:
            caption = answers[number].caption
            assert 0 < caption.num_tokens <= 8
            assert len(caption.frame_times_s) == (1 if path.suffix == ".png" else 4)
            assert (caption.device, caption.prompt) == ("cpu", "describe this video")
            assert caption.num_prompt_tokens > 10


def test_cancel_takes_effect_within_a_step_and_the_model_stays(replica, clips):
    path = next(clips.glob("*.mp4"))
    path = clips / "clip 01.mp4"
    replica.submit(request(100, path, max_new_tokens=8000))
    wait_for(replica, TokensSoFar)
    started = time.monotonic()
    replica.cancel(100)
    assert wait_for(replica, Cancelled, Finished) == [Cancelled(100)]
    assert time.monotonic() - started < 2
    replica.submit(request(101, path))
    assert wait_for(replica, Finished)[0].id == 101


def test_cancel_of_an_unknown_or_finished_request_is_ignored(replica, clips):
    replica.cancel(101)
    replica.cancel(99999)
    replica.submit(request(102, clips / "still 01.png"))
    assert wait_for(replica, Finished, Cancelled)[0].id == 102


def test_worker_ignores_the_interrupt_that_ctrl_c_sends_to_the_group(replica, clips):
    os.kill(replica._process.pid, signal.SIGINT)
    replica.submit(request(103, clips / "still 01.png"))
    assert wait_for(replica, Finished)[0].id == 103


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_first_worker_of_a_program_blocks_sigint_before_it_runs_a_line(tmp_path):
    program = """
import multiprocessing, time
from captioner.system.processes import block_sigint
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    with block_sigint():
        process.start()
    print(open(f"/proc/{process.pid}/status").read())
    process.kill()
"""
    (tmp_path / "program.py").write_text(program)
    command, env = [sys.executable, "program.py"], {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    blocked = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("SigBlk:"))
    assert int(blocked, 16) & 1 << signal.SIGINT - 1


def test_model_that_cannot_be_loaded_is_lost_with_its_reason(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    replica = ProcessReplica("cpu", ModelSpec("x", device="cpu"), tmp_path, num_threads=1)
    (lost,) = wait_for(replica, Lost)
    assert lost.reason.startswith(f"cannot read {tmp_path / 'config.json'}: ")
    replica.close()


def test_killed_worker_costs_no_item(tmp_path, tiny_model_folder, clips, monkeypatch):
    monkeypatch.setattr("captioner.replicas.launcher.ProcessReplica", ProcessReplica)  # started as for users
    """Two processes on one CPU; one is killed with work in flight."""
    database = Database(tmp_path / "captioner.sqlite")
    log = EventLog()
    jobs = JobRunner(log, CaptionStore(database, tmp_path / "scratch"), database)
    spec = ModelSpec(str(tiny_model_folder), device="cpu", batch_size=2)
    model = Model("tiny", lambda on_bytes: tiny_model_folder, (spec, spec))
    items = tuple(item for item in discover(clips).items if item.filename != "broken.mp4")
    job = Job(items, model, "describe", PLAN, GenerationOptions(max_new_tokens=300))
    children = set(psutil.Process().children())
    number, killed = jobs.start(job), False
    for event in jobs.follow(number):
        if isinstance(event, ItemProgress) and not killed:
            workers = [p for p in psutil.Process().children() if p not in children and "spawn_main" in str(p.cmdline())]
            workers[0].kill()
            killed = True
        if isinstance(event, ItemFailed):
            pytest.fail(event.reason)
    assert (event.outcome, event.done, event.failed) == ("done", len(items), 0)
    lost = [e for e in log.since(0) if isinstance(e, ReplicaChanged) and e.state == "lost"]
    assert [e.detail for e in lost] == ["its process ended unexpectedly (exit code -9)"]
    jobs.close()
    database.close()
    left = [p for p in psutil.Process().children() if p not in children and "spawn_main" in str(p.cmdline())]
    assert left == []


def test_no_arrays_are_sent_between_processes(replica):
    """Requests and answers are small: pixels stay in the worker."""
    import pickle

    answer = request(1, Path("a.mp4"))
    assert len(pickle.dumps(answer)) < 2000
    assert not any(isinstance(value, np.ndarray) for value in vars(answer).values())
