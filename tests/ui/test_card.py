"""The cards of the job and of the machine as HTML, the retry button, and both in a real browser."""

import time
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemFailed, JobEnded, JobQueued, JobStarted
from captioner.jobs.progress import Progress, ReplicaProgress
from captioner.services import Services
from captioner.system.resources import Gpu, Resources
from captioner.ui.format import escape, isolated
from captioner.ui.runs import card, machine, strip
from captioner.ui.runs.buttons import RunButtons, run_card
from captioner.ui.runs.card import RunContext, Step
from captioner.ui.server.routes import media_routes
from captioner.ui.wiring import in_background
from tests.support.chromium import open_browser
from tests.support.hostile import HOSTILE

REPLICA = ReplicaProgress("cuda:0", "ready", "", (("attention", "sdpa"),), ("a.mp4", "b.mp4", "c.mp4"), 16, 3, 1, 2)
RUNNING = Progress(
    job=3, stage="running", model="M", total=1240, done=437, skipped=61, failed=2, tokens=58_314, tokens_per_s=812.4,
    started_s=1000, eta_s=347, running=(("a.mp4", 0), ("b.mp4", 30), ("c.mp4", 1)), replicas=(REPLICA,),
    failures=(("bad.mp4", "file is empty"),), queued_jobs=2,
)  # fmt: skip
DONE = Progress(
    job=3, stage="done", model="M", total=108, done=98, failed=2, skipped=8, tokens=20_000, tokens_per_s=812.4,
    started_s=1000, ended_s=1252, failures=(("bad.mp4", "file is empty"),),
)  # fmt: skip
DOWNLOADING = Progress(
    job=1, stage="loading", model="M", total=4, bytes_done=3_000_000, bytes_total=12_000_000, bytes_per_s=100_000
)
RESOURCES = Resources(31.2, 12_000_000_000, 24_000_000_000, (), "no NVIDIA GPU found (no NVIDIA driver)")
GPU = Gpu(0, "NVIDIA H200", 97, 131_400_000_000, 150_700_000_000, 64, 612.4, 700.0)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_is_escaped_everywhere(text):
    lost = ReplicaProgress(text, "lost", text, ((text, text),))
    busy = ReplicaProgress(text, "ready", "", (), (text,), 1, 1)
    ended = Progress(job=1, stage="failed", reason=text, model=text, total=1, failed=1, failures=((text, text),))
    shown = [
        card.view(replace(ended, replicas=(lost, busy)), 1.0),
        card.view(replace(RUNNING, model=text, running=((text, 5),), replicas=(busy,)), 1.0),
        card.view(replace(DOWNLOADING, model=text), 1.0),
        strip.view(replace(ended, notes=(text,)), context=RunContext(folder=Path(text))),
        machine.view(replace(RESOURCES, gpu_note=text)),
        machine.view(replace(RESOURCES, gpus=(replace(GPU, name=text),))),
    ]
    for view in shown:
        assert escape(text)[1:] in view  # a note begins with a capital
        assert text not in view or text == escape(text)


def test_job_that_scores_says_so_and_offers_no_captioning_of_what_failed():
    running, done = replace(RUNNING, scores=True), replace(DONE, scores=True)
    assert "<b>Scoring</b>" in strip.view(running)
    assert "<dt>scored</dt><dd>437" in card.view(running, 1100.0)
    assert "98 scored · 2 failed" in strip.view(done)
    assert "Retry" not in strip.view(done) + card.view(done, 1300.0)
    assert "Retry 2 failed" in strip.view(DONE)


WORK = f"{isolated('b.mp4')} (30 tokens) · {isolated('c.mp4')} (1 token) · {isolated('a.mp4')}"


def test_running_job_shows_its_numbers():
    html = card.view(RUNNING, now_s=1300)
    for part in (
        'data-phase="running"', "Captioning", "437<small> / 1,240</small>", "58,314", "<dd>812</dd>", "5:00", "5:47",
        "40%", "width:35.24%", "width:4.92%", "width:0.16%", "3 of 16 slots busy", "3/16",
        "working", WORK, "bad.mp4", "file is empty", "and 1 more", "attention",
    ):  # fmt: skip
        assert part in html
    line = strip.view(RUNNING, context=RunContext(folder=Path("/media/clips")))
    assert [part in line for part in ("Captioning", ">clips<", "500 of 1,240", "812 tokens/s", "5:47 left")] == [
        True
    ] * 5


