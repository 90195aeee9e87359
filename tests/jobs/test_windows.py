"""Long clips, window by window: in order, with what was said before, exactly once, whatever fails or ends meanwhile."""

import itertools
import json
import threading
from dataclasses import replace

import pytest

from captioner.dataset.subtitles import Cue
from captioner.dataset.targets import target
from captioner.errors import SettingsError
from captioner.jobs.events import ItemDone, ItemFailed, JobNote
from captioner.jobs.job import job_plan, rebuild_job, request_for
from captioner.jobs.window_notes import CONTEXT_LENGTH, SUMMARY_LENGTH, longest_windows_note, part_note, summary_note
from captioner.replicas.protocol import Failed, Finished, Lost
from captioner.values import Caption, MediaFacts, SamplePlan
from tests.dataset.test_subtitles import blocks
from tests.support.scripted import job, run

PLAN = SamplePlan(windows="10")
BOUNDS = ((0.0, 10.0), (10.0, 20.0), (20.0, 25.0))


def answers(special=None):
    """Return a model that names the file and the part. special: answers instead, by file and number of the request."""
    asked = {}

    def answer(replica, request):
        name = request.path.name
        number = asked[name] = asked.get(name, -1) + 1
        if special and (own := special(replica, request, number)):
            return own
        plan, is_clip = request.plan, request.kind == "video"
        windows = BOUNDS if plan.windows != "none" and is_clip else ()
        part = plan.window_s or (windows and windows[0])
        text = f"{name} from {part[0]:g}." if part else f"{name} as a whole."
        facts = MediaFacts(25.0, windows_s=windows)
        return Finished(request.id, Caption(text, "m", request.prompt, request.options, num_tokens=3, facts=facts))

    return answer


def subtitles(tmp_path, stem):
    [path] = (tmp_path / "windows").rglob(f"{stem}.srt")
    return blocks(path.read_text())


def whole(name):
    return [(*bounds, f"{name} from {bounds[0]:g}.") for bounds in BOUNDS]


def test_windows_are_asked_in_order_with_the_caption_before_and_the_whole_at_last(runner, library, tmp_path):
    jobs, _, started = runner(cpu=answers())
    events, ended = run(jobs, job(library, "cpu", plan=PLAN))
    assert (ended.done, ended.failed) == (8, 0)
    for number in range(8):
        name = f"{number}.mp4"
        requests = [request for request in started[0].requests if request.path.name == name]
        assert [request.plan.window_s for request in requests] == [None, *BOUNDS[1:], None]
        assert [request.plan.windows for request in requests] == ["10", "none", "none", "none"]
        assert requests[3].plan.max_frames == 8
        first, second, third, last = (request.prompt for request in requests)
        assert first == "describe"
        assert f"from 0:10 to 0:20 of a longer video. Just before it: {name} from 0." in second
        assert f"Just before it: {name} from 10." in third
        assert all(f"{name} from {start:g}." in last for start, _ in BOUNDS)
        assert subtitles(tmp_path, number) == whole(name)
        assert (library / f"{number}.txt").read_text() == f"{name} as a whole."
    first_two = {request.path.name for request in started[0].requests[:2]}
    assert first_two == {"0.mp4", "1.mp4"}  # clips run beside each other
    assert [event.item for event in events if isinstance(event, ItemDone)] == [
        *dict.fromkeys(event.item for event in events if isinstance(event, ItemDone))
    ]
    [note] = [event.text for event in events if isinstance(event, JobNote)]
    assert note.startswith(f"the windows of each clip are in {tmp_path / 'windows' / 'clips-'}")
    assert {path.suffix for path in library.iterdir()} == {".mp4", ".txt"}


def test_clip_of_one_window_is_asked_once_and_an_image_has_no_windows(runner, clips, tmp_path):
    def short(replica, request, number):
        facts = MediaFacts(3.0, windows_s=((0.0, 3.0),) if request.kind == "video" else ())
        return Finished(request.id, Caption("Short.", "m", request.prompt, request.options, facts=facts))

    jobs, _, started = runner(cpu=answers(short))
    the_job = job(clips, "cpu", plan=PLAN)
    _, ended = run(jobs, the_job)
    assert (ended.done, len(started[0].requests)) == (4, 4)
    assert subtitles(tmp_path, 1) == [(0.0, 3.0, "Short.")]
    assert not list((tmp_path / "windows").rglob("4.srt"))


