"""The cost of faults in real workers and the real file layer. `pytest -s tests/jobs/test_faults.py` prints it.

lost: items that are neither captioned nor failed with a reason. healthy hurt: items without a fault that failed.
"""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from captioner.captions.store import CaptionStore
from captioner.demo.clips import write_samples
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemDone, ItemFailed, ItemGivenBack, JobEnded, JobStarted, ReplicaChanged
from captioner.jobs.job import Job, Model
from captioner.jobs.runner import JobRunner
from captioner.media.discover import discover
from captioner.replicas.pool import ReplicaPool
from captioner.system.database import Database
from captioner.values import GenerationOptions, ModelSpec, SamplePlan
from tests.support.faulty_replica import FaultyReplica

PLAN = SamplePlan(max_frames=4, min_frames=2, frame_size=64)
CRASHED = "skipped after crashing 2 workers (last error: {})"
NUM_HEALTHY = 12


@dataclass
class Outcome:
    """The outcome of one job. Names are those of items."""

    folder: Path
    ended: JobEnded
    seconds: float
    num_started: int
    failed: dict[str, str] = field(default_factory=dict)  # name -> reason
    given_back: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)  # reasons

    @property
    def captioned(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*.txt") if path.read_text().strip()}


@dataclass
class Bench:
    """A folder of healthy stills, a state folder, and a JobRunner over faulty replicas."""

    folder: Path
    state: Path
    model_folder: Path
    num_replicas: int = 1
    started: list[FaultyReplica] = field(default_factory=list)

    def run(self, on_event=lambda event: None, existing="skip") -> Outcome:
        database, log = Database(self.state / "captioner.sqlite"), EventLog()
        started = self.started = []

        def start(*args) -> FaultyReplica:
            started.append(FaultyReplica(*args[:3], num_threads=1))
            return started[-1]

        jobs = JobRunner(log, CaptionStore(database, self.state), database, ReplicaPool(start))
        spec = ModelSpec(str(self.model_folder), device="cpu", batch_size=3, decode_threads=2)
        model = Model("tiny", lambda on_bytes: self.model_folder, (spec,) * self.num_replicas)
        job = Job(discover(self.folder).items, model, "describe", PLAN, GenerationOptions(max_new_tokens=8), existing)
        began_s = time.monotonic()
        try:
            number = jobs.start(job)
            for event in jobs.follow(number):
                on_event(event)
        finally:
            jobs.close()
            database.close()
        outcome = Outcome(self.folder, event, time.monotonic() - began_s, len(started))
        for event in log.since(0):
            match event:
                case ItemFailed():
                    outcome.failed[event.item] = event.reason
                case ItemGivenBack():
                    outcome.given_back.append(event.item)
                case ReplicaChanged(state="lost"):
                    outcome.losses.append(event.detail)
        assert not [replica for replica in started if replica._process.is_alive()]
        return outcome


@pytest.fixture(scope="module")
def still(tmp_path_factory) -> Path:
    return write_samples(tmp_path_factory.mktemp("still"), num_clips=0, num_stills=1)[0].path


@pytest.fixture
def bench(tmp_path, tiny_model_folder, still) -> Bench:
    folder, state = tmp_path / "clips", tmp_path / "state"
    folder.mkdir()
    state.mkdir()
    for number in range(NUM_HEALTHY):
        shutil.copy(still, folder / f"good {number:02}.png")
    return Bench(folder, state, tiny_model_folder)


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple]]:
    rows: list[tuple] = []
    yield rows
    names = ("fault", "items", "captioned", "failed", "lost", "healthy hurt", "run again", "replicas lost", "seconds")
    widths = (34, *(len(name) for name in names[1:]))
    print("\n" + "  ".join(f"{cell!s:<{width}}" for cell, width in zip(names, widths, strict=True)))
    for row in rows:
        print("  ".join(f"{cell!s:<{width}}" for cell, width in zip(row, widths, strict=True)))


def check(table: list[tuple], fault: str, outcome: Outcome, guilty: set[str], in_flight: int = 8) -> None:
    """Assert that no healthy item failed and that at most `in_flight` healthy items ran again per loss."""
    items = {item.name for item in discover(outcome.folder).items}
    captioned = {name for name in items if Path(name).stem in outcome.captioned}
    lost, hurt = items - captioned - outcome.failed.keys(), outcome.failed.keys() - guilty
    ended, healthy_again = outcome.ended, [name for name in outcome.given_back if name not in guilty]
    figures = (len(items), len(captioned), len(outcome.failed), len(lost), len(hurt))
    table.append((fault, *figures, len(healthy_again), len(outcome.losses), round(outcome.seconds, 1)))
    assert (lost, hurt, outcome.failed.keys()) == (set(), set(), guilty)
    assert (ended.outcome, ended.done, ended.failed) == ("done", len(items) - len(guilty), len(guilty))
    assert len(healthy_again) <= in_flight * len(outcome.losses)
    assert all("\n" not in reason for reason in outcome.failed.values())


