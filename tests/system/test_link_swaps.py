"""Links that take the place of files and folders after a scan lead nothing outside, through any door."""

import contextlib
import itertools
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import pytest

from captioner.captions.edit import BulkEdit
from captioner.captions.store import CaptionStore
from captioner.cli.main import main
from captioner.errors import CaptionerError, FolderError, MediaError
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemDone, ItemFailed
from captioner.jobs.runner import JobRunner
from captioner.library.bulk import preview
from captioner.media.discover import ListingOptions, discover
from captioner.media.probe import probe
from captioner.media.sample import sample
from captioner.replicas.pool import ReplicaPool
from captioner.replicas.protocol import Finished
from captioner.services import Services
from captioner.system import pinning
from captioner.system.database import Database
from captioner.system.pinning import OUTSIDE
from captioner.ui.gallery.folders import browse
from captioner.ui.gallery.tab import Gallery
from captioner.ui.server.api import Api
from captioner.ui.server.routes import make_zip
from captioner.values import CaptionRequest, MediaItem, SamplePlan
from tests.support.captions import CAPTION
from tests.support.link_swaps import SECRET, TwoTrees
from tests.support.own_routes import client_of
from tests.support.scripted import ScriptedReplica, finish, job

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")

T, U = TypeVar("T"), TypeVar("U")
PLAN, RECURSIVE = SamplePlan(max_frames=2, frame_size=64), ListingOptions(recursive=True)
SECONDS = 1.0  # of each race
NAMES = ("mid/sub/a.mp4", "mid/sub/b.png")
SWAPS = {
    "files": (*NAMES, "mid/sub/a.txt", "mid/sub/b.txt"),
    "their folder": ("mid/sub",),
    "a folder above": ("mid",),
    "the root": ("",),
}


