"""Kill -9 at random; the long form is `python -m tests.tools.chaos --runs 100`."""

import pytest

from tests.tools.chaos import chaos
from tests.tools.chaos_beyond import RAY_KINDS, ray_place


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


@pytest.mark.filterwarnings("ignore::Warning:ray")
def test_nothing_is_lost_by_kills_in_a_cluster(tmp_path):
    pytest.importorskip("ray", reason="needs the package ray")
    with ray_place() as place:
        figures, wrong = chaos(3, 24, fast=False, seed=2, at_once=1, base=tmp_path, kinds=RAY_KINDS, place=place)
    assert wrong == []
    assert figures.faults == 0
    assert figures.kills_beyond >= 2