def add(bench: Bench, still: Path, *stems: str) -> set[str]:
    """Add files that harm a worker; their names sort among those of the healthy ones."""
    for stem in stems:
        shutil.copy(still, bench.folder / f"{stem}.png")
    return {f"{stem}.png" for stem in stems}


ENDED = "its process ended unexpectedly (exit code {})"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("exit", ENDED.format(3)),
        ("segfault", ENDED.format(-signal.SIGSEGV)),
        ("cuda", "the model failed: RuntimeError: CUDA error: an illegal memory access was encountered"),
        ("drop", "it left 1 request unanswered"),
        ("stranger", "it left 1 request unanswered"),
        ("hang", "it did not respond for 4 s"),
    ],
)
def test_item_that_crashes_replicas_is_found_among_harmless_ones(bench, table, still, fault, reason):
    guilty = add(bench, still, f"{fault} among the good")
    outcome = bench.run()
    check(table, f"{fault}, one item", outcome, guilty)
    assert set(outcome.failed.values()) == {CRASHED.format(reason)}
    assert len(outcome.losses) == 2


def test_several_crashing_items_on_two_replicas_all_fail_and_no_other(bench, table, still):
    bench.num_replicas = 2
    guilty = add(bench, still, "exit 1", "good 03 not", "segfault 2", "cuda 3", "exit 4") - {"good 03 not.png"}
    outcome = bench.run()
    check(table, "exit, segfault, cuda; 2 replicas", outcome, guilty)


def test_stuck_decoder_costs_its_item_and_no_replica(bench, table, still):
    guilty = add(bench, still, "stick 1", "stick 2")
    outcome = bench.run()
    check(table, "2 stuck decoders", outcome, guilty)
    assert set(outcome.failed.values()) == {"decoding took longer than 2 s; the file may be damaged"}
    assert outcome.losses == []


def test_replica_with_too_many_stuck_decoders_gives_its_items_back(bench, table, still):
    guilty = add(bench, still, *(f"stick {number}" for number in range(6)))
    outcome = bench.run()
    check(table, "6 stuck decoders", outcome, guilty)
    assert outcome.losses in ([f"{number} decode threads are stuck in files"] for number in (5, 6))


def test_item_that_exhausts_device_memory_fails_alone(bench, table, still):
    guilty = add(bench, still, "memory 1")
    outcome = bench.run()
    check(table, "out of device memory", outcome, guilty)
    assert outcome.failed["memory 1.png"].startswith("out of device memory; lower ")
    assert outcome.losses == []


def test_killed_replica_costs_no_item(bench, table):
    killed = []

    def kill_it(event):
        if isinstance(event, ItemDone) and not killed:
            killed.append(bench.started[0]._process.pid)
            os.kill(killed[0], signal.SIGKILL)

    outcome = bench.run(kill_it)
    check(table, "SIGKILL while it runs", outcome, set())
    assert outcome.losses == [ENDED.format(-signal.SIGKILL)]


def test_replica_that_dies_on_start_is_started_again_later_each_time(bench, table, tmp_path):
    bench.model_folder = Path(shutil.copytree(bench.model_folder, tmp_path / "model"))
    (bench.model_folder / "deaths to come").write_text("2")
    times = []
    outcome = bench.run(
        lambda event: times.append(event.time_s) if getattr(event, "state", "") in ("starting", "lost") else None
    )
    check(table, "dies on start, twice", outcome, set())
    assert outcome.losses == [ENDED.format(7)] * 2
    first_s, second_s = times[2] - times[1], times[4] - times[3]
    assert first_s < 0.5
    assert 0.9 < second_s < 2


def test_replica_that_always_dies_on_start_ends_the_job_with_the_reason(bench, table, tmp_path):
    bench.model_folder = Path(shutil.copytree(bench.model_folder, tmp_path / "model"))
    (bench.model_folder / "deaths to come").write_text("9")
    outcome = bench.run()
    assert (outcome.ended.outcome, outcome.ended.reason) == ("failed", f"cpu: {ENDED.format(7)}")
    assert (len(outcome.losses), outcome.captioned) == (3, set())


def fail_at(monkeypatch, layer: str, number: int, names: set[str]) -> None:
    """Make writing the captions of these items fail, when their new file is opened or moved into place."""

    def faulty(real, path_of):
        def call(*args, **options):
            path = str(path_of(*args))
            if path.endswith((".txt", ".tmp")) and any(Path(name).stem in path for name in names):
                raise OSError(number, os.strerror(number), path)
            return real(*args, **options)

        return call

    if layer == "open":
        opened = faulty(os.open, lambda path, flags, *_: path if flags & os.O_CREAT else "")
        monkeypatch.setattr("captioner.system.replacing.os.open", opened)
    else:
        monkeypatch.setattr("captioner.system.replacing.os.replace", faulty(os.replace, lambda _, path: path))


