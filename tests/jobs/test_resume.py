"""Resuming a job: within the allowed folders, from the command line, and beside another program."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from captioner.cli import main as cli
from captioner.errors import FolderError, JobError, StateError
from captioner.jobs.events import JobQueued
from captioner.media.discover import discover
from captioner.services import Services
from captioner.system.roots import Roots

ROOT = Path(__file__).resolve().parents[2]


def stopped_job(services: Services, folder: Path) -> int:
    """Return the number of a job of the demo model that was stopped before it began."""
    services.open_folder(folder, recursive=False)
    number = services.start()
    services.jobs.stop(number)
    assert list(services.jobs.follow(number))[-1].outcome == "stopped"
    return number


def test_services_resume_only_the_newest_job_within_the_allowed_folders(tmp_path, clips):
    with Services(tmp_path / "own", {"model": "demo"}) as services:
        number = stopped_job(services, clips)
        assert [job.operation for job in services.unfinished()] == [number]
    (tmp_path / "other").mkdir()
    with Services(tmp_path / "own", {"model": "demo"}, Roots([tmp_path / "other"])) as services:
        assert services.unfinished() == []
        with pytest.raises(JobError, match="there is no unfinished job to resume"):
            services.resume()
        with pytest.raises(FolderError, match="outside"):
            services.resume(number)
    with Services(tmp_path / "own", {"model": "demo"}) as services:
        resumed = services.resume()
        services.jobs.stop(resumed)
        started = next(e for e in services.jobs.follow(resumed) if isinstance(e, JobQueued) and e.job == resumed)
        assert (resumed, started.total) == (number + 1, 4)


def test_resume_skips_files_that_lead_outside_the_allowed_folders(tmp_path, clips, caplog):
    """The job began when all folders were allowed; it is resumed after links appeared, with `clips` alone allowed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    with Services(tmp_path / "own", {"model": "demo", "recursive": True}) as services:
        services.open_folder(clips, recursive=True)
        number = services.start()
        services.jobs.stop(number)
        list(services.jobs.follow(number))
    (outside / "secret.txt").write_text("SECRET")
    (clips / "1.mp4").unlink()
    (clips / "1.mp4").symlink_to(outside / "secret.txt")
    (clips / "2.txt").symlink_to(outside / "secret.txt")
    (clips / "more").rename(outside / "more")
    (clips / "more").symlink_to(outside / "more")
    with Services(tmp_path / "own", {"model": "demo"}, Roots([clips])) as services:
        resumed = services.resume(number)
        services.jobs.stop(resumed)
        list(services.jobs.follow(resumed))
        ((listed,),) = services.database.rows("SELECT items_json FROM job_lists WHERE operation = ?", (resumed,))
        assert [fields[0] for fields in json.loads(listed)] == ["3.mp4", "4.png"]
        rows = services.database.rows("SELECT name, reason FROM job_items WHERE operation = 1 AND state = 'skipped'")
        reason = "it is outside the allowed folders"
        assert {tuple(row) for row in rows} == {(f"{n}.mp4", reason) for n in ("1", "2", "more/5", "more/6")}
    assert f"job {number}: skipped 4 files: 1.mp4: {reason}" in caplog.text


def test_resume_with_all_files_outside_the_allowed_folders_fails_with_one_line(tmp_path, clips):
    with Services(tmp_path / "own", {"model": "demo"}) as services:
        number = stopped_job(services, clips)
    for item in discover(clips).items:
        item.caption_path.symlink_to("/etc/hostname")
    with Services(tmp_path / "own", {"model": "demo"}, Roots([clips])) as services:
        message = "none of the remaining files of job 1 can be captioned now: 1.mp4: it is outside the allowed folders"
        with pytest.raises(JobError, match=message):
            services.resume(number)


def test_running_job_cannot_be_undone(tmp_path, clips):
    with Services(tmp_path / "own", {"model": "demo"}) as services:
        services.open_folder(clips, recursive=False)
        number = services.start()
        with pytest.raises(JobError, match=f"job {number} is running"):
            services.undo(number)