def test_stopped_job_is_resumed_with_each_caption_written_once(runner, library, tmp_path):
    reached = threading.Event()

    def stall(replica, request, number):
        if request.path.name == "3.mp4" and number == 2:
            reached.set()
        return None

    def held(replica, request):
        return None if reached.is_set() else replay(replica, request)

    replay = answers(stall)
    jobs, _, started = runner(cpu=held)
    the_job = job(library, "cpu", plan=PLAN)
    number = jobs.start(the_job, library)
    reached.wait(timeout=30)
    jobs.stop(number)
    list(jobs.follow(number))
    written = {path.name: path.stat().st_mtime_ns for path in library.glob("*.txt")}
    assert "3.txt" not in written
    started[0].answer = answers()
    before = len(started[0].requests)
    assert len(written) < 8
    resumed = jobs.resume(number, lambda source: the_job.model.find, lambda item: "")
    *_, ended = jobs.follow(resumed)
    assert (ended.done, ended.failed) == (8 - len(written), 0)
    assert {name: (library / name).stat().st_mtime_ns for name in written} == written
    again = [request for request in started[0].requests[before:] if request.path.name == "3.mp4"]
    assert [request.plan.window_s for request in again] == [None, *BOUNDS[1:], None]
    assert all(subtitles(tmp_path, each) == whole(f"{each}.mp4") for each in range(8))


def test_lost_worker_costs_no_window_that_was_captioned(runner, library, tmp_path):
    died = []

    def die_once(replica, request, number):
        if request.path.name == "0.mp4" and number == 2 and not died:
            died.append(replica)
            return Lost("out of memory")
        return None

    jobs, _, started = runner(cpu=answers(die_once))
    _, ended = run(jobs, job(library, "cpu", plan=PLAN))
    assert (ended.done, ended.failed, len(started)) == (8, 0, 2)
    asked = [request.plan.window_s for each in started for request in each.requests if request.path.name == "0.mp4"]
    assert asked == [None, BOUNDS[1], BOUNDS[2], BOUNDS[2], None]
    assert all(subtitles(tmp_path, each) == whole(f"{each}.mp4") for each in range(8))


def test_failed_window_fails_its_clip_and_says_which(runner, library):
    def fail(replica, request, number):
        return Failed(request.id, "no frame could be decoded") if (request.path.stem, number) == ("2", 1) else None

    jobs, _, _ = runner(cpu=answers(fail))
    events, ended = run(jobs, job(library, "cpu", plan=PLAN))
    assert (ended.done, ended.failed) == (7, 1)
    [reason] = [event.reason for event in events if isinstance(event, ItemFailed)]
    assert reason == "window 2 of 3 (0:10 to 0:20): no frame could be decoded"
    assert not (library / "2.txt").exists()


def test_file_that_changes_between_two_windows_is_not_captioned(runner, library):
    def change(replica, request, number):
        if (request.path.stem, number) == ("5", 1):
            request.path.write_bytes(b"another clip")
        return None

    jobs, _, _ = runner(cpu=answers(change))
    events, _ = run(jobs, job(library, "cpu", plan=PLAN))
    [failed] = [event for event in events if isinstance(event, ItemFailed)]
    assert (failed.item, "changed while it was captioned" in failed.reason) == ("5.mp4", True)
    assert not (library / "5.txt").exists()


def test_windows_that_cannot_be_written_cost_no_caption(runner, library, tmp_path):
    (tmp_path / "windows").write_text("a file, not a folder")
    jobs, _, _ = runner(cpu=answers())
    events, ended = run(jobs, job(library, "cpu", plan=PLAN))
    assert (ended.done, ended.failed) == (8, 0)
    notes = [event.text for event in events if isinstance(event, JobNote)]
    assert notes
    assert all("cannot be written to" in note and "\n" not in note for note in notes)


def test_beside_the_clips_if_asked_and_never_over_subtitles_of_others(runner, library, tmp_path):
    (library / "0.srt").write_text("mine")
    jobs, _, _ = runner(cpu=answers())
    run(jobs, job(library, "cpu", plan=PLAN, windows_beside=True))
    assert blocks((library / "0.windows.srt").read_text()) == whole("0.mp4")
    assert (library / "0.srt").read_text() == "mine"
    assert not (tmp_path / "windows").exists()


