"""The result of a comparison: who was preferred, how sure that is, and what each contender costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captioner.formatting import duration, plural
from captioner.library.comparisons.ballots import ballot_of, open_ballots
from captioner.library.comparisons.comparison import Comparison, Contender, Vote
from captioner.library.comparisons.ranking import Choice, Rank, Ranking, rank

COST_FILES = 1000  # files that the cost is given for


@dataclass(frozen=True)
class Row:
    """The result of one contender. Costs are None before it has captioned anything."""

    index: int
    name: str
    place: Rank | None  # None for a contender that wrote no caption, and before the first vote
    num_picked: int  # files for which it alone was picked
    num_failed: int  # files that it could not caption
    problem: str
    differing: Mapping[str, Any]  # its settings that are not the same for all contenders
    prompt: str
    seconds: float | None  # for COST_FILES files, at the measured speed
    tokens: int | None  # read and written for as many

    @property
    def cost(self) -> str:
        """The cost in words: "2 h 5 min, 1.5 million tokens"."""
        if self.seconds is None or self.tokens is None:
            return "not measured"
        millions = self.tokens / 1e6
        return f"{duration(self.seconds)}, {millions:.{1 if millions >= 0.95 else 2}f} million tokens"


@dataclass(frozen=True)
class Result:
    """The result, the best contender first."""

    rows: tuple[Row, ...]
    num_votes: int  # skipped files left out
    num_ties: int
    num_skipped: int
    num_same: int  # files for which all wrote the same, which count as ties
    num_open: int  # files that wait for a vote
    num_agreeing: int  # votes for the contender that the ranking has first among those shown
    is_clear: bool

    def summary(self) -> str:
        """Return in one sentence what the votes say."""
        if not self.num_votes:
            return "No votes yet."
        best = self.rows[0].name
        verdict = f"{best} is preferred" if self.is_clear else f"{best} is ahead, but not by enough to be sure"
        agree = f"{self.num_agreeing:,} of {plural(self.num_votes - self.num_ties, 'pick')} agree with this ranking"
        ties = f", {plural(self.num_ties, 'tie')}" if self.num_ties else ""
        return f"{verdict}: {agree}{ties}."


def result_of(comparison: Comparison) -> Result:
    """Return the result of the votes so far. Contenders without a caption are last, and have no place."""
    choices = [_choice(vote) for vote in comparison.votes if vote.picked]
    same = _same(comparison)
    indices = [i for i, answers in enumerate(comparison.answers) if any(answer.text for answer in answers.values())]
    is_ranked = len(indices) > 1 and bool(choices or same)
    ranking = rank([*choices, *same], indices) if is_ranked else Ranking((), False)
    decided = [choice for choice in choices if len(choice.shares) < len(choice.shown)]
    return Result(
        rows=tuple(_rows(comparison, ranking, decided)),
        num_votes=len(choices),
        num_ties=len(choices) - len(decided),
        num_skipped=len(comparison.votes) - len(choices),
        num_same=len(same),
        num_open=len(open_ballots(comparison)),
        num_agreeing=_num_agreeing(ranking, decided),
        is_clear=ranking.is_clear and bool(choices),
    )


def _choice(vote: Vote) -> Choice:
    return Choice(vote.shown, dict.fromkeys(vote.picked, 1 / len(vote.picked)))


def _same(comparison: Comparison) -> list[Choice]:
    """Return a tie for each file for which all contenders wrote the same."""
    found = (ballot_of(comparison, file) for file in comparison.files)
    everyone = [ballot.everyone for ballot in found if ballot and len(ballot.texts) == 1]
    return [Choice(some, dict.fromkeys(some, 1 / len(some))) for some in everyone]


def _num_agreeing(ranking: Ranking, decided: Sequence[Choice]) -> int:
    places = {each.contender: place for place, each in enumerate(ranking.ranks)}
    return sum(min(choice.shown, key=places.__getitem__) in choice.shares for choice in decided)


def _rows(comparison: Comparison, ranking: Ranking, decided: Sequence[Choice]) -> list[Row]:
    ranked = {each.contender: each for each in ranking.ranks}
    others = [index for index in range(len(comparison.contenders)) if index not in ranked]
    return [_row(comparison, index, ranked.get(index), decided) for index in (*ranked, *others)]


def _row(comparison: Comparison, index: int, place: Rank | None, decided: Sequence[Choice]) -> Row:
    contender = comparison.contenders[index]
    written = [answer for answer in comparison.answers[index].values() if answer.text]
    tokens = sum(answer.num_prompt_tokens + answer.num_tokens for answer in written)
    return Row(
        index=index,
        name=contender.name,
        place=place,
        num_picked=sum(set(choice.shares) == {index} for choice in decided),
        num_failed=len(comparison.answers[index]) - len(written),
        problem=contender.problem,
        differing={name: contender.chosen[name] for name in differing_settings(comparison.contenders)},
        prompt=contender.prompt,
        seconds=contender.seconds / contender.num_timed * COST_FILES if contender.num_timed else None,
        tokens=round(tokens / len(written) * COST_FILES) if written else None,
    )


def differing_settings(contenders: Sequence[Contender]) -> list[str]:
    """Return the names of the settings that are not the same for all contenders."""
    first = contenders[0].chosen
    return [name for name in first if any(each.chosen.get(name) != first[name] for each in contenders)]


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return the result as one JSON object."""
    result = result_of(comparison)
    contenders = [
        {
            "name": row.name,
            **{key: row.place and round(getattr(row.place, key), 4) for key in ("chance", "low", "high")},
            "picked": row.num_picked,
            "failed": row.num_failed,
            "problem": row.problem,
            "settings": dict(row.differing),
            "prompt": row.prompt,
            "seconds_per_1000": None if row.seconds is None else round(row.seconds, 1),
            "tokens_per_1000": row.tokens,
        }
        for row in result.rows
    ]
    return {
        "comparison": comparison.number,
        "folder": comparison.folder,
        "files": len(comparison.files),
        "votes": result.num_votes,
        "ties": result.num_ties,
        "skipped": result.num_skipped,
        "same": result.num_same,
        "open": result.num_open,
        "captions_left": comparison.num_left,
        "agree": result.num_agreeing,
        "clear": result.is_clear,
        "contenders": contenders,
    }
