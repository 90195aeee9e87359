"""Contenders that caption a sample of a folder: real services and jobs, over replicas that follow a script."""

import collections
import shutil
import threading

import pytest

from captioner.errors import CaptionerError, JobError
from captioner.jobs.runner import JobRunner
from captioner.library.comparisons.ballots import cast, open_ballots
from captioner.library.comparisons.comparer import Comparer
from captioner.library.comparisons.contenders import changes_to_use, new_contenders, parse_values
from captioner.library.comparisons.result import result_of
from captioner.library.comparisons.sampling import choose_files
from captioner.media.facts import FactsCache
from captioner.replicas.pool import ReplicaPool
from captioner.replicas.protocol import Failed, Finished
from captioner.services import Services
from captioner.values import Caption, MediaInfo, MediaItem
from tests.support.media_maker import make_picture
from tests.support.scripted import ScriptedReplica

SHORT, LONG = {"name": "S", "prompt": "Say it briefly."}, {"name": "L", "prompt": "Say it at length."}


def tell(replica, request):
    caption = Caption(
        f"{request.prompt} {request.path.stem}",
        "m",
        request.prompt,
        request.options,
        num_prompt_tokens=90,
        num_tokens=10,
    )
    return Finished(request.id, caption)


@pytest.fixture
def app(tmp_path):
    """Services whose replicas answer by `app.answer`; `app.started` are the replicas."""
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(6):
        make_picture(folder / f"{number}.png", (64, 64))
    with Services(tmp_path / "state", {"model": "demo", "devices": "cpu"}) as services:
        services.started, services.answer = [], tell

        def start(name, spec, model, num_threads):
            replica = ScriptedReplica(name, lambda replica, request: services.answer(replica, request))
            services.started.append((spec.source, replica))
            return replica

        services.jobs.close()
        services.jobs = JobRunner(services.events, services.captions, services.database, ReplicaPool(start))
        services.open_folder(folder, recursive=False)
        yield services


def create(app: Services, *contenders: dict, count: int = 6):
    scan = app.library.scan
    comparer = Comparer(app)
    return comparer, comparer.create(scan.folder, scan.recursive, scan.items, contenders, count).number


def test_contenders_caption_the_sample_and_no_caption_is_written(app):
    (app.library.folder / "0.txt").write_text("of the user")
    comparer, number = create(app, SHORT, LONG)
    done = comparer.run(number)
    assert done.num_left == 0
    assert {answer.text for answer in done.answers[0].values()} == {f"Say it briefly. {each}" for each in range(6)}
    assert [path.name for path in app.library.folder.glob("*.txt")] == ["0.txt"]
    assert (app.library.folder / "0.txt").read_text() == "of the user"
    assert app.jobs.journal.recent(5) == []
    first = result_of(done).rows[0]
    assert first.tokens == 100_000
    assert done.contenders[0].num_timed == 5  # without the first file of a model, with which it gets warm
    assert done.contenders[1].num_timed == 6
    assert first.seconds == pytest.approx(done.contenders[0].seconds / 5 * 1000)


def test_each_model_is_loaded_once(app, tmp_path):
    source = app.preset().source
    shutil.copytree(source, tmp_path / "other")
    other = {"model": str(tmp_path / "other")}
    comparer, number = create(app, SHORT, {**LONG, **other, "name": "O"}, LONG, {**SHORT, **other, "name": "P"})
    assert comparer.run(number).num_left == 0
    assert [each for each, _ in app.started] == [source, str(tmp_path / "other")]


def test_contender_that_fails_says_so_in_one_line_and_the_others_go_on(app):
    app.answer = lambda replica, request: (
        Failed(request.id, "too long")
        if "length" in request.prompt and request.path.stem == "3"
        else tell(replica, request)
    )
    comparer, number = create(app, {"prompt": "End with <|im_end|>"}, SHORT, LONG)
    done = comparer.run(number)
    assert [contender.problem.partition(";")[0] for contender in done.contenders] == [
        "the prompt contains <|im_end|>, which is a special token of the model", "", "",
    ]  # fmt: skip
    assert done.answers[2]["3.png"].problem == "too long"
    assert len(open_ballots(done)) == 5  # of 3.png only one caption is left
    for ballot in open_ballots(done):
        done = cast(done, ballot.file.name, 1)
    result = result_of(done)
    assert result.rows[2].place is None
    assert {row.name: row.num_failed for row in result.rows} == {"S": 0, "L": 1, "End with <|im_end|>": 0}


def test_stopped_comparison_resumes_with_what_is_missing(app):
    asked, enough = [], threading.Event()

    def answer(replica, request):
        asked.append((request.prompt, request.path.stem))
        if len(asked) < 9:
            return tell(replica, request)
        enough.set()
        return None  # until it is canceled

    app.answer = answer
    comparer, number = create(app, SHORT, LONG)
    comparer.start(number)
    assert enough.wait(30)
    with pytest.raises(JobError, match="is running"):
        comparer.start(number)
    with pytest.raises(JobError, match="is running; stop it first"):
        comparer.delete(number)
    comparer.stop()
    while comparer.running:
        threading.Event().wait(0.02)
    stopped = comparer.store.get(number)
    assert (stopped.num_answered, stopped.num_left) == (8, 4)
    app.answer, asked[:] = lambda replica, request: asked.append(request.path.stem) or tell(replica, request), []
    done = Comparer(app).run(number)  # as after a restart
    assert (done.num_left, len(asked)) == (0, 4)
    assert [contender.problem for contender in done.contenders] == ["", ""]


