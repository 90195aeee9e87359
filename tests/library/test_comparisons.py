"""Comparisons as they are kept: what a ballot shows, what votes mean, and what a crash costs."""

import collections
import json
import os
import signal
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from captioner.errors import CaptionerError, JobError, StateError
from captioner.library.comparisons.ballots import (
    ballots,
    cast,
    cast_all,
    exported_ballots,
    exported_votes,
    open_ballots,
    undo,
)
from captioner.library.comparisons.comparison import Answer, ComparedFile, Comparison, Contender
from captioner.library.comparisons.result import result_of
from captioner.library.comparisons.store import MAX_DELETED, ComparisonStore


def compared(count: int, num_files: int = 12, **answers: list[str]) -> Comparison:
    """Return a comparison that waits for votes. answers: by contender as c0, c1, ...; else each text is its own."""
    names = [f"{number}.mp4" for number in range(num_files)]
    texts = [
        answers.get(f"c{index}") or [f"{name} in the words of {index}" for name in names] for index in range(count)
    ]
    return Comparison(
        number=1,
        created_at_s=0.0,
        folder="/clips",
        recursive=False,
        seed=3,
        contenders=tuple(Contender(f"contender {index}", {"seed": index}, "prompt") for index in range(count)),
        files=tuple(ComparedFile(name, "video") for name in names),
        answers=tuple(
            {name: Answer(text, 100, 10) for name, text in zip(names, some, strict=True) if text} for some in texts
        ),
    )


def judged(comparison: Comparison, *order: int) -> Comparison:
    """Vote on all files as somebody who prefers the contenders in this order."""
    for ballot in open_ballots(comparison):
        best = min(ballot.everyone, key=order.index)
        pick = 1 + next(place for place, some in enumerate(ballot.writers) if best in some)
        comparison = cast(comparison, ballot.file.name, pick, ballot.key)
    return comparison


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_each_contender_is_shown_everywhere_about_as_often(count):
    places = collections.Counter()
    for ballot in ballots(compared(count, num_files=120 * count)):
        assert sorted(ballot.everyone) == list(range(count))
        places.update((place, *some) for place, some in enumerate(ballot.writers))
    assert len(places) == count**2
    assert all(80 <= number <= 160 for number in places.values())


def test_order_stays_for_a_file_and_differs_from_comparison_to_comparison():
    first, again, other = compared(4), compared(4), replace(compared(4), seed=4)
    assert [ballot.texts for ballot in ballots(first)] == [ballot.texts for ballot in ballots(again)]
    assert [ballot.texts for ballot in ballots(first)] != [ballot.texts for ballot in ballots(other)]


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_picks_name_the_winner(count):
    order = [*range(1, count), 0]
    result = result_of(judged(compared(count), *order))
    assert result.rows[0].name == "contender 1"
    assert (result.rows[0].num_picked, result.num_votes, result.num_agreeing, result.num_open) == (12, 12, 12, 0)
    assert result.is_clear


def test_ties_and_skipped_files_are_counted_and_can_be_undone():
    comparison = compared(3)
    for name, pick in (("0.mp4", 0), ("1.mp4", None), ("2.mp4", 1), ("2.mp4", 0)):
        comparison = cast(comparison, name, pick)
    result = result_of(comparison)
    assert (result.num_votes, result.num_ties, result.num_skipped, result.num_open) == (2, 2, 1, 9)
    assert [row.place.chance for row in result.rows] == [pytest.approx(1 / 3)] * 3
    for _ in range(3):
        comparison = undo(comparison)
    assert result_of(comparison).num_open == 12
    with pytest.raises(JobError, match="no vote to undo"):
        undo(comparison)


def test_same_captions_are_shown_once_and_files_without_a_difference_are_ties():
    same = ["a"] * 12
    comparison = compared(3, c0=same, c1=same, c2=["a"] * 10 + ["b", "c"])
    assert [ballot.file.name for ballot in open_ballots(comparison)] == ["10.mp4", "11.mp4"]
    assert [sorted(ballot.texts) for ballot in open_ballots(comparison)] == [["a", "b"], ["a", "c"]]
    assert result_of(comparison).num_same == 10
    result = result_of(judged(comparison, 0, 1, 2))
    first, second, third = result.rows
    assert first.place.chance == pytest.approx(second.place.chance)
    assert third.index == 2
    assert [row.num_picked for row in result.rows] == [0, 0, 0]  # none alone


def test_a_file_waits_for_all_contenders_but_those_that_failed():
    comparison = compared(3, c2=[""] * 6 + ["late"] * 6)
    assert len(ballots(comparison)) == 6
    failed = comparison.with_contender(2, problem="out of memory")
    assert len(ballots(failed)) == 12
    voted = judged(failed, 0, 1, 2)
    caught_up = voted.with_answers(2, {f"{number}.mp4": Answer("late", 1, 1) for number in range(6)})
    result = result_of(caught_up)
    assert (
        result.rows[0].place.chance == result_of(voted).rows[0].place.chance
    )  # it was not beaten where it was missing
    assert result_of(compared(2, c1=[""] * 12)).rows[1].place is None


