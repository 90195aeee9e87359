"""The last items of a job go to whoever is free, and nothing else changes its place."""

import threading
from collections import Counter

from captioner.jobs.events import ItemDone, ItemGivenBack
from captioner.jobs.last_items import Held, LastItems
from tests.support.scripted import finish, job, run


def test_a_slow_worker_does_not_hold_the_end_of_a_job(runner, library):
    jobs, _, started = runner(slow=lambda replica, request: None, fast=finish)
    events, ended = run(jobs, job(library, "slow", "fast"))
    slow, fast = started
    done = Counter(event.item for event in events if isinstance(event, ItemDone))
    given_back = [event.item for event in events if isinstance(event, ItemGivenBack)]
    assert (ended.outcome, ended.done) == ("done", 8)
    assert set(done.values()) == {1}
    assert len(given_back) == len(slow.requests) == 2
    assert {event.replica for event in events if isinstance(event, ItemDone)} == {"fast"}
    assert len(fast.requests) == 8


def test_workers_of_one_speed_keep_their_items(runner, library):
    def later(replica, request):
        threading.Timer(0.05, lambda: replica.outbox.put(finish(replica, request))).start()

    jobs, _, _ = runner(one=later, two=later)
    events, ended = run(jobs, job(library, "one", "two"))
    assert (ended.outcome, ended.done) == ("done", 8)
    assert not [event for event in events if isinstance(event, ItemGivenBack)]


def test_a_slow_worker_gets_items_if_it_is_the_only_one_left(runner, library):
    def die_after_six(replica, request):
        fast_requests.append(request)
        return replica_lost if len(fast_requests) > 6 else finish(replica, request)

    def hold_two(replica, request):
        slow_requests.append(request)
        return None if len(slow_requests) <= 2 else finish(replica, request)

    from captioner.replicas.protocol import Lost

    replica_lost, fast_requests, slow_requests = Lost("gone", final=True), [], []
    jobs, _, _ = runner(slow=hold_two, fast=die_after_six)
    _, ended = run(jobs, job(library, "slow", "fast"))
    assert (ended.outcome, ended.done) == ("done", 8), ended


def test_those_with_the_longest_to_go_move_first_and_only_as_many_as_are_wanted():
    items = LastItems()
    for replica, seconds in (("fast", 1.0), ("slow", 60.0), ("slower", 600.0)):
        items.answered(replica, seconds)
    held = [Held(1, "slow", 50.0), Held(2, "slow", 99.0), Held(3, "slower", 40.0), Held(4, "fast", 99.5)]
    assert items.to_move(held, {}, 100.0) == []
    assert items.to_move(held, {"unknown": 9}, 100.0) == []
    assert items.to_move(held, {"fast": 2}, 100.0) == [3, 2]
    assert items.to_move(held, {"fast": 2}, 100.0) == []
    assert items.slow == {"slow", "slower"}


def test_an_item_that_is_nearly_done_stays():
    items = LastItems()
    items.answered("fast", 10.0)
    items.answered("slow", 60.0)
    assert items.to_move([Held(1, "slow", 45.0)], {"fast": 4}, 100.0) == []
    assert items.to_move([Held(1, "slow", 0.0)], {"fast": 4}, 100.0) == [1]  # overdue for as long as it should take