def test_workers_of_many_machines_are_counted_and_told_apart():
    nodes = [
        replace(REPLICA, name=f"ray:auto #{gpu}", report=(("node", f"gpu-1.example.org · GPU {gpu}"),))
        for gpu in (1, 2)
    ]
    servers = [replace(REPLICA, name=f"http://gpu-attic:8000/v1 #{number}") for number in range(2, 9)]
    text = card.view(replace(RUNNING, replicas=(*nodes, *servers)), 1300)
    assert "Workers<span>9</span>" in text
    assert "<span>gpu-1.example.org</span> · GPU 2</b>" in text  # only what is in the span may be cut
    assert "<span>gpu-attic:8000</span> #8</b>" in text
    assert "Workers<span>" not in card.view(RUNNING, 1300)


def test_why_a_worker_failed_is_in_its_report_too():
    """A phone has no room for it in the row."""
    lost = ReplicaProgress("cuda:1", "lost", "out of memory", ())
    text = card.view(replace(RUNNING, replicas=(replace(lost, report=(("node", "lab"),)), lost)), 1300)
    assert text.count("<dl><div><dt>failed</dt><dd>out of memory</dd></div>") == 2


def test_waiting_jobs_are_listed():
    lines = (f"240 files of {HOSTILE[0]}", "loading a model")
    html = card.view(RUNNING, 1300, context=RunContext(queue=tuple(enumerate(lines, start=7))))
    assert 'data-run="remove" data-job="8"' in html
    assert [escape(line) in html for line in lines] == [True, True]
    assert "Next" not in card.view(RUNNING, 1300)


def test_time_left_is_not_guessed_from_failures_alone():
    early = replace(RUNNING, done=0)
    assert "5:47" not in card.view(early, now_s=1300) + strip.view(early)


def test_steps_follow_the_clips_through_the_pipeline():
    model = Step("Model", "done")
    assert card.steps(RUNNING) == (
        model,
        Step("Frames", "now", 2),
        Step("Encode", "now", 2),
        Step("Generate", "now", 2),
    )
    silent = replace(RUNNING, replicas=(replace(REPLICA, slots=0, running=0, waiting=0, decoding=0),))
    assert card.steps(silent) == (
        model,
        Step("Frames", "now", 1),
        Step("Encode", "todo", 0),
        Step("Generate", "now", 2),
    )
    assert [step.state for step in card.steps(DOWNLOADING)] == ["now", "todo", "todo", "todo"]


def test_download_shows_bytes_speed_and_time_left():
    html = card.view(DOWNLOADING, now_s=0)
    assert "Downloading M" in html
    assert "3.0 MB of 12.0 MB · 100.0 KB/s · 1:30 left" in html
    assert "width:25.00%" in html
    line = strip.view(DOWNLOADING)
    assert [part in line for part in ("Downloading", "25 %", "100.0 KB/s", "1:30 left")] == [True] * 4
    unknown = card.view(replace(DOWNLOADING, bytes_per_s=0.0), now_s=0)
    assert "3.0 MB of 12.0 MB</div>" in unknown


def test_finished_job_is_summarized():
    assert card.summary(DONE) == "98 captioned · 2 failed · 8 skipped · 4 min · 812 tokens/s"
    stopped = replace(DONE, stage="stopped", failed=0, skipped=0, tokens_per_s=0.0, ended_s=1012.0)
    assert card.summary(stopped) == "98 captioned · 10 left · 12 s"
    html = card.view(DONE, now_s=9999)
    assert "Done, 2 failed" in html
    assert "Retry 2 failed" in html
    assert "4:12" in html
    assert "Retry" not in card.view(replace(DONE, failed=0), 0)
    broken = card.view(Progress(job=1, stage="failed", reason="no such model", total=3), 0)
    assert "no such model</p>" in broken


def test_dismissed_job_is_hidden_until_the_next_one():
    assert 'data-phase="idle"' in strip.view(DONE, card.key(DONE))
    assert 'data-phase="done"' in strip.view(replace(DONE, job=4), card.key(DONE))
    assert 'data-phase="done"' in strip.view(replace(DONE, started_s=5000), card.key(DONE))  # after a restart
    assert 'data-phase="running"' in strip.view(RUNNING, card.key(DONE))


def test_a_trial_leaves_the_job_before_it_in_sight():
    log = EventLog()
    log.append(JobStarted(job=3, total=2, model="M"))
    log.append(JobEnded(job=3, outcome="done", done=2))
    log.append(JobQueued(job=-1, total=1))
    assert card.without_trials(log.snapshot()).queued_jobs == 0
    log.append(JobStarted(job=-1, total=1, model="M", saves=False))
    now = log.snapshot()
    assert (now.job, now.stage) == (-1, "loading")
    assert (card.without_trials(now).job, card.without_trials(now).stage) == (3, "done")
    log.append(JobStarted(job=4, total=1, model="M"))
    assert card.without_trials(log.snapshot()).job == 4