def test_votes_survive_an_export_and_are_refused_for_other_captions():
    comparison = compared(4)
    for number, pick in enumerate((1, 4, 0, None)):
        comparison = cast(comparison, f"{number}.mp4", pick)
    rows = exported_votes(comparison)
    assert [row["pick"] for row in rows] == [1, 4, 0, None]
    imported = cast_all(compared(4), json.loads(json.dumps(rows)))
    assert [replace(vote, voted_at_s=0) for vote in imported.votes] == [
        replace(vote, voted_at_s=0) for vote in comparison.votes
    ]
    with pytest.raises(JobError, match=r"captions of 0\.mp4 have changed"):
        cast_all(compared(4, c0=["other"] * 12), rows)
    assert set(exported_ballots(comparison)[0]) == {"file", "captions", "ballot"}


@pytest.mark.parametrize(
    "row", [1, {}, {"file": "0.mp4"}, {"file": "none.mp4", "pick": 1}, {"file": "0.mp4", "pick": 4},
            {"file": "0.mp4", "pick": -1}, {"file": "0.mp4", "pick": True}, {"file": "0.mp4", "pick": "1"}],
)  # fmt: skip
def test_wrong_votes_are_refused_in_one_line(row):
    with pytest.raises(JobError) as caught:
        cast_all(compared(3), [{"file": "1.mp4", "pick": 1}, row])
    assert "\n" not in str(caught.value)


def test_comparison_is_kept_as_it_is(tmp_path):
    store = ComparisonStore(tmp_path)
    names = compared(2).with_contender(1, problem="no", seconds=1.5, num_timed=2)
    made = store.create(judged(names, 1, 0))
    again = ComparisonStore(tmp_path).get(made.number)
    assert all(getattr(again, field.name) == getattr(made, field.name) for field in fields(Comparison))
    assert store.create(names).number == 2
    assert [each.number for each in store.newest(5)] == [2, 1]


def test_deleted_comparison_comes_back_and_its_number_is_not_used_again(tmp_path):
    store = ComparisonStore(tmp_path)
    first, second = store.create(compared(2)), store.create(compared(3))
    store.delete(second.number)
    assert store.numbers() == [first.number]
    with pytest.raises(JobError, match="there is no comparison 2"):
        store.delete(second.number)
    third = store.create(compared(2))
    assert third.number == 3
    store.restore(second.number)
    assert store.get(second.number) == second
    with pytest.raises(JobError, match="there is no deleted comparison 2"):
        store.restore(second.number)
    (tmp_path / "comparisons" / "3.json").write_text("{")
    store.delete(third.number)  # damaged
    assert store.numbers() == [2, 1]


def test_only_the_latest_deleted_comparisons_are_kept(tmp_path):
    store = ComparisonStore(tmp_path)
    for _ in range(MAX_DELETED + 2):
        store.delete(store.create(compared(2)).number)
    with pytest.raises(JobError, match="there is no deleted comparison 2"):
        store.restore(2)
    store.restore(3)


def test_damaged_comparison_is_one_line_and_hides_no_other(tmp_path):
    store = ComparisonStore(tmp_path)
    for _ in range(2):
        store.create(compared(2))
    path = tmp_path / "comparisons" / "2.json"
    values = json.loads(path.read_text())
    for text in ("", "[]", '{"version": 1}', '{"version": 99}', json.dumps({**values, "seed": [], "more": 1}),
                 json.dumps({**values, "answers": []}), json.dumps({**values, "votes": [{"file": 3}]})):  # fmt: skip
        path.write_text(text)
        with pytest.raises(StateError, match=r"2\.json is damaged") as caught:
            store.get(2)
        assert "\n" not in str(caught.value)
        assert [each.number for each in store.newest(5)] == [1]
    with pytest.raises(CaptionerError, match="there is no comparison 7"):
        store.get(7)


VOTER = """
import sys
from pathlib import Path
from captioner.library.comparisons.ballots import cast
from captioner.library.comparisons.store import ComparisonStore
store = ComparisonStore(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    store.change(1, lambda now: cast(now, f"{number}.mp4", 1))
    print(number, flush=True)
"""


def start_voter(folder, first: int, end: int) -> subprocess.Popen:
    command = [sys.executable, "-c", VOTER, str(folder), str(first), str(end)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_killed_process_loses_no_vote(tmp_path):
    store = ComparisonStore(tmp_path)
    store.create(compared(3, num_files=150))
    told = []
    for round_number in range(3):
        voter = start_voter(tmp_path, 50 * round_number, 50 * round_number + 50)
        for line in voter.stdout:
            told.append(f"{int(line)}.mp4")
            if len(told) == 9 * (round_number + 1):
                voter.send_signal(signal.SIGKILL)
        voter.wait()
        voter.stdout.close()
        voted = [vote.file for vote in store.get(1).votes]
        assert set(told) <= set(voted)
        assert len(voted) <= len(told) + round_number + 1  # one more may have been kept before it could be told
    store.change(1, lambda now: cast(now, "149.mp4", 0))  # no lock is left behind


def test_two_processes_that_vote_at_once_lose_no_vote(tmp_path):
    store = ComparisonStore(tmp_path)
    store.create(compared(2, num_files=40))
    voters = [start_voter(tmp_path, 20 * half, 20 * half + 20) for half in range(2)]
    for voter in voters:
        voter.communicate()
        assert voter.returncode == 0
    assert {vote.file for vote in store.get(1).votes} == {f"{number}.mp4" for number in range(40)}
