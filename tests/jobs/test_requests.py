"""The requests of a job for its items, and how it writes the captions."""

import sqlite3
from dataclasses import replace

from captioner.captions.text import Decoration
from captioner.jobs.events import ItemDone, ItemFailed, ItemTried
from captioner.jobs.job import Job
from captioner.replicas.protocol import Finished
from captioner.values import Caption
from tests.support.scripted import finish, job, run


def test_seed_differs_between_items_but_not_between_runs(runner, library):
    jobs, _, started = runner(cpu=finish)
    run(jobs, job(library, "cpu"))
    run(jobs, job(library, "cpu", existing="overwrite"))
    seeds = [r.options.seed for r in started[0].requests]
    assert seeds[:8] == seeds[8:]
    assert len(set(seeds)) == 8


def test_captions_are_decorated_before_the_policy_joins_them(runner, library, tmp_path):
    (library / "1.txt").write_text("Old.")
    jobs, _, _ = runner(cpu=finish)
    events, _ = run(jobs, job(library, "cpu", existing="append", decoration=Decoration("sks", "Caption:", ".")))
    assert (library / "0.txt").read_text() == "sks, Caption: 0 by cpu."
    assert (library / "1.txt").read_text() == "Old. sks, Caption: 1 by cpu."
    assert next(e.caption for e in events if isinstance(e, ItemDone)) == "sks, Caption: 0 by cpu."
    with sqlite3.connect(tmp_path / "captioner.sqlite") as database:
        made = {text for (text,) in database.execute("SELECT text FROM captions_made")}
    assert made == {f"sks, Caption: {i} by cpu." for i in range(8)}


def test_each_item_gets_the_prompt_with_its_own_variables(runner, library):
    (library / "1.txt").write_text("Old.")
    jobs, _, started = runner(cpu=finish)
    the_job = job(library, "cpu", existing="overwrite", decoration=Decoration("sks"))
    run(jobs, Job(the_job.items, the_job.model, "{trigger} {name} {folder} {x} {existing}", existing="overwrite",
                  decoration=the_job.decoration))  # fmt: skip
    assert [r.prompt for r in started[0].requests[:2]] == ["sks 0 clips {x} ", "sks 1 clips {x} Old."]


def test_kept_replica_learns_the_longest_request_of_the_next_job(runner, library):
    jobs, _, started = runner(cpu=finish)
    base = job(library, "cpu")
    for max_tokens in (900, 300):
        specs = (replace(base.model.specs[0], max_tokens=max_tokens),)
        run(jobs, replace(base, model=replace(base.model, specs=specs), existing="overwrite"))
    assert len(started) == 1
    assert [r.max_tokens for r in started[0].requests] == [900] * 8 + [300] * 8


def test_unreadable_caption_that_the_prompt_needs_fails_its_item_alone(runner, library):
    (library / "2.txt").mkdir()
    jobs, _, started = runner(cpu=finish)
    base = job(library, "cpu")
    events, ended = run(jobs, Job(base.items, base.model, "{existing}", existing="overwrite"))
    assert (ended.done, ended.failed, len(started[0].requests)) == (7, 1, 7)
    assert "cannot read the caption" in next(e.reason for e in events if isinstance(e, ItemFailed))


def test_trial_emits_the_caption_and_saves_nothing(runner, library, tmp_path):
    (library / "3.txt").write_text("Old.")
    jobs, log, _ = runner(cpu=finish)
    before = {path.name: path.read_bytes() for path in library.iterdir()}
    events, ended = run(jobs, job(library, "cpu", save=False, decoration=Decoration("sks")))
    tried = [e for e in events if isinstance(e, ItemTried)]
    assert {(e.item, e.caption, e.tokens) for e in tried} == {(f"{i}.mp4", f"sks, {i} by cpu", 3) for i in range(8)}
    assert {(e.made.text, e.made.num_tokens) for e in tried} == {(f"{i} by cpu", 3) for i in range(8)}
    assert (ended.outcome, ended.done, log.snapshot().done) == ("done", 8, 8)
    assert {path.name: path.read_bytes() for path in library.iterdir()} == before
    with sqlite3.connect(tmp_path / "captioner.sqlite") as database:
        for table in ("captions_made", "caption_changes"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_trial_with_an_empty_caption_fails(runner, library):
    def say_nothing(replica, request):
        return Finished(request.id, Caption("  ", "m", request.prompt, request.options))

    jobs, log, _ = runner(cpu=say_nothing)
    _, ended = run(jobs, job(library, "cpu", save=False))
    assert (ended.done, ended.failed) == (0, 8)
    assert log.snapshot().failures[0][1] == "the model returned an empty caption"
