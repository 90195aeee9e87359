"""The sentence about the model is true in every state: by hand, and with the real demo model."""

from dataclasses import replace
from pathlib import Path

import pytest

from captioner.engine.download import is_here
from captioner.jobs.progress import Progress, ReplicaProgress
from captioner.ui.model_status import Chosen, ModelWatch, chosen_model, model_status
from tests.support.tiny import make_tiny_model

TINY = Chosen("Tiny")
READY = ReplicaProgress("cuda:0", "ready", "", (), model="Tiny")
LOADED = Progress(job=1, stage="done", model="Tiny", replicas=(READY,))
LOADING = Progress(job=2, stage="loading", model="Tiny")


@pytest.mark.parametrize(
    ("progress", "chosen", "state", "text"),
    [
        (Progress(), TINY, "none", "No model is loaded. Tiny loads when captioning starts."),
        (Progress(), replace(TINY, is_here=False),
         "none", "No model is loaded. Tiny is downloaded when captioning starts."),
        (LOADING, TINY, "loading", "Loading Tiny…"),
        (
            replace(LOADING, bytes_done=10**6, bytes_total=4 * 10**6, bytes_per_s=10**5),
            TINY, "loading", "Downloading Tiny: 1.0 MB of 4.0 MB · 100.0 KB/s",
        ),
        (replace(LOADING, replicas=(READY,)), TINY, "ready", "Tiny is loaded on cuda:0."),  # a job begins
        (LOADED, TINY, "ready", "Tiny is loaded on cuda:0."),
        (
            LOADED, replace(TINY, is_loaded=False),
            "other", "Tiny is loaded on cuda:0 with other settings. It loads again when captioning starts.",
        ),
        (
            LOADED, Chosen("Large", is_here=False),
            "other", "Tiny is loaded on cuda:0. Large, which is chosen, is downloaded when captioning starts.",
        ),
        (LOADED, Chosen("x", "unknown model 'x'"), "missing",
         "Tiny is loaded on cuda:0. x cannot be used: unknown model 'x'."),
        (Progress(), Chosen("x", "unknown model 'x'"), "missing", "x cannot be used: unknown model 'x'."),
        (
            replace(LOADED, stage="failed", reason="out of memory", replicas=()),
            TINY, "failed", "Tiny failed: out of memory. Choose another model, or load it again.",
        ),
        (
            replace(LOADED, stage="failed", reason="out of memory", replicas=(replace(READY, state="lost"),)),
            Chosen("Large"), "none", "No model is loaded. Large loads when captioning starts.",
        ),
        (replace(LOADED, replicas=()), TINY, "none", "No model is loaded. Tiny loads when captioning starts."),
    ],
)  # fmt: skip
def test_every_state_has_a_true_sentence(progress, chosen, state, text):
    status = model_status(progress, chosen)
    assert (status.state, status.text) == (state, text)


def test_offline_a_model_that_is_not_here_is_missing():
    status = model_status(Progress(), replace(TINY, is_here=False), offline=True)
    assert status.state == "missing"
    assert status.text.startswith("Tiny is not on this machine, and Work offline is on.")


def test_a_model_is_here_as_a_folder_or_in_the_cache(tmp_path):
    assert is_here(str(tmp_path), None)
    assert not is_here("owner/name", tmp_path)
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    refs = tmp_path / "models--owner--name" / "refs"
    refs.mkdir()
    (refs / "main").write_text("1")
    assert is_here("owner/name", tmp_path)


def wait_for_end(services, job: int) -> Progress:
    services.events.wait(lambda now: now.job == job and now.stage in ("done", "failed"), 180)
    return services.events.snapshot()


def test_the_real_runner_loaded_changed_failed_and_unloaded(services, tmp_path):
    watch = ModelWatch(services)
    loaded = wait_for_end(services, services.load())
    assert watch.status(loaded).text == "Demo (toy world) is loaded on cpu."
    services.change_settings({"batch_size": 3})
    assert watch.status(loaded).text.startswith("Demo (toy world) is loaded on cpu with other settings.")
    other = make_tiny_model(tmp_path / "other model")
    services.change_settings({"model": str(other)})
    assert watch.status(loaded).text.startswith(
        "Demo (toy world) is loaded on cpu. other model, which is chosen, loads"
    )
    (Path(other) / "model.safetensors").write_bytes(b"damaged")
    failed = wait_for_end(services, services.load())
    assert watch.status(failed).state == "failed"
    assert watch.status(failed).text.startswith("other model failed: ")
    services.change_settings({"model": "demo"})
    assert watch.status(failed).text == "No model is loaded. Demo (toy world) loads when captioning starts."
    services.unload()
    services.events.wait(lambda now: not now.replicas, 60)
    assert watch.status(services.events.snapshot()).text.startswith("No model is loaded.")
    services.change_settings({"model": "no/such/model"})
    assert chosen_model(services).problem.startswith("unknown model 'no/such/model'")
