"""A clock that is set back, jumps ahead or starts in 1970: no negative times, and nothing in a wrong order."""

import io
import itertools
import os
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from captioner.captions.edit import BulkEdit
from captioner.captions.operations import begin_operation, end_operation, operation_info, recent_operations
from captioner.cli.bar import Bar
from captioner.cli.main import main
from captioner.jobs import events
from captioner.jobs.event_log import EventLog
from captioner.library.bulk import bulk_edit
from captioner.media.discover import discover, find_item
from captioner.media.thumbnail import Thumbnail
from captioner.media.thumbnail_cache import ThumbnailCache
from captioner.services import Services
from captioner.ui.gallery.panel import num_seen
from captioner.ui.runs import card
from captioner.ui.server.api import describe
from captioner.ui.server.login import LoginLimiter
from captioner.ui.server.routes import make_zip
from captioner.ui.server.uploads import Limits, Uploads
from tests.support.captions import CAPTION
from tests.support.media_maker import make_picture

DAY_S = 86400.0
YEAR_S = 365 * DAY_S


class Clock:
    """The clock of the machine, which can be set. Time goes on: a monotonic clock cannot be set."""

    def __init__(self) -> None:
        self._time, self.offset_s = time.time, 0.0

    def __call__(self) -> float:
        return self._time() + self.offset_s


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in "abc":
        make_picture(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"A {name}.")
    return folder


@pytest.mark.parametrize("jumps_s", [(-YEAR_S, 0, 0), (0, -3600, 7200), (YEAR_S, -YEAR_S, -40 * YEAR_S), (5, -5, 5)])
def test_times_of_a_job_are_neither_negative_nor_jump(clock, jumps_s):
    log, paths = EventLog(), [Path(f"{number}.mp4") for number in range(6)]
    clock.offset_s -= 1000
    log.append(events.JobStarted(job=1, total=6, model="m"))
    assert abs(log.snapshot().started_s - time.time()) < 2  # the time of the machine, also if it was set since
    for path, jump_s in zip(paths, itertools.cycle(jumps_s), strict=False):
        log.append(events.ItemStarted(1, path.name, path, replica="r"))
        clock.offset_s += jump_s
        log.append(events.ItemProgress(1, path.name, path, tokens=5))
        log.append(events.ItemDone(1, path.name, path, caption="x", tokens=9, seconds=0.1, replica="r"))
        progress = log.snapshot()
        assert 0 <= progress.tokens_per_s < 1e6
        assert 0 <= progress.eta_s < 60
        assert 0 <= describe(progress, log.now_s())["elapsed_s"] < 60
        assert "<dt>elapsed</dt><dd>0:0" in card.view(progress, log.now_s())
    log.append(events.JobEnded(job=1, outcome="done", done=6))
    clock.offset_s -= YEAR_S
    assert " · 1 s · " in card.summary(log.snapshot())
    times_s = [event.time_s for event in log.since(0)]
    assert times_s == sorted(times_s)


def test_speed_of_a_download_is_right_while_the_clock_is_set(clock):
    log = EventLog()
    log.append(events.JobStarted(job=1, total=1, model="m"))
    for number in range(4):
        log.append(events.ModelLoading(model="m", bytes_done=number * 1000, bytes_total=10_000))
        clock.offset_s -= 3600
    assert 0 < log.snapshot().bytes_per_s <= 3000 / 0.2
    assert card.view(log.snapshot(), log.now_s()).count("· 0:00 left") == 1


def test_bar_of_the_command_line_goes_on(clock):
    out = io.StringIO()
    with Bar(total=3, file=out, mininterval=0, ascii=True) as bar:
        for _ in range(3):
            clock.offset_s -= YEAR_S
            bar.update()
        assert 0 <= bar.format_dict["elapsed"] < 60
        bar.reset(5)
        assert 0 <= bar.format_dict["elapsed"] < 60
    assert "3/3" in out.getvalue()
    assert "-1" not in out.getvalue()


