"""The command line from end to end: real files, real worker processes, the demo model."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from captioner.cli import main as cli
from captioner.demo.clips import write_samples
from captioner.services import Services
from tests.support.patience import END_TIMEOUT_S

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments, timeout_s=400):
    """The program in a process of its own -> (exit status, standard output, standard error)."""
    command = [sys.executable, "-m", "captioner", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, errors="replace")
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def captions(folder):
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in folder.rglob("*.txt")}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder, num_clips=5, num_stills=2)
    (folder / "broken.mp4").write_bytes(b"this is no video")
    return folder


@pytest.fixture(scope="module")
def first_run(samples, tmp_path_factory):
    """The folder after one run with one bad file, and what the run said."""
    return run("--state", tmp_path_factory.mktemp("state"), "caption", samples, "--model", "demo", "--json")


def test_every_readable_file_gets_its_caption_and_the_broken_one_a_reason(samples, first_run):
    status, out, _ = first_run
    events = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert len(captions(samples)) == 7
    assert all(text and "\n" not in text for text in captions(samples).values())
    failed = [e for e in events if e["event"] == "ItemFailed"]
    assert [e["item"] for e in failed] == ["broken.mp4"]
    assert "\n" not in failed[0]["reason"]
    assert events[-1] | {"number": 0, "time_s": 0} == {
        "event": "JobEnded", "number": 0, "time_s": 0, "job": 1,
        "outcome": "done", "reason": "", "done": 7, "skipped": 0, "failed": 1, "unwritten": 0, "faulty": 0,
    }  # fmt: skip
    done = {e["item"]: e["caption"] for e in events if e["event"] == "ItemDone"}
    assert {Path(name).stem + ".txt": text for name, text in done.items()} == captions(samples)


def test_second_run_calls_no_model(samples, first_run, tmp_path):
    """With a model folder that holds no model, so that any use of it would fail."""
    aside = shutil.move(samples / "broken.mp4", tmp_path / "broken.mp4")
    (tmp_path / "no-model").mkdir()
    (tmp_path / "no-model" / "config.json").write_text("{}")
    status, out, _ = run("caption", samples, "--model", tmp_path / "no-model", "--devices", "cpu")
    shutil.move(aside, samples / "broken.mp4")
    assert status == 0
    assert out.startswith("0 captioned, 7 skipped, 0 failed")
    status, _, err = run("caption", samples, "--model", tmp_path / "no-model", "--devices", "cpu")
    assert status == 2
    assert err.splitlines()[-1].startswith(f"error: cpu: cannot read {tmp_path / 'no-model' / 'config.json'}")


def test_two_replicas_write_the_same_texts(samples, first_run, tmp_path):
    for path in samples.iterdir():
        if path.suffix != ".txt" and path.name != "broken.mp4":
            shutil.copy(path, tmp_path)
    status, out, _ = run("caption", tmp_path, "--model", "demo", "--devices", "cpu,cpu", "--json")
    assert status == 0
    replicas = {json.loads(line)["replica"] for line in out.splitlines() if '"ItemDone"' in line}
    assert replicas <= {"cpu", "cpu #2"}
    assert captions(tmp_path) == captions(samples)


def test_shared_media_are_captioned_or_fail_with_one_line(shared_media, tmp_path):
    folder = tmp_path / "media"
    shutil.copytree(shared_media, folder, ignore=shutil.ignore_patterns("*.md", "*.json"))
    before = {p.name for p in folder.iterdir()}
    truth = json.loads((shared_media / "truth.json").read_text())
    unreadable = {name for name, t in truth.items() if t["kind"] == "video" and not t.get("frames")}
    unreadable |= {name for name in before if name.startswith(("broken-trunc", "broken-not", "bomb-"))}
    status, out, err = run("caption", folder, "--model", "demo")
    failed = [line for line in err.splitlines() if line.startswith("failed ")]
    assert status == 1
    assert {Path(line.removeprefix("failed ").split(": ")[0]).name for line in failed} == unreadable
    new = {p.name for p in folder.iterdir()} - before
    assert all(name.endswith(".txt") for name in new)
    assert len(new) == len(before) - len(unreadable)
    assert out.startswith(f"{len(new)} captioned, 0 skipped, {len(unreadable)} failed")


@pytest.mark.parametrize("after_s", [1, 3, 5])
def test_ctrl_c_ends_it_in_order_at_any_moment(samples, tmp_path, after_s):
    shutil.copytree(samples, tmp_path / "clips", ignore=shutil.ignore_patterns("*.txt"))
    command = [sys.executable, "-m", "captioner", "caption", str(tmp_path / "clips"), "--model", "demo"]
    program = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(after_s)
    children = psutil.Process(program.pid).children(recursive=True)
    os.killpg(program.pid, signal.SIGINT)
    _, err = program.communicate(timeout=10)
    assert "Traceback" not in err
    assert program.returncode in (1, 130)
    _, left = psutil.wait_procs(children, timeout=5)
    assert left == []
    assert {p.suffix for p in (tmp_path / "clips").iterdir()} <= {".mp4", ".webm", ".png", ".txt"}


def interrupted(program: subprocess.Popen) -> tuple[float, str]:
    """Press Ctrl+C -> (seconds to the end, what it said); nothing that it started is left."""
    children = psutil.Process(program.pid).children(recursive=True)
    began_s = time.monotonic()
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    seconds = time.monotonic() - began_s
    _, left = psutil.wait_procs(children, timeout=5)
    assert (program.returncode, left) == (130, [])
    return seconds, err


@pytest.fixture
def caption_command(tmp_path):
    """Options of a command over many stills that no decoder ever sees."""
    (tmp_path / "clips").mkdir()
    for number in range(400):
        (tmp_path / "clips" / f"{number}.png").write_bytes(b"x")
    return ["--state", str(tmp_path / "own"), "caption", str(tmp_path / "clips")]


def test_ctrl_c_ends_a_worker_that_hangs_with_work_in_five_seconds(caption_command, tmp_path):
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.tools.chaos_app",
            *caption_command,
            "--model",
            "demo",
            "--devices",
            "cpu",
            "--json",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        next(line for line in program.stdout if "ItemDone" in line)
        for process in psutil.Process(program.pid).children():
            if "spawn_main" in str(process.cmdline()):
                process.suspend()
        seconds, err = interrupted(program)
    assert seconds < END_TIMEOUT_S
    assert re.fullmatch(
        rf"stopped with \d+ files of job 1 left; resume with: captioner --state {tmp_path}/own .*\n", err
    )


def test_ctrl_c_ends_a_download_that_gets_no_answer_in_five_seconds(caption_command, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as hub:
        address = f"http://127.0.0.1:{hub.getsockname()[1]}"
        program = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "captioner",
                *caption_command,
                "--model",
                "owner/name",
                "--models-folder",
                str(tmp_path / "models"),
            ],
            cwd=ROOT,
            env=os.environ | {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = hub.accept()
        with connection:
            seconds, err = interrupted(program)
    assert seconds < END_TIMEOUT_S
    assert err == f"stopped; resume with: captioner --state {tmp_path}/own caption --resume\n"


def test_frames_command_writes_sheet_and_arrays(samples, tmp_path, capsys):
    sheet, arrays = tmp_path / "sheet.png", tmp_path / "out.npz"
    clip = samples / "clip 01.mp4"
    assert (
        cli.main(
            ["frames", str(clip), "--max-frames", "6", "--frame-size", "96", "-o", str(sheet), "--npz", str(arrays)]
        )
        == 0
    )
    with np.load(arrays) as saved:
        assert set(saved.files) == {"frames", "times_s", "indices", "fps"}
        assert saved["frames"].shape == (6, 96, 96, 3)
        assert saved["frames"].dtype == np.uint8
        assert float(saved["fps"]) == pytest.approx(24)
        assert np.allclose(saved["times_s"], saved["indices"] / 24, atol=1e-3)
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.startswith("6 frames of 96x96, source 24.000 fps")


def test_frames_follows_no_link_out_of_the_folders_that_were_given(tmp_path, capsys, monkeypatch):
    folder, outside = tmp_path / "clips", tmp_path / "outside"
    folder.mkdir()
    write_samples(outside, num_clips=0, num_stills=1)
    (folder / "link.png").symlink_to(next(outside.glob("*.png")))
    monkeypatch.setenv("HOME", str(folder))
    assert cli.main(["frames", str(folder / "link.png")]) == 2
    assert capsys.readouterr().err == (
        f"error: {folder / 'link.png'} is outside the allowed folders; restart with --root DIR to allow it\n"
    )
    assert cli.main(["--root", str(outside), "frames", str(folder / "link.png")]) == 0


@pytest.mark.parametrize("option", ["--changed-outside", "--changed-elsewhere"])
def test_captions_changed_outside_are_replaced_with_the_option_under_its_new_and_its_old_name(tmp_path, option):
    clips, own = tmp_path / "clips", tmp_path / "own"
    clips.mkdir()
    for name in ("a", "b"):
        (clips / f"{name}.png").write_bytes(b"x")
    with Services(own) as services:
        services.captions.save(clips / "a.txt", "Ours.")
        services.captions.save(clips / "b.txt", "Approved.")
        services.captions.approve([clips / "b.txt"])
    (clips / "a.txt").write_text("Theirs.")
    command = [sys.executable, "-m", "tests.tools.chaos_app", "--state", str(own), "caption", str(clips)]
    options = ["--model", "demo", "--devices", "cpu", "--existing", "overwrite", option]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout[:25]) == (0, "1 captioned, 1 skipped, 0")
    assert captions(clips) == {"a.txt": "what a shows, at length and to the end.", "b.txt": "Approved."}
    with Services(own) as services:
        assert [entry.text for entry in services.captions.history(clips / "a.txt")] == ["Theirs."]


def test_list_shows_what_has_a_caption(tmp_path, capsys):
    for name in ("b10.mp4", "b2.mp4", "b2.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert cli.main(["list", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == ["captioned  video  b2.mp4", "pending    video  b10.mp4"]
    assert cli.main(["list", str(tmp_path), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["name"], r["has_caption"], r["size_bytes"]) for r in rows] == [
        ("b2.mp4", True, 1),
        ("b10.mp4", False, 1),
    ]


def test_demo_writes_clips_of_every_kind(tmp_path, capsys):
    assert cli.main(["demo", str(tmp_path / "new" / "folder")]) == 0
    suffixes = {p.suffix for p in (tmp_path / "new" / "folder").iterdir()}
    assert suffixes == {".mp4", ".webm", ".png"}


def test_settings_are_changed_and_kept(capsys):
    assert cli.main(["settings", "max_frames=16", "devices=cpu,cpu"]) == 0
    capsys.readouterr()
    assert cli.main(["settings"]) == 0
    rows = dict(line.split(None, 2)[:2] for line in capsys.readouterr().out.splitlines())
    assert (rows["max_frames"], rows["devices"], rows["fps"]) == ("16", "cpu,cpu", "2.0")


def test_plan_says_what_a_run_would_take_and_captions_nothing(samples, tmp_path, capsys):
    folder = tmp_path / "clips"
    shutil.copytree(samples, folder, ignore=shutil.ignore_patterns("*.txt"))
    assert cli.main(["plan", str(folder), "--model", "demo"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("6 clips and 2 images, 1 of 8 cannot be read, about ")
    assert "time unknown until this model has captioned a first file\n" in out
    assert cli.main(["plan", str(folder), "--model", "demo", "--max-frames", "4", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["num_clips"], plan["num_unreadable"], plan["throughput"], plan["seconds"]) == (6, 1, None, None)
    assert plan["longest_visual_tokens"] == 64  # a still: the demo model's processor leaves it smaller than most do
    assert captions(folder) == {}


def test_plan_tells_the_time_once_a_run_was_measured(samples, first_run, tmp_path):
    """With the state of a run of its own, in another process."""
    state = tmp_path / "measured"
    for name in ("clip 01.mp4", "still 01.png"):
        shutil.copy(samples / name, tmp_path)
    assert run("--state", state, "caption", tmp_path, "--model", "demo", "--devices", "cpu")[0] == 0
    _, out, _ = run("--state", state, "plan", samples, "--model", "demo", "--devices", "cpu", "--existing", "overwrite")
    assert re.search(r"about \d+ (s|min) at [\d,]+ tokens/s \(prompts and captions, measured over 2 captions\)", out)


def test_models_and_prompts_are_listed(capsys):
    assert cli.main(["models"]) == 0
    assert re.search(r"^qwen3-vl-8b +21\.0 +14\.1 +10\.7 ", capsys.readouterr().out, re.MULTILINE)
    assert cli.main(["models", "--json"]) == 0
    rows = {row["key"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert (rows["qwen3-vl-8b"]["vram_8bit_gb"], rows["demo"]["vram_4bit_gb"]) == (14.1, None)
    assert cli.main(["prompts", "short"]) == 0
    assert capsys.readouterr().out.startswith("Write one short caption")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["caption", "/nowhere"], "error: "),
        (["caption", ".", "--max-frames", "0"], "error: max_frames: '0' is not"),
        (["caption", ".", "--fps", "fast"], "error: fps: 'fast' is not"),
        (["caption", ".", "--existing", "replace"], "error: existing: 'replace' is not"),
        (["caption", ".", "--devices", "gpu"], "error: devices: 'gpu' is not"),
        (["caption", "{clips}", "--model", "qwen9"], "error: unknown model"),
        (["caption", "{clips}", "--model", "demo", "--prompt-name", "Nothing"], "error: "),
        (["caption", "{clips}", "--model", "demo", "--devices", "cuda:9"], "error: "),
        (["caption", "{clips}", "--model", "no-one/nothing", "--offline"], "error: no-one/nothing is not downloaded"),
        (["caption", "{clips}/0.mp4", "--model", "demo"], "error: "),
        (["caption", "{clips}", "--devices", "cpu", "--quantization", "4bit"], "error: quantization 4bit needs an"),
        (["caption", ".", "--quantization", "2bit"], "error: quantization: '2bit' is not"),
        (["plan", "/nowhere"], "error: "),
        (["plan", ".", "--max-frames", "0"], "error: max_frames: '0' is not"),
        (["list", "/nowhere"], "error: "),
        (["frames", "/nowhere.mp4"], "error: /nowhere.mp4: "),
        (["caption", "--resume", "--changed-elsewhere"], "error: --resume uses the job's own settings; remove --ch"),
        (["prompts", "Nothing"], "error: "),
        (["settings", "max_frames"], "error: max_frames: write NAME=VALUE"),
        (["settings", "speed=9"], "error: unknown setting speed"),
        (["--state", "/proc/nowhere", "settings"], "error: cannot create the state folder /proc/nowhere"),
        (["demo", "/proc/nowhere"], "error: cannot write to /proc/nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_and_status_2(tmp_path, arguments, message):
    (tmp_path / "0.mp4").write_bytes(b"x")
    status, out, err = run(*[a.replace("{clips}", str(tmp_path)) for a in arguments])
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (status, out) == (2, "")
    assert len(lines) == 1
    assert lines[0].startswith(message)
    assert err.splitlines()[-1] == lines[0]
