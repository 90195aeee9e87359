"""Captions that cannot be written are kept and written by the job that resumes; cut off ones get a second try."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

import captioner.captions.files
from captioner.captions.operations import begin_operation
from captioner.captions.store import CaptionStore
from captioner.errors import CaptionError
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemDone, ItemFailed, ItemSkipped, JobNote
from captioner.jobs.outcomes import Outcomes
from captioner.jobs.saving import CaptionWriter, stamp_of
from captioner.replicas.protocol import Failed, Finished
from captioner.system.database import Database
from captioner.system.replacing import write_atomic
from captioner.values import Caption, GenerationOptions
from tests.support.scripted import finish, job


def follow(jobs, number):
    events = list(jobs.follow(number))
    return events, events[-1]


@pytest.fixture
def disk(monkeypatch):
    """Return a list: writing a caption fails with the error number that it holds; only of these stems if any follow."""
    errors = []

    def write(path: Path, *args):
        if errors and (not errors[1:] or path.stem in errors):
            raise OSError(errors[0], os.strerror(errors[0]))
        return write_atomic(path, *args)

    monkeypatch.setattr(captioner.captions.files, "write_atomic", write)
    return errors


def fail_from(number: int, disk: list[int], code: int):
    fired = []

    def answer(replica, request):
        if int(request.path.stem) >= number and not fired:
            fired.append(True)
            disk.append(code)
        return finish(replica, request)

    return answer


def resume(jobs, number):
    find = lambda source: lambda on_bytes: Path("model")  # noqa: E731
    return follow(jobs, jobs.resume(number, find, lambda item: ""))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EIO, errno.EROFS])
def test_full_disk_ends_the_job_after_three_captions_which_resuming_writes(runner, library, disk, code):
    jobs, _, started = runner(cpu=fail_from(3, disk, code))
    first = jobs.start(job(library, "cpu"), library)
    _, ended = follow(jobs, first)
    done, kept = ended.done, ended.unwritten
    assert (ended.outcome, done in (2, 3), kept in (3, 4, 5)) == ("failed", True, True)
    assert ended.reason.startswith("3 captions could not be written and are kept (cannot write the caption ")
    assert ended.reason.endswith("; resume the job to write them")
    assert len(list(library.glob("*.txt"))) == done
    num_requests = len(started[0].requests)

    _, ended = resume(jobs, first)  # nothing has changed
    assert (ended.outcome, ended.unwritten, len(started[0].requests)) == ("failed", 3, num_requests)
    disk.clear()
    events, ended = resume(jobs, ended.job)
    assert (ended.outcome, ended.done, ended.failed) == ("done", 8 - done, 0)
    assert len([event for event in events if isinstance(event, ItemDone) and event.job == ended.job]) == 8 - done
    asked = [request.path.stem for request in started[0].requests]
    assert [asked.count(str(number)) for number in range(done + 3)] == [1] * (done + 3)
    assert {path.read_text() for path in library.glob("*.txt")} == {f"{stem} by cpu" for stem in range(8)}


def test_captions_that_share_a_transaction_have_an_outcome_each_before_the_job_ends(library, tmp_path, disk):
    database, log = Database(tmp_path / "captioner.sqlite"), EventLog()
    with database.transaction() as connection:
        operation = begin_operation(connection, "job", "Caption 8 files", library, 8)
    (library / "7.txt").write_text("Old.")
    the_job, store = job(library, "cpu"), CaptionStore(database, tmp_path / "scratch")
    outcomes = Outcomes(operation, log, database)
    writer = CaptionWriter(the_job, operation, store, outcomes)
    for item in the_job.items:
        writer.write(item, Caption(item.name, "m", "describe", GenerationOptions()), "cpu", stamp_of(item.path))
    assert log.since(0) == []
    disk += [errno.ENOSPC, "1", "3", "4", "5"]
    with pytest.raises(CaptionError, match="4 captions could not be written and are kept"):
        writer.flush()
    texts = {path.name: path.read_text() for path in library.glob("*.txt")}
    assert texts == {"0.txt": "0.mp4", "2.txt": "2.mp4", "6.txt": "6.mp4", "7.txt": "Old."}
    assert (outcomes.num_done, outcomes.num_unwritten, outcomes.num_skipped) == (3, 4, 1)
    assert sorted(store.unwritten.of(operation)) == ["1.mp4", "3.mp4", "4.mp4", "5.mp4"]
    writer.flush()  # nothing waits
    database.close()


def test_kept_caption_never_replaces_what_was_written_meanwhile(runner, library, disk):
    jobs, _, _ = runner(cpu=fail_from(6, disk, errno.EIO))
    for number in range(8):
        (library / f"{number}.txt").write_text("Old.")
    first = jobs.start(job(library, "cpu", existing="overwrite", consent=True), library)
    _, ended = follow(jobs, first)
    kept = ended.unwritten
    assert kept in (2, 3)
    disk.clear()
    (library / "6.txt").write_text("By hand.")
    events, ended = resume(jobs, first)
    assert [(event.item, event.reason) for event in events if isinstance(event, ItemSkipped)] == [
        ("6.mp4", f"{library / '6.txt'} was changed since; its new caption is not written")
    ]
    assert (ended.outcome, ended.done) == ("done", kept - 1)
    assert ((library / "6.txt").read_text(), (library / "7.txt").read_text()) == ("By hand.", "7 by cpu")


def test_kept_caption_of_a_changed_clip_is_made_again(runner, library, disk):
    jobs, _, started = runner(cpu=fail_from(7, disk, errno.EIO))
    first = jobs.start(job(library, "cpu"), library)
    follow(jobs, first)
    disk.clear()
    (library / "7.mp4").write_bytes(b"another clip")
    _, ended = resume(jobs, first)
    assert (ended.outcome, len(list(library.glob("*.txt")))) == ("done", 8)
    assert [request.path.stem for request in started[0].requests].count("7") == 2


def test_unplugged_drive_keeps_the_caption(runner, library, tmp_path):
    def unplug(replica, request):
        if request.path.stem == "7":
            library.rename(tmp_path / "unplugged")
        return finish(replica, request)

    jobs, _, started = runner(cpu=unplug)
    first = jobs.start(job(library, "cpu"), library)
    _, ended = follow(jobs, first)
    assert (ended.outcome, ended.done + ended.unwritten) == ("failed", 8)
    (tmp_path / "unplugged").rename(library)
    _, ended = resume(jobs, first)
    assert (ended.outcome, len(list(library.glob("*.txt"))), len(started[0].requests)) == ("done", 8, 8)


def test_what_the_file_system_refuses_is_told_once(runner, library, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr("captioner.system.replacing.os.replace", refuse)
    jobs, _, _ = runner(cpu=finish)
    events, ended = follow(jobs, jobs.start(job(library, "cpu")))
    assert [event.text for event in events if isinstance(event, JobNote)] == [
        f"the file system of {library} does not allow everything: captions are written over in place"
    ]
    assert (ended.outcome, ended.done) == ("done", 8)


def cut_off(tokens: int):
    """Return an answer that is cut off below `tokens` tokens."""

    def answer(replica, request):
        budget = request.options.max_new_tokens
        reason = "length" if budget < tokens else "stop"
        text = f"{request.path.stem} in {budget} tokens"
        caption = Caption(text, "m", request.prompt, request.options, num_tokens=min(budget, tokens))
        return Finished(request.id, replace(caption, finish_reason=reason))

    return answer


def test_cut_off_caption_is_written_with_a_warning(runner, library):
    jobs, log, started = runner(cpu=cut_off(600))
    events, _ = follow(jobs, jobs.start(job(library, "cpu")))
    done = [event for event in events if isinstance(event, ItemDone)]
    assert {event.flaw for event in done} == {"was cut off at 512 tokens"}
    assert {event.warning for event in done} == {"the caption was cut off at 512 tokens"}
    assert (log.snapshot().num_flawed, len(started[0].requests)) == (8, 8)


@pytest.mark.parametrize(("tokens", "flaw"), [(600, ""), (9000, "was cut off at 1024 tokens")])
def test_retry_doubles_the_budget_once(runner, library, tokens, flaw):
    jobs, log, started = runner(cpu=cut_off(tokens))
    events, ended = follow(jobs, jobs.start(job(library, "cpu", retry_cut=True)))
    assert (ended.done, len(started[0].requests), started[0].most_in_flight <= 2) == (8, 16, True)
    assert {event.flaw for event in events if isinstance(event, ItemDone)} == {flaw}
    assert (library / "3.txt").read_text() == "3 in 1024 tokens"
    assert log.snapshot().tokens == 8 * (512 + min(tokens, 1024))


def test_loop_is_tried_again_with_a_penalty_and_the_better_caption_is_kept(runner, library):
    def loop(replica, request):
        text = "a red, " * 30 if request.options.presence_penalty == 0 else f"{request.path.stem} is red"
        return Finished(request.id, Caption(text, "m", "", request.options, num_tokens=9))

    jobs, _, started = runner(cpu=loop)
    follow(jobs, jobs.start(job(library, "cpu", retry_cut=True)))
    assert {request.options.max_new_tokens for request in started[0].requests} == {512}
    assert (library / "3.txt").read_text() == "3 is red"


def test_failed_second_try_leaves_the_first_caption(runner, library):
    def fail(replica, request):
        if request.options.max_new_tokens > 512:
            return Failed(request.id, "out of device memory")
        return cut_off(600)(replica, request)

    jobs, _, _ = runner(cpu=fail)
    events, ended = follow(jobs, jobs.start(job(library, "cpu", retry_cut=True)))
    assert (ended.done, [event for event in events if isinstance(event, ItemFailed)]) == (8, [])
    assert (library / "3.txt").read_text() == "3 in 512 tokens"