@pytest.mark.parametrize("layer", ["open", "replace"])
@pytest.mark.parametrize("code", ["EIO", "EACCES", "ENOSPC"])
def test_caption_that_cannot_be_written_fails_its_item_and_the_old_one_stays(bench, table, monkeypatch, code, layer):
    for path in discover(bench.folder).items:
        path.caption_path.write_text("Old.")
    guilty = {"good 03.png", "good 07.png"}
    fail_at(monkeypatch, layer, getattr(errno, code), guilty)
    if (code, layer) == ("EACCES", "replace"):  # then they are written in place
        guilty = set()
    outcome = bench.run(existing="overwrite")
    check(table, f"{code} at {layer}", outcome, guilty)
    assert all(os.strerror(getattr(errno, code)) in reason for reason in outcome.failed.values())
    old = {path.name for path in bench.folder.glob("*.txt") if path.read_text() == "Old."}
    assert old == {Path(name).stem + ".txt" for name in guilty}
    assert not list(bench.folder.glob(".*")) + list(bench.state.glob("*.tmp"))


def test_file_deleted_or_replaced_during_the_job_fails_alone(bench, table):
    (bench.folder / "good 04.txt").write_text("Old.")

    def change_files(event):
        if isinstance(event, JobStarted):
            (bench.folder / "good 04.png").write_bytes(b"no picture any more")
            (bench.folder / "good 05.png").unlink()

    outcome = bench.run(change_files, existing="overwrite")
    assert outcome.failed.keys() == {"good 04.png", "good 05.png"}
    assert (outcome.ended.outcome, outcome.ended.done) == ("done", NUM_HEALTHY - 2)
    assert (bench.folder / "good 04.txt").read_text() == "Old."
    shutil.copy(bench.folder / "good 06.png", bench.folder / "good 05.png")
    check(table, "deleted, replaced mid-run", outcome, {"good 04.png", "good 05.png"})


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """Mount a file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(disk: Path) -> Path:
    """Fill the disk until not a byte is free; return the file to delete."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return filler


def test_full_disk_fails_items_until_there_is_room_again(bench, table, small_disk):
    bench.folder = Path(shutil.copytree(bench.folder, small_disk / "clips"))
    for item in discover(bench.folder).items:
        item.caption_path.write_text("Old.")
    filler = fill_up(small_disk)

    def make_room(event):
        if isinstance(event, ItemFailed):
            filler.unlink(missing_ok=True)

    outcome = bench.run(make_room, existing="overwrite")
    assert 0 < len(outcome.failed) < NUM_HEALTHY
    check(table, "ENOSPC on a real disk", outcome, set(outcome.failed))
    assert all("No space left on device; free some space" in reason for reason in outcome.failed.values())
    old = {path.stem for path in bench.folder.glob("*.txt") if path.read_text() == "Old."}
    assert old == {Path(name).stem for name in outcome.failed}
    assert not list(bench.folder.glob(".*"))


def test_read_only_folder_is_told_before_the_model_is_loaded_and_the_old_captions_stay(bench, small_disk):
    bench.folder = Path(shutil.copytree(bench.folder, small_disk / "clips"))
    for item in discover(bench.folder).items:
        item.caption_path.write_text("Old.")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    outcome = bench.run(existing="overwrite")
    assert (outcome.ended.outcome, outcome.num_started, outcome.failed) == ("failed", 0, {})
    assert outcome.ended.reason == (
        f"cannot write captions to {bench.folder}: {outcome.ended.reason.split(': ')[1].split(';')[0]}; "
        "make the folder writable, or write the captions to another one with --captions-to DIR"
    )
    assert {path.read_text() for path in bench.folder.glob("*.txt")} == {"Old."}


def test_full_state_folder_ends_the_job_with_one_line_and_the_next_job_does_the_rest(bench, table, small_disk):
    bench.state = small_disk
    for item in discover(bench.folder).items:
        item.caption_path.write_text("Old.")
    fillers = []

    def fill(event):
        if isinstance(event, ItemDone) and not fillers:
            fillers.append(fill_up(small_disk))

    outcome = bench.run(fill, existing="overwrite")
    assert (outcome.ended.outcome, outcome.failed) == ("failed", {})
    assert outcome.ended.reason.startswith(f"cannot use the database {small_disk / 'captioner.sqlite'}: ")
    assert "\n" not in outcome.ended.reason
    texts = [path.read_text() for path in bench.folder.glob("*.txt")]
    assert 0 < texts.count("Old.") == NUM_HEALTHY - outcome.ended.done
    fillers[0].unlink()
    check(table, "state folder full, then not", bench.run(existing="overwrite"), set())
    assert "Old." not in [path.read_text() for path in bench.folder.glob("*.txt")]