def test_second_program_on_a_state_folder_is_refused_but_can_read(tmp_path, clips, capsys):
    own = tmp_path / "own"
    with Services(own) as services:
        services.claim()
        for arguments in (["caption", str(clips), "--model", "demo"], ["caption", "--resume"]):
            assert cli.main(["--state", str(own), *arguments]) == 2
            out, err = capsys.readouterr()
            assert (out, err.count("\n")) == ("", 1)
            assert err.startswith(f"error: another instance is using the state folder {own}; close it, or")
        for arguments in (
            ["list", str(clips)], ["plan", str(clips), "--model", "demo"], ["prompts"], ["models"],
            ["settings"], ["settings", "max_frames=16"],
        ):  # fmt: skip
            assert cli.main(["--state", str(own), *arguments]) == 0
        with Services(own) as reader:
            assert reader.unfinished() == []
            with pytest.raises(StateError, match="another instance is using"):
                reader.resume()
    with Services(own) as services:
        services.claim()


def test_second_page_exits_with_one_line_and_status_2(tmp_path):
    with Services(tmp_path / "own") as services:
        services.claim()
        command = [sys.executable, "app.py", "--demo", "--state", str(tmp_path / "own")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: another instance is using the state folder")
    assert not (tmp_path / "own" / "demo").exists()


def test_ctrl_c_names_the_job_and_resume_continues_it(tmp_path):
    """The commands run in separate processes, as at a terminal."""
    folder, own = tmp_path / "clips", tmp_path / "own"
    folder.mkdir()
    for i in range(200):
        (folder / f"{i}.png").write_bytes(b"x")
    program = [sys.executable, "-m", "tests.tools.chaos_app", "--state", str(own), "caption"]
    running = subprocess.Popen(
        [*program, str(folder), "--model", "demo", "--devices", "cpu"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while len(list(folder.glob("*.txt"))) < 5:
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    done = {path: path.stat().st_mtime_ns for path in folder.glob("*.txt")}
    left = 200 - len(done)
    hint = f"resume with: captioner --state {own} caption --resume"
    assert (running.returncode, err) == (130, f"stopped with {left} files of job 1 left; {hint}\n")
    resumed = subprocess.run([*program, "--resume"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert resumed.stderr == f"resuming job 1 in {folder} ({left} of 200 files left)\n"
    assert resumed.stdout.startswith(f"{left} captioned, 0 skipped, 0 failed")
    assert resumed.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len(list(folder.glob("*.txt"))) == 200


def test_resume_on_the_command_line(tmp_path, clips, capsys):
    own = ["--state", str(tmp_path / "own")]
    assert cli.main([*own, "caption", "--resume"]) == 0
    assert capsys.readouterr().err == "no unfinished job\n"
    with Services(tmp_path / "own", {"model": "demo", "devices": "cpu"}) as services:
        number = stopped_job(services, clips)
        for name in ("1.mp4", "2.mp4", "3.mp4", "4.png"):
            (clips / name).unlink()
    assert cli.main([*own, "caption", str(tmp_path), "--resume"]) == 0
    assert capsys.readouterr().err == f"no unfinished job in {tmp_path}\n"
    assert cli.main([*own, "caption", "--resume", "--prompt", "Other"]) == 2
    assert capsys.readouterr().err == "error: --resume uses the job's own settings; remove --prompt\n"
    from captioner.demo.clips import write_samples

    write_samples(clips, num_clips=0, num_stills=1)
    (clips / "still 01.png").rename(clips / "4.png")
    assert cli.main([*own, "caption", str(clips), "--resume", "--json"]) == 1  # three files are gone
    out, err = capsys.readouterr()
    assert err.splitlines()[0] == f"resuming job {number} in {clips} (4 of 4 files left)"
    ended = json.loads(out.splitlines()[-1])
    assert (ended["event"], ended["job"], ended["done"], ended["failed"]) == ("JobEnded", number + 1, 1, 3)
    assert cli.main([*own, "caption", "--resume"]) == 0
    assert cli.main([*own, "caption"]) == 2
    assert "name the folder to caption, or use --resume" in capsys.readouterr().err
