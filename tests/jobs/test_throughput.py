"""The speeds of jobs: measured, recorded, and read for estimates."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from captioner.jobs import throughput as runs
from captioner.jobs.throughput import Meter, SpeedStore, Throughput
from captioner.system.database import Database
from captioner.values import Caption, GenerationOptions, ModelSpec, SamplePlan

SPECS = (ModelSpec("owner/name", "cuda:0"), ModelSpec("owner/name", "cuda:1"))
PLAN = SamplePlan()


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "captioner.sqlite")
    yield database
    database.close()


@pytest.fixture
def store(database):
    return SpeedStore(database)


def caption(num_prompt_tokens=90, num_tokens=10) -> Caption:
    options = GenerationOptions()
    return Caption("text", "m", "p", options, num_prompt_tokens=num_prompt_tokens, num_tokens=num_tokens)


def meter(seconds: float, *captions: Caption) -> Meter:
    made = Meter(_started_s=5.0)
    for each in captions:
        made.add(each)
    made._ended_s = 5.0 + seconds
    return made


def test_meter_runs_from_the_first_request_to_the_last_caption(monkeypatch):
    now = iter([100.0, 103.0, 107.0])
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: next(now)))  # other threads keep their own
    made = Meter()
    made.start()
    made.add(caption())
    made.start()
    made.add(caption(200, 40))
    assert (made.seconds, made.num_captions, made.num_prompt_tokens, made.num_tokens) == (7.0, 2, 290, 50)


def test_throughput_is_all_tokens_over_the_time(store):
    store.record(SPECS, PLAN, meter(2.0, caption(), caption(num_tokens=30)))
    store.record(SPECS, PLAN, meter(8.0, caption(), caption()))
    assert store.throughput(SPECS, PLAN) == Throughput(420 / 10, 60 / 4, 4)


def test_throughput_is_none_without_a_measurement(store):
    assert store.throughput(SPECS, PLAN) is None
    store.record(SPECS, PLAN, Meter())
    assert store.throughput(SPECS, PLAN) is None


@pytest.mark.parametrize("other", [{"source": "owner/other"}, {"quantization": "4bit"}, {"device": "cpu"}])
def test_speed_of_another_model_or_device_does_not_count(store, other):
    store.record(SPECS, PLAN, meter(2.0, caption()))
    assert store.throughput(tuple(replace(spec, **other) for spec in SPECS), PLAN) is None
    assert store.throughput(SPECS[:1], PLAN) is None
    assert store.throughput(tuple(replace(spec, max_tokens=9, compile=True) for spec in SPECS), PLAN) is not None


def test_jobs_with_the_same_plan_are_preferred(store):
    store.record(SPECS, PLAN, meter(1.0, caption()))
    store.record(SPECS, replace(PLAN, max_frames=8), meter(10.0, caption()))
    assert store.throughput(SPECS, PLAN).tokens_per_s == 100
    assert store.throughput(SPECS, replace(PLAN, max_frames=4)).tokens_per_s == pytest.approx(200 / 11)


def test_only_the_latest_jobs_count(store):
    for seconds in (50.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        store.record(SPECS, PLAN, meter(seconds, caption()))
    assert store.throughput(SPECS, PLAN) == Throughput(100.0, 10.0, 5)


def test_speed_that_cannot_be_recorded_is_only_logged(store, database, caplog):
    database.close()
    store.record(SPECS, PLAN, meter(1.0, caption()))
    assert "the speed of this job is not recorded" in caplog.text
