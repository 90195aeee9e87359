"""Kill -9 at random; the long form is `python -m tests.tools.chaos --runs 100`."""

from tests.tools.chaos import chaos


def test_nothing_is_lost_or_done_twice_by_kills_at_any_moment(tmp_path):
    """Ten runs with workers that need no model, one of them of the page."""
    figures, wrong = chaos(10, 60, fast=True, seed=10, at_once=2, base=tmp_path)
    assert wrong == []
    assert figures.faults == 0
    assert (figures.runs, figures.items) == (10, 600)
    assert figures.program_kills >= 8
    assert figures.worker_kills >= 3
    assert figures.cut_short >= 4  # else it was the start and the end that were tested


def test_nothing_is_lost_with_a_model_and_its_own_worker(tmp_path):
    figures, wrong = chaos(2, 48, fast=False, seed=3, at_once=2, base=tmp_path)
    assert wrong == []
    assert figures.faults == 0
    assert figures.program_kills + figures.worker_kills >= 1
