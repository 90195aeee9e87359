"""Folders of clips, and a JobRunner over scripted replicas."""

from pathlib import Path

import pytest

from captioner.captions.store import CaptionStore
from captioner.jobs.event_log import EventLog
from captioner.jobs.runner import JobRunner
from captioner.replicas.pool import ReplicaPool
from captioner.system.database import Database
from tests.support.scripted import ScriptedReplica


@pytest.fixture
def clips(tmp_path) -> Path:
    folder = tmp_path / "clips"
    (folder / "more").mkdir(parents=True)
    for name in ("1.mp4", "2.mp4", "3.mp4", "4.png", "more/5.mp4", "more/6.mp4"):
        (folder / name).write_bytes(b"x")
    return folder


@pytest.fixture
def library(tmp_path):
    """Return the items of a folder of eight files that look like media; none is decoded."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for i in range(8):
        (folder / f"{i}.mp4").write_bytes(b"x")
    return folder


@pytest.fixture
def runner(tmp_path):
    """Return a function (answers by device) -> (JobRunner, EventLog, replicas started so far)."""
    made = []

    def make(**answers):
        started = []

        def start(name, spec, folder, num_threads):
            started.append(ScriptedReplica(name, answers[spec.device]))
            return started[-1]

        database = Database(tmp_path / "captioner.sqlite")
        log = EventLog()
        jobs = JobRunner(log, CaptionStore(database, tmp_path / "scratch"), database, ReplicaPool(start))
        made.append((jobs, database))
        return jobs, log, started

    yield make
    for jobs, database in made:
        jobs.close()
        database.close()
