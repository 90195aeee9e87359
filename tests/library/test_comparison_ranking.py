"""The ranking of contenders: against a plain implementation, with planted strengths, and where it is not sure."""

import numpy as np
import pytest

from captioner.library.comparisons.ranking import Choice, rank


def vote(rng: np.random.Generator, strengths: np.ndarray, ties: float = 0.0) -> Choice:
    """Return a vote of somebody who picks in proportion to the strengths."""
    everyone = tuple(range(len(strengths)))
    if rng.random() < ties:
        return Choice(everyone, dict.fromkeys(everyone, 1 / len(everyone)))
    return Choice(everyone, {int(rng.choice(len(strengths), p=strengths / strengths.sum())): 1.0})


def plain_mm(choices: list[Choice], count: int) -> list[float]:
    """Return the chances by Hunter's MM algorithm, one vote at a time, with one tie of all added."""
    everyone = tuple(range(count))
    choices = [*choices, Choice(everyone, dict.fromkeys(everyone, 1 / count))]
    strengths = [1.0] * count
    for _ in range(20_000):
        wins, weights = [0.0] * count, [0.0] * count
        for choice in choices:
            total = sum(strengths[each] for each in choice.shown)
            for each in choice.shown:
                weights[each] += 1 / total
                wins[each] += choice.shares.get(each, 0.0)
        strengths = [won / weight for won, weight in zip(wins, weights, strict=True)]
        strengths = [each / sum(strengths) for each in strengths]
    return strengths


@pytest.mark.parametrize("count", [2, 3, 6])
def test_chances_equal_those_of_a_plain_implementation(count):
    rng = np.random.default_rng(count)
    strengths = rng.gamma(1.0, size=count)
    choices = [vote(rng, strengths, ties=0.2) for _ in range(12)]
    choices.append(Choice((0, count - 1), {0: 1.0}))  # a file on which the others have no caption
    ranking = rank(choices, range(count))
    expected = plain_mm(choices, count)
    assert {each.contender: pytest.approx(each.chance, abs=1e-7) for each in ranking.ranks} == dict(enumerate(expected))
    assert [each.chance for each in ranking.ranks] == sorted((each.chance for each in ranking.ranks), reverse=True)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_votes_recover_the_planted_order(count):
    rng = np.random.default_rng(7)
    strengths = 2.0 ** rng.permutation(count)
    ranking = rank([vote(rng, strengths, ties=0.1) for _ in range(400)], range(count))
    assert [each.contender for each in ranking.ranks] == list(np.argsort(-strengths))
    assert ranking.is_clear


@pytest.mark.parametrize(("count", "num_votes"), [(2, 20), (3, 40), (6, 60)])
def test_intervals_hold_the_true_chance_about_as_often_as_they_say(count, num_votes):
    rng = np.random.default_rng(1)
    strengths = 1.5 ** np.arange(count)
    chances = strengths / strengths.sum()
    held = [
        each.low <= chances[each.contender] <= each.high
        for _ in range(300)
        for each in rank([vote(rng, strengths) for _ in range(num_votes)], range(count)).ranks
    ]
    assert 0.92 <= np.mean(held) <= 0.985


def test_who_always_wins_has_a_finite_lead():
    for num_votes in (1, 3, 200):
        ranking = rank([Choice((0, 1), {1: 1.0})] * num_votes, range(2))
        first, second = ranking.ranks
        assert first.contender == 1
        assert first.chance == pytest.approx((num_votes + 0.5) / (num_votes + 1))
        assert 0 < second.low < second.high < 1
        assert first.high < 1
    assert ranking.is_clear


def test_few_votes_are_not_clear_and_ties_count_half():
    win, loss, tie = (Choice((0, 1), shares) for shares in ({0: 1.0}, {1: 1.0}, {0: 0.5, 1: 0.5}))
    assert not rank([win] * 3 + [loss] * 2, range(2)).is_clear
    assert rank([win] * 30 + [loss] * 10, range(2)).is_clear
    assert not rank([win] * 3, range(2)).is_clear
    assert rank([win] * 12, range(2)).is_clear
    assert rank([tie] * 10, range(2)).ranks[0].chance == pytest.approx(0.5)
    assert rank([tie] * 2, range(2)).ranks == rank([win, loss], range(2)).ranks


def test_votes_that_no_strengths_explain_well_still_end_at_the_maximum():
    """The first two are far apart from the last one, which an iteration of small steps may never reach."""
    choices = [Choice((0, 1, 2), {0: 1.0})] * 150 + [Choice((0, 1, 2), {1: 1.0})] * 149
    ranking = rank(choices, range(3))
    chances = {each.contender: each.chance for each in ranking.ranks}
    third = 1 / 3
    assert chances == {
        0: pytest.approx((150 + third) / 300),
        1: pytest.approx((149 + third) / 300),
        2: pytest.approx(third / 300),
    }
    assert not ranking.is_clear


def test_a_lead_by_chance_is_seldom_called_clear():
    rng = np.random.default_rng(2)
    called = [rank([vote(rng, np.ones(3)) for _ in range(30)], range(3)).is_clear for _ in range(300)]
    assert np.mean(called) <= 0.06