@pytest.fixture(scope="module")
def trees(tmp_path_factory) -> TwoTrees:
    return TwoTrees.make(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def services(tmp_path_factory, trees) -> Iterator[Services]:
    with Services(tmp_path_factory.mktemp("state"), {"model": "demo", "devices": "cpu"}, trees.roots) as services:
        services.open_folder(trees.inside, True)
        assert [item.name for item in services.library.items] == list(NAMES)
        for item in services.library.items:
            services.library.edits.save(item, "By hand.")
        services.bulk_edit(NAMES, BulkEdit(prefix="x "))
        yield services


def route(path: str) -> Callable[[Services], object]:
    def ask(services: Services) -> object:
        client, scan = client_of(services), services.library.scan.id
        answers = [client.get(path.format(f"{scan}-{i}"), headers={"Range": "bytes=0-99"}) for i in range(2)]
        assert [answer.status_code for answer in answers] == [404, 404]
        return [answer.text for answer in answers]

    return ask


def refused(act: Callable[[Services, MediaItem], object]) -> Callable[[Services], object]:
    """Return a door that does something with each file, and expects a reason of one line."""

    def go(services: Services) -> list[str]:
        reasons = []
        for item in services.library.items:
            with pytest.raises(CaptionerError) as caught:
                act(services, item)
            reasons.append(str(caught.value))
        assert not any("\n" in reason for reason in reasons)
        return reasons

    return go


def tried(act: Callable[[Services], object]) -> Callable[[Services], object]:
    def go(services: Services) -> object:
        try:
            return act(services)
        except CaptionerError as error:
            return error

    return go


DOORS = {
    "sample": refused(lambda services, item: sample(item.path, PLAN, item.kind, services.roots.within)),
    "thumbnail": refused(lambda services, item: services.sandbox.thumbnail(item)),
    "probe": refused(lambda services, item: services.sandbox.probe(item.path)),
    "contact sheet": refused(lambda services, item: services.sandbox.sheet(item, PLAN)),
    "one file": refused(lambda services, item: services.try_file(item.path)),
    "route media": route("media/{}"),
    "route thumb": route("thumb/{}.jpg"),
    "route sheet": route("sheet/{}.jpg"),
    "zip": lambda services: make_zip(services.library.items, services.captions),
    "list": lambda services: Api(services).list_files(),
    "get_caption": lambda services: [Api(services).get_caption(name) for name in NAMES],
    "set_caption": refused(lambda services, item: Api(services).set_caption(item.name, "A new text.")),
    "panel": lambda services: [Gallery(services).panel.describe(services.library.lookup.find(name)) for name in NAMES],
    "read": refused(lambda services, item: services.captions.read(item.caption_path)),
    "skip or not": refused(lambda services, item: services.captions.skip_reason(item, "append")),
    "write": refused(lambda services, item: services.captions.write(item, CAPTION, "overwrite")),
    "delete": refused(lambda services, item: services.library.edits.delete(item)),
    "restore": refused(lambda services, item: services.library.edits.restore(item, last_entry(services, item))),
    "approve": refused(lambda services, item: services.library.edits.approve([item.name])),
    "preview": lambda services: preview(services.library, NAMES, BulkEdit(prefix="y")),
    "bulk edit": lambda services: services.bulk_edit(NAMES, BulkEdit(prefix="y")),
    "undo": tried(lambda services: services.undo(first_operation(services))),
    "undo without the check of folders": lambda services: services.captions.undo(first_operation(services)),
    "estimate": lambda services: services.estimate(NAMES),
    "scan": tried(lambda services: discover(services.library.folder, RECURSIVE, services.roots.escapes)),
    "browse": tried(lambda services: browse(services.library.items[0].folder, services.roots)),
}


def last_entry(services: Services, item: MediaItem) -> int:
    return services.captions.history(item.caption_path)[0].id


def first_operation(services: Services) -> int:
    return min(each.id for each in services.jobs.journal.recent(100))


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("door", DOORS)
def test_what_became_a_link_after_the_scan_is_refused(services, trees, door, swap):
    with trees.swapped(*SWAPS[swap]), trees.nothing_outside_is_used():
        shown = DOORS[door](services)
    assert SECRET not in repr(shown)
    assert services.captions.read(services.library.items[0].caption_path) == "x By hand."


@pytest.mark.parametrize("swap", [*SWAPS.values(), NAMES, ("mid/sub/a.txt", "mid/sub/b.txt")])
def test_a_job_fails_the_items_that_became_links(services, trees, swap):
    cursor = services.events.snapshot().cursor
    with trees.swapped(*swap), trees.nothing_outside_is_used():
        number = services.start(existing="overwrite")
        events = list(services.jobs.follow(number, cursor))
    failed = [event.reason for event in events if isinstance(event, ItemFailed)]
    assert len(failed) == 2
    assert all(OUTSIDE in reason for reason in failed)
    assert not any(isinstance(event, ItemDone) for event in events)


def test_caption_of_a_folder_that_becomes_a_link_meanwhile_is_kept_and_written_later(tmp_path):
    trees, swaps = TwoTrees.make(tmp_path), contextlib.ExitStack()
    folder = trees.inside / "mid" / "sub"
    for name in ("a.txt", "b.txt"):
        (folder / name).unlink()
    for path in folder.iterdir():  # so that the media look unchanged: an encoder's files differ in size
        shutil.copy2(path, trees.outside / path.relative_to(trees.inside))

    def answer(replica: ScriptedReplica, request: CaptionRequest) -> Finished:
        if request.path.name == "b.png" and not request.path.parents[1].is_symlink():
            swaps.enter_context(trees.swapped("mid"))
        return finish(replica, request)

    database, events = Database(tmp_path / "captioner.sqlite"), EventLog()
    store = CaptionStore(database, tmp_path / "scratch", trees.roots)
    pool = ReplicaPool(lambda name, *_: ScriptedReplica(name, answer))
    with contextlib.closing(database), contextlib.closing(JobRunner(events, store, database, pool)) as jobs:
        found = job(folder, "cpu")
        with trees.nothing_outside_is_used():
            first = jobs.start(found, folder)
            ended = list(jobs.follow(first))[-1]
        assert (ended.done, ended.unwritten, ended.outcome) == (0, 2, "failed")
        assert OUTSIDE in ended.reason
        swaps.close()
        assert not (folder / "a.txt").exists()
        second = jobs.resume(first, lambda source: lambda on_bytes: tmp_path, lambda item: "")
        assert list(jobs.follow(second))[-1].done == 2
    assert (folder / "a.txt").read_text() == "a by cpu"


@pytest.mark.parametrize("swap", SWAPS)
def test_job_that_is_resumed_without_its_folder_keeps_to_what_was_allowed(tmp_path, capsys, swap):
    trees, state = TwoTrees.make(tmp_path), tmp_path / "state"
    with Services(state, {"model": "demo", "devices": "cpu", "existing": "overwrite"}, trees.roots) as services:
        services.open_folder(trees.inside, True)
        services.jobs.stop(services.start())
    with trees.swapped(*SWAPS[swap]), trees.nothing_outside_is_used():
        assert main(["--state", str(state), "caption", "--resume"]) == 2
    assert "outside the allowed folders" in capsys.readouterr().err


def test_captions_in_a_folder_of_their_own_stay_there(tmp_path):
    trees = TwoTrees.make(tmp_path)
    captions = trees.inside / "captions"
    (trees.outside / "captions" / "mid").mkdir(parents=True)
    changes = {"captions_to": captions, "model": "demo"}
    with Services(tmp_path / "state", changes, trees.roots) as services:
        items = services.open_folder(trees.inside, True).items
        services.library.edits.save(items[0], "One.")
        for name in ("captions/mid", "captions"):
            with trees.swapped(name), trees.nothing_outside_is_used():
                for item in items:
                    with pytest.raises(CaptionerError):
                        services.library.edits.save(item, "Two.")
                services.open_folder(trees.inside, True)
                with pytest.raises(CaptionerError):
                    services.captions.write(services.library.items[0], CAPTION, "overwrite")
        assert (captions / "mid" / "sub" / "a.txt").read_text() == "One."


def test_folder_for_captions_outside_of_the_roots_may_be_chosen_at_the_start_alone(tmp_path, monkeypatch):
    trees = TwoTrees.make(tmp_path)
    monkeypatch.chdir(trees.inside)
    chosen = tmp_path / "new" / "captions"
    with Services(tmp_path / "state", {"captions_to": chosen}, trees.roots) as services:
        services.library.edits.save(services.open_folder(trees.inside, True).items[0], "One.")
        assert (chosen / "mid" / "sub" / "a.txt").read_text() == "One."
        for other in (tmp_path / "other", f'"{tmp_path}/other"', f"file://{tmp_path}/other", "../other"):
            with pytest.raises(FolderError, match="outside the allowed folders"):
                services.change_settings({"captions_to": str(other)})


@pytest.mark.parametrize("name", ["mid", "mid/sub"])
def test_captions_in_a_folder_that_is_exchanged_all_the_time_stay_inside(tmp_path, name):
    trees, counts = TwoTrees.make(tmp_path), Counter()
    store = CaptionStore(Database(tmp_path / "captioner.sqlite"), tmp_path / "scratch", trees.roots)
    paths = [trees.inside / "mid" / "sub" / name for name in ("a.txt", "b.txt")]
    with trees.nothing_outside_is_used(), trees.swapping(name):
        for number in until(SECONDS):
            path = paths[number % 2]
            for act in (store.read, partial(store.save, text=f"Text {number}."), store.delete, store.history):
                assert SECRET not in repr(attempted(counts, act, path))
    assert counts["done"]
    assert counts["refused"]


@pytest.mark.parametrize("name", ["mid", NAMES[0], NAMES[1]])
def test_media_that_are_exchanged_all_the_time_are_those_inside(services, trees, name):
    counts, items, client = Counter(), services.library.items, client_of(services)
    pixels = [sample(item.path, PLAN).pixels for item in items]
    data, scan = [item.path.read_bytes() for item in items], services.library.scan.id

    def is_right(item: MediaItem) -> bool:
        return (sample(item.path, PLAN, item.kind, trees.roots.within).pixels == pixels[items.index(item)]).all()

    with trees.nothing_outside_is_used(), trees.swapping(name):
        for number in until(SECONDS):
            item = items[number % 2]
            for _ in range(20):
                assert attempted(counts, is_right, item) is not False
            attempted(counts, services.sandbox.thumbnail, item)
            answer = client.get(f"media/{scan}-{number % 2}")
            assert answer.status_code == 404 or answer.content == data[number % 2]
    assert counts["done"]
    assert counts["refused"]


def until(seconds: float) -> Iterator[int]:
    """Yield numbers for a time."""
    end_s = time.monotonic() + seconds
    yield from itertools.takewhile(lambda _: time.monotonic() < end_s, itertools.count())


def attempted(counts: Counter[str], act: Callable[[T], U], subject: T) -> U | None:
    """Return what an action returns, or None if it was refused."""
    try:
        result = act(subject)
    except CaptionerError as error:
        counts["refused"] += OUTSIDE in str(error)
        return None
    counts["done"] += 1
    return result


TARGETS = (
    "{out}/mid/sub/a.mp4", "../../../out/mid/sub/a.mp4", "/proc/self/root{out}/mid/sub/a.mp4", "up/out/mid/sub/a.mp4",
    "/proc/self/environ", "/dev/zero", "/dev/stdin", "/dev/fd/0", "a.mp4", "gone", "/",
)  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
def test_link_to_anything_else_is_refused_in_one_line(tmp_path, target):
    trees = TwoTrees.make(tmp_path)
    folder, within = trees.inside / "mid" / "sub", trees.roots.within
    (folder / "up").symlink_to("../../..")
    store = CaptionStore(Database(tmp_path / "captioner.sqlite"), tmp_path / "scratch", trees.roots)
    for name in ("a.mp4", "a.txt"):
        (folder / name).unlink()
        (folder / name).symlink_to(target.replace("{out}", str(trees.outside)).replace("a.mp4", name))
    with trees.nothing_outside_is_used():
        for read in (sample, probe):
            with pytest.raises(MediaError) as caught:
                read(folder / "a.mp4", *[PLAN] * (read is sample), within=within)
            assert "\n" not in str(caught.value)
        with contextlib.suppress(CaptionerError):
            assert store.read(folder / "a.txt") == ""  # there is no file


@pytest.mark.skipif(os.name == "nt", reason="has no named pipes in folders")
def test_pipe_in_the_place_of_a_file_blocks_nothing(tmp_path):
    trees = TwoTrees.make(tmp_path)
    folder = trees.inside / "mid" / "sub"
    store = CaptionStore(Database(tmp_path / "captioner.sqlite"), tmp_path / "scratch", trees.roots)
    for name in ("a.mp4", "a.txt"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    with pytest.raises(MediaError, match=r"^not a regular file$"):
        sample(folder / "a.mp4", PLAN, within=trees.roots.within)
    with pytest.raises(CaptionerError, match=r"not a regular file$"):
        store.save(folder / "a.txt", "Two.")


# What stays allowed, and systems that cannot hold a file


def test_links_inside_are_followed(tmp_path):
    trees = TwoTrees.make(tmp_path)
    folder = trees.inside / "links"
    folder.mkdir()
    (folder / "file.mp4").symlink_to("../mid/sub/a.mp4")
    (folder / "file.txt").symlink_to(trees.inside / "mid" / "sub" / "a.txt")
    (tmp_path / "alias").symlink_to(folder)
    with Services(tmp_path / "state", {"model": "demo"}, trees.roots) as services:
        (item,) = services.open_folder(tmp_path / "alias", False).items
        assert services.sandbox.thumbnail(item).data
        assert services.captions.read(item.caption_path) == "Own."
        services.library.edits.save(item, "New.")
        assert not item.caption_path.is_symlink()
        assert client_of(services).get(f"media/{services.library.scan.id}-0").content == item.path.read_bytes()
    assert (trees.inside / "mid" / "sub" / "a.txt").read_text() == "Own."


def test_folder_that_was_moved_and_linked_inside_is_followed(tmp_path):
    trees = TwoTrees.make(tmp_path)
    with Services(tmp_path / "state", {"model": "demo"}, trees.roots) as services:
        items = services.open_folder(trees.inside, True).items
        (trees.inside / "mid").rename(trees.inside / "moved")
        (trees.inside / "mid").symlink_to("moved")
        services.library.edits.save(items[0], "New.")
    assert (trees.inside / "moved" / "sub" / "a.txt").read_text() == "New."


@pytest.mark.parametrize("swap", SWAPS)
def test_without_descriptors_of_paths_links_are_checked_before_each_use(tmp_path, monkeypatch, swap):
    monkeypatch.setattr(pinning, "CAN_PIN", False)
    trees = TwoTrees.make(tmp_path)
    roots, folder = trees.roots, trees.inside / "mid" / "sub"
    store = CaptionStore(Database(tmp_path / "captioner.sqlite"), tmp_path / "scratch", roots)
    store.save(folder / "a.txt", "One.")
    with trees.swapped(*SWAPS[swap]), trees.nothing_outside_is_used():
        for act in (store.read, store.delete, lambda path: store.save(path, "Two.")):
            with pytest.raises(CaptionerError, match=OUTSIDE):
                act(folder / "a.txt")
        with pytest.raises(MediaError, match=OUTSIDE):
            sample(folder / "a.mp4", PLAN, within=roots.within)
    assert store.read(folder / "a.txt") == "One."
    assert sample(folder / "a.mp4", PLAN, within=roots.within).pixels.any()


def test_file_system_that_spells_a_name_in_another_case_is_the_same_folder(tmp_path, monkeypatch):
    within = (tmp_path / "Clips",)
    monkeypatch.setattr(pinning, "location", lambda folder: str(folder).replace("Clips", "CLIPS"))
    assert pinning.is_inside(str(tmp_path / "CLIPS" / "a.mp4"), within)
    assert not pinning.is_inside(str(tmp_path / "CLIPS2" / "a.mp4"), within)
    monkeypatch.setattr(pinning, "location", lambda folder: "/elsewhere")
    assert not pinning.is_inside("/elsewhere/a.mp4", within)
