"""With many workers an item costs the app what it costs with few: counted in operations, not in time."""

import itertools
import threading
import time

from captioner.captions.changes import ChangeLog
from captioner.jobs.events import ItemDone, ItemProgress, ItemStarted, ReplicaLoad
from captioner.jobs.job import Job
from captioner.jobs.progress import Progress
from captioner.jobs.reports import REPORTS_PER_S
from captioner.jobs.run import ANSWERS_AT_ONCE
from tests.bench.dispatch import ITEM_S, make_items, open_virtual
from tests.support import virtual_workers
from tests.support.virtual_workers import VirtualTime

SIMULATION = VirtualTime._get.__code__.co_filename


class Calls:
    """Counts the calls in the thread of the jobs, without those of the simulation."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, frame, event, argument):
        if event == "call" and frame.f_code.co_filename != SIMULATION:
            self.count += threading.current_thread().name == "jobs"


def caption(folder, num_workers: int, num_items: int, reports: bool) -> tuple[Progress, list, VirtualTime]:
    """Caption items in virtual time; return the progress at the end, the events, and the time."""
    folder.mkdir()
    items = make_items(folder / "clips", num_items)
    with open_virtual(folder, num_workers, runs=False, reports=reports) as (jobs, log, virtual, model):
        jobs.start(Job(items, model, "describe"), folder / "clips", recursive=True)
        while not (ended := log.snapshot()).ended_s:
            time.sleep(0.02)
        return ended, log.since(0), virtual


def operations_of(folder, num_workers: int, num_items: int) -> tuple[float, float]:
    """Return (calls, looks at workers) for each item of a job."""
    calls = Calls()
    threading.setprofile(calls)
    try:
        ended, _, virtual = caption(folder, num_workers, num_items, reports=False)
    finally:
        threading.setprofile(None)
    assert (ended.stage, ended.done, ended.failed) == ("done", num_items, 0), ended.reason
    assert sum(replica.done for replica in ended.replicas) == num_items
    assert min(replica.done for replica in ended.replicas) >= num_items / num_workers / 2
    return calls.count / num_items, virtual.num_looks / num_items


def test_an_item_takes_no_more_operations_with_ten_times_the_workers(tmp_path):
    few, many = operations_of(tmp_path / "few", 20, 400), operations_of(tmp_path / "many", 200, 1600)
    assert many[0] < 1.1 * few[0] < 1500
    assert max(few[1], many[1]) < 6  # about 3; the writer of captions decides how often the job looks again


def test_answers_that_arrive_together_are_written_together_and_workers_get_new_items_in_between(tmp_path, monkeypatch):
    make, sizes = ChangeLog.make, []

    def count(changes: ChangeLog, several: list) -> list:
        sizes.append(len(several))
        return make(changes, several)

    monkeypatch.setattr(ChangeLog, "make", count)
    monkeypatch.setattr(virtual_workers, "hash_of", lambda name: 0)  # all workers answer at the same moments
    _, events, _ = caption(tmp_path / "clips", 20, 400, reports=False)
    assert [size for size in sizes if size] == [ANSWERS_AT_ONCE] * 12 + [16]
    kinds = [type(event) for event in events if isinstance(event, ItemStarted | ItemDone)]
    rows = [(kind, len(list(row))) for kind, row in itertools.groupby(kinds)]
    assert rows[:3] == [(ItemStarted, 160), (ItemDone, ANSWERS_AT_ONCE), (ItemStarted, ANSWERS_AT_ONCE)]


def test_very_many_workers_are_shown_at_work_and_not_in_each_step(tmp_path):
    ended, events, _ = caption(tmp_path / "some", 100, 800, reports=True)
    steps = [event for event in events if isinstance(event, ItemProgress)]
    loads = [event for event in events if isinstance(event, ReplicaLoad)]
    seconds = ended.ended_s - ended.started_s
    assert ITEM_S / 2 < seconds < 3 * ITEM_S
    assert {event.item for event in steps} == {f"folder 0000/clip {number:07d}.mp4" for number in range(800)}
    assert {event.replica for event in loads} == {replica.name for replica in ended.replicas}
    assert len(steps) <= (seconds + 1) * REPORTS_PER_S * 8
    assert len(loads) <= (seconds + 1) * REPORTS_PER_S