def test_history_and_undo_go_by_the_order_of_events(clock, services, pictures, capsys):
    services.open_folder(pictures, False)
    names = [item.name for item in services.library.items]
    for number in range(3):
        done = bulk_edit(services.database, services.library, names, BulkEdit(prefix=f"{number} "))
        clock.offset_s -= YEAR_S
    assert [each.id for each in recent_operations(services.database)] == [3, 2, 1]
    history = services.captions.history(pictures / "a.txt")
    assert [entry.text for entry in history] == ["1 0 A a.", "0 A a.", "A a."]
    assert main(["--state", str(services.folder), "history"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["3", "2", "1"]
    services.undo(done.operation)
    assert (pictures / "a.txt").read_text() == "1 0 A a."
    assert operation_info(services.database, done.operation).undone_at_s is not None


def test_operation_undone_at_the_start_of_all_time_counts_as_undone(monkeypatch, services, pictures, capsys):
    services.open_folder(pictures, False)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    done = bulk_edit(services.database, services.library, ["a.png"], BulkEdit(prefix="x "))
    services.undo(done.operation)
    main(["--state", str(services.folder), "history"])
    assert "  undone " in capsys.readouterr().out.splitlines()[1]


def test_operation_does_not_end_before_it_began(clock, services):
    with services.database.transaction() as connection:
        number = begin_operation(connection, "bulk", "x", Path("/x"), 1)
    clock.offset_s -= YEAR_S
    end_operation(services.database, number, "done")
    info = operation_info(services.database, number)
    assert info.ended_at_s == info.created_at_s


def test_latest_caption_is_the_one_made_last(clock, services, pictures):
    item = discover(pictures).items[0]
    for text in ("First.", "Second.", "Third."):
        services.captions.write(item, replace(CAPTION, text=text), "overwrite")
        clock.offset_s -= YEAR_S
    texts = [made.caption.text for made in services.captions.provenance(item.caption_path)]
    assert texts == ["Third.", "Second.", "First."]


@pytest.mark.parametrize("modified_s", [None, 0.0, -DAY_S, 4e9])
def test_caption_is_of_its_file_whatever_the_clocks_say(clock, services, pictures, modified_s):
    """A camera may be set to 1970 or 2096, and the machine to any time."""
    path = pictures / "a.png"
    if modified_s is not None:
        os.utime(path, (modified_s, modified_s))
    clock.offset_s -= 2 * YEAR_S
    item = find_item(path)
    services.captions.write(item, CAPTION, "overwrite")
    made = services.captions.provenance(item.caption_path)
    assert num_seen(find_item(path), made) == 2
    os.utime(path, (item.modified_s - 5, item.modified_s - 5))  # an older file in its place
    assert num_seen(find_item(path), made) == 0


def make_thumbnails(cache: ThumbnailCache, folder: Path) -> dict[str, Path]:
    """Return the files of the thumbnails of three pictures, by the name of the picture."""
    found: dict[str, Path] = {}
    for item in discover(folder).items:
        cache.get(item)
        [new] = set(cache._folder.rglob("*.jpg")) - {*found.values()}
        found[item.name] = new
    return found


def test_thumbnails_used_under_a_later_clock_are_the_first_to_go(clock, pictures, tmp_path):
    data = Thumbnail(b"x" * 100 + b"\xff\xd9", 0.0)
    cache = ThumbnailCache(tmp_path / "thumbnails", lambda item: data, max_bytes=250)
    files = make_thumbnails(cache, pictures)
    now_s = time.time()
    os.utime(files["a.png"], (now_s + YEAR_S, now_s + YEAR_S))  # used before the clock was set back
    os.utime(files["b.png"], (now_s - DAY_S, now_s - DAY_S))
    cache.prune()
    assert [name for name, file in files.items() if file.exists()] == ["b.png", "c.png"]


def test_use_of_a_thumbnail_from_the_future_counts_from_now(clock, pictures, tmp_path):
    cache = ThumbnailCache(tmp_path / "thumbnails", lambda item: Thumbnail(b"x\xff\xd9", 0.0))
    files = make_thumbnails(cache, pictures)
    later_s = time.time() + YEAR_S
    os.utime(files["a.png"], (later_s, later_s))
    assert cache.find(discover(pictures).items[0])
    assert abs(files["a.png"].stat().st_mtime - time.time()) < 60


def test_open_tabs_of_an_earlier_process_never_meet_their_ids_again(monkeypatch, tmp_path, pictures):
    monkeypatch.setattr(time, "time", lambda: 1e9)
    ids = set()
    for number in range(3):
        with Services(tmp_path / f"state {number}") as services:
            ids |= {services.open_folder(pictures, False).scan.id for _ in range(3)}
    assert len(ids) == 9


@pytest.mark.parametrize("now_s", [0.0, -YEAR_S, 4.2e9, 5e9])
def test_captions_can_be_downloaded_at_any_time(monkeypatch, services, pictures, now_s):
    times = time.localtime(now_s)
    monkeypatch.setattr(time, "localtime", lambda *_: times)
    archive = zipfile.ZipFile(make_zip(discover(pictures).items, services.captions))
    assert archive.testzip() is None
    assert {name: archive.read(name) for name in archive.namelist()}["a.txt"] == b"A a."
    assert archive.infolist()[0].external_attr >> 16 == 0o600
    assert archive.infolist()[0].compress_type == zipfile.ZIP_DEFLATED


def test_login_limits_do_not_follow_the_clock(clock):
    limiter = LoginLimiter(per_address=2)
    assert [limiter.add("a"), limiter.add("a")] == [0.0, 0.0]
    for jump_s in (YEAR_S, -2 * YEAR_S):
        clock.offset_s += jump_s
        assert 0 < limiter.add("a") <= 60


def test_uploads_sent_under_a_later_clock_do_not_stay_for_ever(clock, tmp_path):
    """Gradio deletes what is an hour old by its ctime."""
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (incoming / "a.png").write_bytes(b"x")
    before_ns = (incoming / "a.png").stat().st_ctime_ns
    uploads = Uploads(tmp_path / "uploads", Limits())
    uploads.room_bytes(incoming)
    assert (incoming / "a.png").stat().st_ctime_ns == before_ns
    clock.offset_s -= YEAR_S
    uploads.room_bytes(incoming)
    assert (incoming / "a.png").stat().st_ctime_ns > before_ns  # the time of the kernel, which is set back as well
