"""The ballots of a comparison: captions in a random order, without a hint at who wrote them, and the votes on them."""

import hashlib
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from captioner.errors import JobError
from captioner.library.comparisons.comparison import ComparedFile, Comparison, Vote

TIE = 0  # as a pick; None skips the file


@dataclass(frozen=True)
class Ballot:
    """The captions of one file in the order in which they are shown; `writers` stays on this side."""

    file: ComparedFile
    texts: tuple[str, ...]
    writers: tuple[tuple[int, ...], ...]  # the contenders that wrote each text; several if they wrote the same

    @property
    def key(self) -> str:
        """A checksum of what is shown, so that no vote is counted for other captions."""
        shown = json.dumps([self.file.name, *self.texts])
        return hashlib.sha256(shown.encode()).hexdigest()[:16]

    @property
    def everyone(self) -> tuple[int, ...]:
        """The contenders on the ballot."""
        return tuple(sorted(index for some in self.writers for index in some))

    def picked(self, pick: int | None) -> tuple[int, ...]:
        """Return the contenders of a pick: the position of a caption from 1, TIE or None. Raise JobError."""
        if pick is None:
            return ()
        if pick == TIE:
            return self.everyone
        if not 1 <= pick <= len(self.texts):
            raise JobError(f"{self.file.name} has captions 1 to {len(self.texts)}; {pick} is none of them")
        return self.writers[pick - 1]


def ballot_of(comparison: Comparison, file: ComparedFile) -> Ballot | None:
    """Return the ballot of a file; None if captions are still to come, or fewer than two contenders wrote one."""
    order = list(range(len(comparison.contenders)))
    random.Random(f"{comparison.seed} {file.name}").shuffle(order)
    groups: dict[str, list[int]] = {}
    for index in order:
        answer = comparison.answers[index].get(file.name)
        if answer is None and not comparison.contenders[index].problem:
            return None
        if answer is not None and answer.text:
            groups.setdefault(answer.text, []).append(index)
    if sum(map(len, groups.values())) < 2:
        return None
    return Ballot(file, tuple(groups), tuple(map(tuple, groups.values())))


def ballots(comparison: Comparison) -> list[Ballot]:
    """Return the ballots of all files with different captions, voted on or not."""
    found = (ballot_of(comparison, file) for file in comparison.files)
    return [ballot for ballot in found if ballot and len(ballot.texts) > 1]


def open_ballots(comparison: Comparison) -> list[Ballot]:
    """Return the ballots without a vote."""
    voted = {vote.file for vote in comparison.votes}
    return [ballot for ballot in ballots(comparison) if ballot.file.name not in voted]


def cast(comparison: Comparison, file: str, pick: int | None, key: str = "") -> Comparison:
    """Return the comparison with a vote. key: that of the ballot that was shown. Raise JobError."""
    return cast_all(comparison, [{"file": file, "pick": pick, "ballot": key}])


def cast_all(comparison: Comparison, rows: Sequence[Any]) -> Comparison:
    """Return the comparison with the votes of these objects {file, pick, ballot}. Raise JobError if any is wrong."""
    known = {ballot.file.name: ballot for ballot in ballots(comparison)}
    votes, now_s = [], time.time()
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("file"), str) or "pick" not in row:
            raise JobError('each vote needs a file and a pick, such as {"file": "clip.mp4", "pick": 1}')
        pick, ballot = row["pick"], known.get(row["file"])
        if ballot is None:
            raise JobError(f"comparison {comparison.number} has no captions to vote on for {row['file']}")
        if pick is not None and type(pick) is not int:
            raise JobError(f"{row['file']}: a pick is the number of a caption, 0 for a tie, or null to skip the file")
        if row.get("ballot") and row["ballot"] != ballot.key:
            raise JobError(f"the captions of {row['file']} have changed; vote on them again")
        votes.append(Vote(row["file"], ballot.everyone, ballot.picked(pick), now_s))
    return comparison.with_votes(votes)


def undo(comparison: Comparison) -> Comparison:
    """Return the comparison without its last vote. Raise JobError if there is none."""
    if not comparison.votes:
        raise JobError("there is no vote to undo")
    return replace(comparison, votes=comparison.votes[:-1])


def exported_votes(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the votes for `cast_all`, as blind as they were given; those on fewer captions than now are left out."""
    rows, known = [], {ballot.file.name: ballot for ballot in ballots(comparison)}
    for vote in comparison.votes:
        ballot = known.get(vote.file)
        if ballot and ballot.everyone == vote.shown:
            is_one = vote.picked in ballot.writers
            pick = None if not vote.picked else ballot.writers.index(vote.picked) + 1 if is_one else TIE
            rows.append({"file": vote.file, "pick": pick, "ballot": ballot.key})
    return rows


def exported_ballots(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the ballots without a vote, for other programs."""
    return [
        {"file": ballot.file.name, "captions": list(ballot.texts), "ballot": ballot.key}
        for ballot in open_ballots(comparison)
    ]
