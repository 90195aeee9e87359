"""The ranking of contenders by votes: the Bradley-Terry model, for choices among two or more."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Z = 1.959964  # of a 95 % interval
MAX_STEPS, TOLERANCE = 100, 1e-10


@dataclass(frozen=True)
class Choice:
    """One vote: the contenders that were shown, and the share of it that each got, which add up to 1."""

    shown: tuple[int, ...]
    shares: Mapping[int, float]


@dataclass(frozen=True)
class Rank:
    """The place of a contender. chance: that it is picked among all of them, with its 95 % interval."""

    contender: int
    chance: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranking:
    """The contenders, the best first. is_clear: that none is as good as the best one has a certainty of about 95 %."""

    ranks: tuple[Rank, ...]
    is_clear: bool


def rank(choices: Sequence[Choice], contenders: Sequence[int]) -> Ranking:
    """Return the ranking of at least two contenders.

    Contender i has a strength exp(t[i]) and is picked from those shown with a chance in proportion to it: the model of
    Bradley and Terry (1952) for two, and Luce's choice axiom (1959) for more, as in Hunter, "MM algorithms for
    generalized Bradley-Terry models", Annals of Statistics 32 (2004). A pick from K is one observation, not K - 1 wins,
    which would not be independent. A tie counts as an equal share of a pick for each: half a win for two. One tie of
    all contenders is added, so that strengths stay finite if one wins always or never. The likelihood is concave and
    its maximum is found with Newton's method. Intervals come from the inverse of its Hessian and are symmetric on the
    logit scale. Whether the best one is clearly ahead is told by a likelihood ratio, since such intervals are too wide
    for those who never win.
    """
    prior = Choice(tuple(contenders), dict.fromkeys(contenders, 1 / len(contenders)))
    columns = {contender: column for column, contender in enumerate(contenders)}
    shown = np.zeros((len(choices) + 1, len(contenders)))
    shares = np.zeros_like(shown)
    for row, choice in enumerate((*choices, prior)):
        shown[row, [columns[each] for each in choice.shown]] = 1
        for contender, share in choice.shares.items():
            shares[row, columns[contender]] = share
    strengths = _fit(shown, shares)
    covariance = np.linalg.pinv(_information(shown, strengths))
    chances = _chances(np.ones(len(contenders)), strengths)
    first, *others = np.argsort(-chances, kind="stable")
    ranks = (_rank(contenders[column], column, chances, covariance) for column in (first, *others))
    likelihood = _log_likelihood(shown, shares, strengths)
    gaps = (likelihood - _log_likelihood(shown, shares, _fit(shown, shares, (first, other))) for other in others)
    return Ranking(tuple(ranks), all(2 * gap > Z**2 for gap in gaps))


def _fit(shown: np.ndarray, shares: np.ndarray, equal: tuple[int, int] | None = None) -> np.ndarray:
    """Return the log strengths of the greatest likelihood, float64 (K,), with a mean of 0. equal: two that are one."""
    basis = np.eye(shown.shape[1])
    if equal:
        basis[equal[1], equal[0]] = 1.0
        basis = np.delete(basis, equal[1], axis=1)
    strengths = np.zeros(shown.shape[1])
    likelihood = _log_likelihood(shown, shares, strengths)
    for _ in range(MAX_STEPS):
        gradient = basis.T @ (shares - _chances(shown, strengths)).sum(0)
        step = basis @ np.linalg.pinv(basis.T @ _information(shown, strengths) @ basis) @ gradient
        if np.abs(step).max() < TOLERANCE:
            break
        size, better = 1.0, -math.inf
        while size > TOLERANCE and better < likelihood:  # a full step may lead too far
            moved = strengths + size * step
            better = _log_likelihood(shown, shares, moved)
            size /= 2
        strengths, likelihood = moved, better
    return strengths - strengths.mean()


def _chances(shown: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Return the chance of each contender to be picked, 0 if it is not shown."""
    weights = shown * np.exp(strengths - strengths.max())
    return weights / weights.sum(-1, keepdims=True)


def _log_likelihood(shown: np.ndarray, shares: np.ndarray, strengths: np.ndarray) -> float:
    chances = _chances(shown, strengths)
    return float((shares * np.log(chances, out=np.zeros_like(chances), where=chances > 0)).sum())


def _information(shown: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Return the negative Hessian of the log likelihood, float64 (K, K)."""
    chances = _chances(shown, strengths)
    return np.diag(chances.sum(0)) - chances.T @ chances


def _rank(contender: int, column: int, chances: np.ndarray, covariance: np.ndarray) -> Rank:
    """Return the place of a contender; its interval is that of the logit of its chance, by the delta method."""
    chance = float(chances[column])
    gradient = -chances / (1 - chance)
    gradient[column] = 1.0
    error = Z * math.sqrt(max(0.0, gradient @ covariance @ gradient))
    logit = math.log(chance / (1 - chance))
    low, high = (1 / (1 + math.exp(-(logit + sign * error))) for sign in (-1, 1))
    return Rank(contender, chance, low, high)
