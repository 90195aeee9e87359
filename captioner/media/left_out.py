"""Left out of a scan: junk in silence; masks, excluded files and what cannot be read with a note."""

from collections import Counter
from collections.abc import Iterable

from pathspec import GitIgnoreSpec

from captioner.formatting import plural
from captioner.media.kinds import UNREADABLE

# Of NAS systems, Windows, macOS and notebooks, in lower case. Names that begin with a dot are hidden anyway.
JUNK_FOLDERS = {
    "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "$recycle.bin", "recycler", "lost+found",
    "system volume information", "__macosx", "__pycache__", "network trash folder", "temporary items", "@tmp",
    "@sharebin", "@sharesnap",
}  # fmt: skip
# Of OneTrainer, kohya and ai-toolkit.
MASK_FOLDERS = {"masks", "_control"}
MASK_ENDINGS = ("-masklabel.png", "-condlabel.png")


class LeftOut:
    """Decides for each file and folder, and counts. Patterns of the user come last, so `!masks/` brings masks back."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._spec = GitIgnoreSpec.from_lines(patterns)
        self._counts: Counter[tuple[str, str]] = Counter()  # by (reason, "file" or "folder")
        self._unreadable: Counter[str] = Counter()  # by extension

    def has_folder(self, prefix: str, name: str) -> bool:
        """Return True if this folder is left out."""
        folded = name.lower()
        reason = "junk" if folded in JUNK_FOLDERS else "mask" if folded in MASK_FOLDERS else ""
        return self._decide(f"{prefix}{name}/", reason, "folder")

    def has_file(self, prefix: str, name: str) -> bool:
        """Return True if this file is left out."""
        reason = "mask" if name.endswith(MASK_ENDINGS) else ""
        return bool(reason or self._spec.patterns) and self._decide(prefix + name, reason, "file")

    def count_unreadable(self, prefix: str, names: Iterable[str]) -> None:
        """Count the files of kinds that cannot be read, unless the user left them out."""
        for name in names:
            if (extension := name.rpartition(".")[2].lower()) in UNREADABLE and not self.has_file(prefix, name):
                self._unreadable[extension] += 1

    def notes(self) -> list[str]:
        """Return one line about each reason: cannot be read, masks, excluded."""
        notes = []
        if total := self._unreadable.total():
            kinds = ", ".join(f"{n:,} .{name} ({UNREADABLE[name]})" for name, n in sorted(self._unreadable.items()))
            notes.append(f"{plural(total, 'file')} cannot be read and {_are(total)} left out: {kinds}")
        for reason, advice in (
            ("mask", "masks and control pictures of trainers; to list them, exclude !PATTERN, such as !masks/"),
            ("excluded", "by the setting exclude"),
        ):
            counts = {what: self._counts[reason, what] for what in ("file", "folder") if self._counts[reason, what]}
            if counts:
                parts = " and ".join(plural(count, what) for what, count in counts.items())
                notes.append(f"{parts} {_are(sum(counts.values()))} left out: {advice}")
        return notes

    def _decide(self, path: str, reason: str, what: str) -> bool:
        verdict = self._spec.check_file(path).include if self._spec.patterns else None
        if verdict is False or not (verdict or reason):
            return False
        if reason != "junk":
            self._counts[reason or "excluded", what] += 1
        return True


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