@pytest.mark.parametrize(
    ("snapshot", "headline"),
    [
        (Progress(), "Ready"),
        (Progress(queued_jobs=1), "Starting"),
        (replace(DONE, queued_jobs=1), "Starting"),
        (Progress(job=1, stage="loading", model="M"), "Loading M"),
        (Progress(job=1, stage="done", replicas=(REPLICA,)), "Model loaded"),
        (replace(DONE, failed=0), "Done"),
    ],
)
def test_every_stage_has_a_headline(snapshot, headline):
    assert card.headline(snapshot) == headline
    assert headline.split()[0] in card.view(snapshot, 0) or snapshot.stage == "idle"


def test_machine_without_a_gpu_says_so():
    view = machine.view(RESOURCES)
    assert [part in view for part in ("31 %", "12/24 GB", "no GPU", "12.0 of 24.0 GB")] == [True] * 4
    assert "No NVIDIA GPU found (no NVIDIA driver)." in view


def test_machine_lists_every_gpu():
    second = replace(GPU, index=1, utilization_percent=3, temperature_c=91, power_limit_w=None)
    view = machine.view(replace(RESOURCES, gpus=(GPU, second)))
    for part in ("2 GPUs", "50 %", "131.4 of 150.7 GB", "64 °C", "612 of 700 W", "612 W", "NVIDIA H200"):
        assert part in view
    assert view.count("data-alarm") == 1  # the hot one


def test_machine_shows_unknown_values_as_dashes():
    view = machine.view(replace(RESOURCES, gpus=(Gpu(0, "GB10"),)))
    assert view.count("<dd>–</dd>") == 4


def test_many_browsers_cost_one_reading_in_two_seconds():
    now, count = [100.0], []
    readings = machine.Readings(lambda: count.append(now[0]) or RESOURCES, lambda: now[0])
    for moment in (100.0, 100.1, 101.0, 102.0, 102.5, 104.1):
        now[0] = moment
        assert [readings.latest() for _ in range(20)] == [RESOURCES] * 20
    assert count == [100.0, 102.0, 104.1]


class TestRetry:
    @pytest.fixture
    def failed(self, services, tmp_path) -> Services:
        folder = tmp_path / "media"
        folder.mkdir()
        for name in ("a.png", "b.png"):
            (folder / name).write_bytes(b"no picture")
        services.open_folder(folder, False)
        path = folder / "b.png"
        services.events.append(ItemFailed(job=1, item="b.png", path=path, reason="not a readable picture"))
        return services

    def test_only_failed_files_are_retried(self, failed):
        RunButtons(failed).retry()
        events = failed.events.since(0)
        assert [event.total for event in events if isinstance(event, JobQueued)] == [1]

    def test_second_click_starts_no_second_job(self, failed):
        buttons = RunButtons(failed)
        buttons.retry()
        with pytest.raises(gr.Error, match="already running"):
            buttons.retry()

    def test_failures_in_another_folder_are_an_error(self, services):
        with pytest.raises(gr.Error, match="not in the open folder"):
            RunButtons(services).retry()


@pytest.mark.browser
def test_popover_stays_open_while_numbers_change_and_buttons_work(services):
    with gr.Blocks() as blocks:
        chip = gr.HTML(apply_default_css=False)
        jobs = run_card(RunButtons(services))

        buttons = RunButtons(services)

        def pulse(dismissed: str) -> tuple[str, str]:
            used = replace(RESOURCES, cpu_percent=time.monotonic() % 100)
            return machine.view(used), buttons.render(DONE, 0, dismissed)

        in_background([blocks.load, gr.Timer(0.1).tick], pulse, jobs.dismissed, [chip, jobs.html])
    options = {"prevent_thread_lock": True, "quiet": True, "ssr_mode": False}
    routes = {"routes": media_routes(services).routes}
    _, address, _ = blocks.launch(server_name="127.0.0.1", app_kwargs=routes, **options)
    with open_browser(address) as (page, expect):
        page.locator(".machine > button").click()
        popover = page.locator("#machine")
        expect(popover).to_be_visible()
        before = popover.inner_text()
        page.wait_for_function("before => document.querySelector('#machine').innerText !== before", arg=before)
        expect(popover).to_be_visible()
        page.keyboard.press("Escape")
        page.locator(".run-strip [data-run=retry]").click()
        expect(page.locator(".toast-body")).to_contain_text("not in the open folder")
        page.locator(".run-line").click()
        expect(page.locator("#run-card")).to_contain_text("Retry 2 failed")
        page.keyboard.press("Escape")
        page.locator(".run-strip [data-run=dismiss]").click()
        expect(page.locator(".run-strip[data-phase=idle]")).to_be_visible()
        page.reload()
        expect(page.locator(".run-strip[data-phase=idle]")).to_be_visible()
    blocks.close(verbose=False)
