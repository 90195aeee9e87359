"""Fixtures: a tiny random Qwen3-VL that runs the real engine in seconds, and a state folder of each test's own."""

import gc
import logging
import multiprocessing
import os
import sys
from pathlib import Path

import pytest

os.environ.update(HF_HUB_OFFLINE="1", GRADIO_ANALYTICS_ENABLED="False", TOKENIZERS_PARALLELISM="false")
# Two threads on a matrix as small as the tiny model's wait for each other four times as long as one computes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Pages look for a free port from here on: those of several test processes at once in ranges of their own.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
os.environ["GRADIO_SERVER_PORT"] = str(7860 + 100 * WORKER)

gc.disable()  # what is imported and collected stays; looking through it again and again takes time in every test

SHARED_MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"
SHARED_CASES = SHARED_MEDIA.parent / "cases" / "media"


def pytest_collection_finish():
    """From here on only what the tests make is looked through."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure():
    """Else libraries report what was never freed."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    """No test reads or writes the user's own state, and no setting of the shell reaches a test."""
    for name in [name for name in os.environ if name.startswith("CAPTIONER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CAPTIONER_STATE", str(tmp_path / "state"))


@pytest.fixture(autouse=True, scope="session")
def _own_incoming(tmp_path_factory):
    """What is uploaded in tests lands in no folder that other programs with Gradio use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("incoming")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _quick_workers():
    """Workers of this process start quickly; those of the programs that tests start do as they do for users."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.platform == "linux":
            from tests.support.quick_replica import FORKED, QuickReplica

            patch.setattr("captioner.replicas.launcher.ProcessReplica", QuickReplica)
            patch.setattr("captioner.system.limited_process.LimitedProcess.context", FORKED)
        yield


@pytest.fixture
def spawned_processes(monkeypatch):
    """Processes with limits start as they do for users."""
    monkeypatch.setattr("captioner.system.limited_process.LimitedProcess.context", multiprocessing.get_context("spawn"))


@pytest.fixture(autouse=True)
def _no_errors_logged(request, caplog):
    """Fail a test during which an error is logged, unless its mark `logs_error` names a text of the message.

    The named error must be logged, unless the mark says `always=False`.
    """
    yield
    marks = list(request.node.iter_markers("logs_error"))
    texts = [mark.args[0] for mark in marks]
    required = [mark.args[0] for mark in marks if mark.kwargs.get("always", True)]
    phases = ("setup", "call")
    records = [record for phase in phases for record in caplog.get_records(phase) if record.levelno >= logging.ERROR]
    logged = [record.getMessage() for record in records]
    assert [message for message in logged if not any(text in message for text in texts)] == []
    assert [text for text in required if not any(text in message for message in logged)] == []


@pytest.fixture
def services(tmp_path):
    """With the demo model."""
    from captioner.services import Services  # not needed by the tests on a bare GPU image

    with Services(tmp_path / "state", {"model": "demo"}) as services:
        yield services


@pytest.fixture(scope="session")
def shared_media() -> Path:
    if not SHARED_MEDIA.is_dir():
        pytest.skip("the shared media set is not here")
    return SHARED_MEDIA


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory) -> Path:
    from tests.support.tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="session")
def tiny_model(tiny_model_folder):
    """The same model, loaded by the code that loads every model."""
    from captioner.engine.loading import load
    from captioner.values import ModelSpec

    return load(tiny_model_folder, ModelSpec(str(tiny_model_folder), device="cpu"))