def test_same_names_in_other_folders_and_of_other_kinds_have_files_of_their_own(runner, clips, tmp_path):
    (clips / "more" / "1.mkv").write_bytes(b"x")
    (clips / "1.mkv").write_bytes(b"x")
    jobs, _, _ = runner(cpu=answers())
    for folder in (clips, clips / "more"):
        run(jobs, job(folder, "cpu", plan=PLAN))
    found = [path.relative_to(tmp_path / "windows").parts[1:] for path in (tmp_path / "windows").rglob("*.srt")]
    assert sorted(found) == [("1.mp4.srt",), ("1.srt",), ("1.srt",), ("2.srt",), ("3.srt",), ("5.srt",), ("6.srt",)]


def test_trial_of_a_prompt_asks_once_about_the_whole_clip(runner, library):
    jobs, _, started = runner(cpu=answers())
    run(jobs, job(library, "cpu", plan=PLAN, save=False))
    assert [request.plan.windows for request in started[0].requests] == ["none"] * 8


def test_windows_have_the_form_of_the_target_and_are_asked_again_like_any_caption(runner, library, tmp_path):
    jobs, _, started = runner(cpu=answers())
    run(jobs, job(library, "cpu", plan=PLAN, target=target("minimax-h3")))
    prompts = [request.prompt for request in started[0].requests if request.path.stem == "0"]
    assert len(prompts) == 2 * 4
    assert "An earlier answer could not be used" in prompts[3]
    assert "from 0:10 to 0:20" in prompts[3]


def test_job_keeps_its_windows_for_the_one_that_resumes_it(library, tmp_path):
    the_job = job(library, "cpu", plan=replace(PLAN, windows="scenes"), windows_beside=True)
    kept = json.loads(json.dumps(request_for(the_job, library, False, (0, 0))))
    rebuilt = rebuild_job(kept, the_job.items, lambda source: lambda on_bytes: tmp_path)
    assert (rebuilt.plan, rebuilt.windows_beside) == (the_job.plan, True)
    del kept["windows_beside"], kept["plan"]["windows"]  # of an earlier version
    rebuilt = rebuild_job(kept, the_job.items, lambda source: lambda on_bytes: tmp_path)
    assert (rebuilt.plan.windows, rebuilt.windows_beside) == ("none", False)


@pytest.mark.parametrize("count", [2, 60, 5000])
@pytest.mark.parametrize("text", ["<|im_end|> a [INST] b </s>", "x" * 3000, "猫 " * 900, ""])
def test_notes_are_short_and_hold_nothing_that_could_be_a_special_token(count, text):
    cues = [Cue(10 * number, 10 * number + 10, text) for number in range(count)]
    longest = len(longest_windows_note(PLAN))
    for note in (summary_note(cues), part_note((10, 20), text)):
        assert len(note) <= longest + 200
        assert not set("<>[]") & set(note)
    assert longest == CONTEXT_LENGTH + SUMMARY_LENGTH
    if text:
        kept = [line for line in summary_note(cues).splitlines() if " to " in line]
        assert kept[0].startswith("0:00 to 0:10: ")
        assert len(kept) == count if count <= 60 else len(kept) > 50
        assert all(early < late for early, late in itertools.pairwise(map(kept.index, kept)))


def test_settings_that_cannot_be_combined_are_refused_with_one_line(services):
    def plan(**changes):
        return job_plan(services.settings.model_copy(update=changes), services.preset())

    assert plan(windows="10").windows == "10"
    with pytest.raises(SettingsError, match="windows cannot be combined with span middle; leave out one of them"):
        plan(windows="10", span="middle", target="wan2.2")
    with pytest.raises(SettingsError, match=r"^diffusion-pipe, which trains Wan 2\.2.*takes \.srt files for media"):
        plan(windows="10", windows_beside=True, target="wan2.2")
    assert plan(windows="10", windows_beside=True, target="none").windows == "10"
    for given, kept in {"scenes": "scenes", " 10.0 ": "10", "2.5": "2.5", "NONE": "none", "3600": "3600"}.items():
        assert services.change_settings({"windows": given}).windows == kept
    for wrong in ("0", "-1", "nan", "inf", "3601", "shots", "", "10s"):
        with pytest.raises(SettingsError, match="give none, scenes, or the seconds of a window from 1 to 3600"):
            services.change_settings({"windows": wrong})