def test_file_that_is_gone_costs_only_itself(app):
    comparer, number = create(app, SHORT, LONG)
    (app.library.folder / "2.png").unlink()
    done = comparer.run(number)
    assert done.num_left == 0
    assert "moved or deleted" in done.answers[0]["2.png"].problem
    assert len(open_ballots(done)) == 5


def test_winner_becomes_the_settings_with_its_prompt_as_it_was(app):
    app.prompts.create("Mine", "Say it briefly.")
    given = [{"prompt_name": "Mine", "temperature": "0.7"}, {"prompt_name": "Short"}, {}]
    mine, short, current = new_contenders(given, app.settings, app.prompts)
    assert (mine.name, short.name, current.name) == ("Mine, temperature 0.7", "Short", "Current settings")
    app.change_settings({"prompt": "Another text", "max_frames": 8})
    app.change_settings(changes_to_use(mine, app.settings, app.prompts))
    assert (app.prompt_text(), app.settings.temperature, app.settings.max_frames) == ("Say it briefly.", 0.7, 32)
    assert (app.settings.prompt, app.settings.prompt_name) == ("", "Mine")
    app.prompts.replace("Mine", None, "Changed since")
    app.change_settings(changes_to_use(mine, app.settings, app.prompts))
    assert (app.settings.prompt, app.prompt_text()) == ("Say it briefly.", "Say it briefly.")
    app.change_settings(changes_to_use(current, app.settings, app.prompts))
    assert (app.settings.prompt, app.settings.prompt_name, app.settings.temperature) == ("", "auto", None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{}], "compare 2 to 6 contenders, not 1"),
        ([{"seed": n} for n in range(7)], "compare 2 to 6 contenders, not 7"),
        ([{}, {"temperature": "hot"}], "temperature: 'hot' is not allowed"),
        ([{}, {"tempo": "1"}], "unknown setting tempo"),
        ([{}, {"captions_to": "/x"}], "captions_to cannot be compared"),
        ([{}, {"endpoint": "http://x"}], "endpoint cannot be compared"),
        ([{}, {"model": "no such model"}], "model"),
        ([{}, {"prompt_name": "nowhere"}], "there is no prompt 'nowhere'"),
        ([{}, {"target": "nothing"}], "there is no target 'nothing'"),
        ([{"seed": 1}, {"name": "b", "seed": "1"}], "seed 1 and b have the same settings"),
        ([{"name": "a", "seed": 1}, {"name": "a", "seed": 2}], "two contenders are named a"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(app, given, message):
    with pytest.raises(CaptionerError) as caught:
        new_contenders(given, app.settings, app.prompts)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_are_written_as_in_a_shell():
    assert parse_values('name=A prompt="Say it; \'now\' = here" top_k=5') == {
        "name": "A", "prompt": "Say it; 'now' = here", "top_k": "5",
    }  # fmt: skip
    with pytest.raises(CaptionerError, match="SETTING=VALUE"):
        parse_values("Short")
    with pytest.raises(CaptionerError, match="is not closed"):
        parse_values('prompt="open')


def test_sample_has_the_kinds_folders_and_lengths_of_the_folder(services, tmp_path):
    lengths = {}
    items = []
    for folder, kind, count in (("a", "video", 120), ("b", "video", 40), ("b", "image", 40)):
        for number in range(count):
            name = f"{folder}/{kind} {number}"
            lengths[name] = 0.0 if kind == "image" else float(number % 40)
            path = tmp_path / name
            items.append(MediaItem(path.parent, path.name, name, kind, 1, 1.0, "x.txt", False))
    facts = FactsCache(
        services.database,
        lambda path: MediaInfo(64, 64, lengths[path.relative_to(tmp_path).as_posix()], 24.0, 9, 0, "h264"),
    )
    chosen = choose_files(tmp_path, items, 20, facts, seed=5)
    counts = collections.Counter((item.name[0], item.kind) for item in chosen)
    assert counts == {("a", "video"): 12, ("b", "video"): 4, ("b", "image"): 4}
    tens = collections.Counter(lengths[item.name] // 10 for item in chosen if item.name[0] == "a")
    assert tens == {0: 3, 1: 3, 2: 3, 3: 3}
    assert [item.name for item in chosen] != sorted(item.name for item in chosen)
    assert len(choose_files(tmp_path, items[:5], 20, facts, seed=5)) == 5


def test_folder_without_readable_files_is_one_line(app, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"no video")
    app.open_folder(folder, recursive=False)
    with pytest.raises(JobError, match=r"no clip or image in .* can be read"):
        create(app, SHORT, LONG)
    assert Comparer(app).store.numbers() == []
