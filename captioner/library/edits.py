"""Changes captions of the open folder by hand, and shows the changes to its viewers."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from captioner.captions.file_marks import Mark
from captioner.errors import JobError
from captioner.library.open_folder import OpenFolder
from captioner.values import MediaItem

READ_AT_ONCE = 100


class CaptionEdits:
    """Any thread may call. Methods raise JobError if a file's folder is no longer open, CaptionError and StateError."""

    def __init__(self, open_folder: OpenFolder) -> None:
        self._open, self._captions = open_folder, open_folder.captions

    def save(self, item: MediaItem, text: str, expected: str | None = None, consent: bool = False) -> str:
        """Write a caption by hand and return it as saved. Raise JobError if the file holds neither it nor `expected`.

        consent: also replace a text whose encoding is a guess; otherwise that raises CaptionError.
        """
        with self._open.current():  # so that earlier events of a job do not replace what is written now
            position, path = self._position(item), item.caption_path
            if item.caption_folder != item.folder:
                self._captions.files.make_folder(item.caption_folder)
            if not path.parent.is_dir():
                raise JobError(f"the folder {path.parent} is missing, so the caption cannot be saved")
            now = self._captions.read(path)
            if expected not in (None, now) and now.replace("\r\n", "\n") != text.strip():
                self._open.files.reload(position)
                raise JobError(f"{item.name}: the caption was changed meanwhile; read the new text before you save")
            saved = self._captions.save(path, text, consent=consent)
            self._open.files.set_text(position, saved, edited=True)
            return saved

    def delete(self, item: MediaItem) -> bool:
        """Delete a caption file, whose text stays in the history. Return False if there was none."""
        with self._open.current():
            position = self._position(item)
            deleted = self._captions.delete(item.caption_path)
            self._open.files.set_text(position, "", edited=False)
            return deleted

    def restore(self, item: MediaItem, change: int) -> str:
        """Put back what stood before a change (see CaptionStore.restore) and return the text."""
        with self._open.current():
            position = self._position(item)
            text = self._captions.restore(item.caption_path, change)
            self._open.files.set_text(position, text, edited=True)
            self._open.files.reload(position)  # the text may be a guess
            return text

    def approve(self, names: Iterable[str], on: bool = True) -> int:
        """Protect the captions of these files from jobs and bulk edits, or stop that; return how many there are."""
        with self._open.lock:
            paths = [self._open.scan.items[position].caption_path for position in self._open.positions(names)]
        num_changed = self._captions.approve(paths, on)
        self.refresh(paths)
        return num_changed

    def mark(self, names: Iterable[str], mark: Mark | None) -> int:
        """Star or reject these files, or remove their marks; return how many files there are."""
        with self._open.current():
            positions = self._open.positions(names)
            self._captions.marks.set([self._open.scan.items[position].path for position in positions], mark)
            self._open.files.set_mark(positions, mark)
        return len(positions)

    def refresh(self, caption_paths: Sequence[Path]) -> None:
        """Read these captions again, after something else than a job or a method of this class changed them."""
        with self._open.current():
            files, positions = self._open.files, self._open.files.positions(caption_paths)
            files.find_marks()
        for start in range(0, len(positions), READ_AT_ONCE):
            with self._open.lock:
                if files is self._open.files:
                    for position in positions[start : start + READ_AT_ONCE]:
                        files.reload(position)

    def _position(self, item: MediaItem) -> int:
        position = self._open.scan.position(item)
        if position is None:
            raise JobError("the folder of this file is no longer open; open it again")
        return position
