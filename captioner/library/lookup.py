"""Finds files of the open folder, by name or by what is known of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from captioner.captions.scores import Score
from captioner.formatting import sendable
from captioner.library.file_states import APPROVED_FLAG, CHANGED_OUTSIDE_FLAG, FLAWED_FLAG, State
from captioner.library.open_folder import OpenFolder
from captioner.values import Measured, MediaItem


@dataclass(frozen=True)
class Entry:
    """One file as a viewer sees it."""

    item: MediaItem
    state: State
    text: str
    problem: str = ""  # why it failed or cannot be read
    tokens: int | None = None  # written so far, while it runs
    approved: bool = False  # no job touches its caption
    changed_outside: bool = False  # its caption holds something else than we last wrote there
    doubt: str = ""  # if its text is a guess, see `Decoded.doubt`
    fault: str = ""  # the rest of "This caption ...", if a person should look at it
    duration_s: float = 0.0  # 0 for a still, and while it is not known
    score: Score | None = None  # how well its caption agrees with it
    measured: Measured | None = None


class FileLookup:
    """Any thread may call. Names are those of MediaItem; names that are not in the open folder are left out."""

    def __init__(self, open_folder: OpenFolder) -> None:
        self._open = open_folder

    def find(self, name: str) -> Entry | None:
        """Return the file of this name, which may have "?" for characters that cannot be sent; None if it is gone."""
        scan = self._open.scan
        position = scan.positions.get(name)
        if position is None and "?" in name:
            position = next((i for i, item in enumerate(scan.items) if sendable(item.name) == name), None)
        return None if position is None else self.entry(scan.items[position])

    def entry(self, item: MediaItem) -> Entry | None:
        """Return what is known of a file, or None if its folder is no longer open. Reads its caption if need be."""
        with self._open.current():
            position, files = self._open.scan.position(item), self._open.files
            if position is None:
                return None
            text = files.text(position)  # first, since reading it may change the state
            flags, fault = files.flags(position), files.fault(position)
            return Entry(
                item=self._open.scan.items[position],
                state=files.state(position),
                text=text,
                problem=files.problem(position),
                tokens=files.running.get(position),
                approved=bool(flags & APPROVED_FLAG),
                changed_outside=bool(flags & CHANGED_OUTSIDE_FLAG),
                doubt=files.doubts.get(position, ""),
                fault=fault.text if fault and flags & FLAWED_FLAG else "",
                duration_s=files.durations.get(position, 0.0),
                score=files.scores.valid.get(position),
                measured=files.measured.get(position),
            )

    def rows(self, names: Iterable[str]) -> list[dict]:
        """Return what `FileStates.row` says of each file, in the order of the names."""
        with self._open.lock:
            return [self._open.files.row(position) for position in self._open.positions(names)]

    def items(self, names: Iterable[str]) -> list[MediaItem]:
        """Return the files of these names, each once, in the order of the folder."""
        with self._open.lock:
            return [self._open.scan.items[position] for position in sorted(set(self._open.positions(names)))]

    def with_state(self, *states: State) -> list[str]:
        """Return the names of all files in one of these states."""
        with self._open.current():
            return [item.name for i, item in enumerate(self._open.scan.items) if self._open.files.state(i) in states]

    def without_text(self, names: Iterable[str]) -> list[str]:
        """Return the names whose caption was not read yet, is missing or is blank."""
        with self._open.current():
            texts, items = self._open.files.texts, self._open.scan.items
            return [items[i].name for i in self._open.positions(names) if not texts.get(i)]

    def unscored(self, names: Iterable[str] | None, model: str) -> dict[MediaItem, str]:
        """Return the captioned files of these names, or all, without a score by this model, with their captions."""
        with self._open.current():
            files, scan = self._open.files, self._open.scan
            positions = range(len(scan.items)) if names is None else sorted(set(self._open.positions(names)))
            texts = {i: files.text(i) for i in positions}
            scores = files.scores.valid
            return {scan.items[i]: text for i, text in texts.items() if text and _model(scores.get(i)) != model}

    def scored(self) -> list[tuple[MediaItem, str, Score]]:
        """Return the files with a score, their captions and scores, the least agreement first."""
        with self._open.current():
            files, items = self._open.files, self._open.scan.items
            for i in range(len(items)):
                files.text(i)
            found = [(items[i], files.texts[i], score) for i, score in files.scores.valid.items()]
        return sorted(found, key=lambda each: (each[2].yes, each[0].name))

    def num_changed_outside(self, names: Iterable[str]) -> int:
        """Count the captions that another program is known to have changed."""
        with self._open.current():
            return sum(i in self._open.files.changed_outside for i in self._open.positions(names))

    def search(self, words: str) -> list[str]:
        """Return the names of the files whose name or caption holds all the words, whatever their case."""
        with self._open.current():
            items, texts = self._open.scan.items, self._open.files.texts
            haystacks = [f"{item.name}\n{texts.get(i, '')}".casefold() for i, item in enumerate(items)]
        found = list(range(len(haystacks)))
        for word in words.casefold().split():
            found = [i for i in found if word in haystacks[i]]
        return [items[i].name for i in found]


def _model(score: Score | None) -> str | None:
    return score.model if score else None
