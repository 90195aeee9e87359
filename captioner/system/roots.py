"""Which folders may be opened: the one function that every path from outside goes through, after its links."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from captioner.errors import FolderError

SHOWN_LENGTH = 200


class Roots:
    """The allowed folders with all that is in them. Immutable but for `add`; any thread may call.

    Between the look at a path and its use somebody who can write to the folders could still change a link.
    """

    def __init__(self, folders: Iterable[str | Path]) -> None:
        """Raises FolderError for a folder that does not exist."""
        self._folders: tuple[Path, ...] | None = ()
        for folder in folders:
            self.add(folder)

    @classmethod
    def local(cls, given: Iterable[str | Path]) -> "Roots":
        """For a user at his own machine: his home folder, and the folders that he gave. Raises FolderError."""
        roots = cls(given)
        with contextlib.suppress(FolderError):  # some containers have none
            roots.add("~")
        return roots

    @classmethod
    def everywhere(cls) -> "Roots":
        """For a program's own paths: nothing is refused but what is no path."""
        roots = cls(())
        roots._folders = None
        return roots

    @property
    def folders(self) -> tuple[Path, ...]:
        """Without links; empty if nothing may be opened, or if everything may be."""
        return self._folders or ()

    @property
    def confined(self) -> bool:
        return self._folders is not None

    def add(self, folder: str | Path) -> None:
        """Raises FolderError when it does not exist."""
        resolved = EVERYWHERE.resolve(folder)
        if self._folders is not None and not self.allows(resolved):
            self._folders = (*self._folders, resolved)

    def resolve(self, path: str | Path) -> Path:
        """The path, absolute and without links; `~` is the home folder, and a relative one starts where the app did.

        Raises FolderError for what is outside, does not exist, or is no path at all. Whether
        something outside exists it does not tell.
        """
        text = os.fspath(path)
        if not text.strip():
            raise FolderError("give the path of a folder")
        try:
            self._check_share(text)
            # strict, for what is behind a loop of links would be left unresolved otherwise
            resolved = Path(os.path.realpath(expand_user(text), strict=True))
        except (OSError, ValueError, RecursionError) as error:  # ValueError: NUL, half a character
            if self.allows(_guess(text)):
                raise FolderError(_reason(text, error)) from None
            raise FolderError(_outside(text)) from None
        if not self.allows(resolved):
            raise FolderError(_outside(text))
        return resolved

    def allows(self, path: Path) -> bool:
        """Whether an absolute path without links is inside; does not look at the disk."""
        if self._folders is None:
            return True
        return ".." not in path.parts and any(path.is_relative_to(folder) for folder in self._folders)

    def escapes(self, file: str | Path) -> bool:
        """Whether a file is outside after its links. One that is not there does not lead anywhere."""
        if self._folders is None:
            return False
        try:
            return not self.allows(Path(os.path.realpath(file, strict=True)))
        except FileNotFoundError:
            return False
        except (OSError, ValueError, RecursionError):
            return True

    def _check_share(self, text: str) -> None:
        """Refuse \\\\server\\share on Windows unless a root is there: to look at it would log in to that server."""
        drive = os.path.normcase(os.path.splitdrive(text)[0])
        known = (os.path.normcase(folder.drive) for folder in self.folders)
        if self.confined and drive.startswith(("\\\\", "//")) and drive not in known:
            raise FolderError(_outside(text))


EVERYWHERE = Roots.everywhere()


def shown_path(path: str | Path) -> str:
    """For a message: one line of characters that can be sent, and not too long."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= SHOWN_LENGTH else f"{text[: SHOWN_LENGTH - 3]}..."


def expand_user(text: str) -> str:
    """Any text with `~` at its start as the home folder; it leaves `~nobody` and what is no name as they are."""
    try:
        return os.path.expanduser(text)  # noqa: PTH111
    except ValueError:  # NUL in the name after `~`
        return text


def _guess(text: str) -> Path:
    """Where it would be; good for the choice between two messages alone."""
    try:
        return Path(os.path.realpath(expand_user(text)))
    except (OSError, ValueError, RecursionError):
        return Path(expand_user(text)).absolute()


def _outside(text: str) -> str:
    return f"{shown_path(text)} is outside the allowed folders; restart with --root DIR to allow it"


def _reason(text: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError | ValueError | RecursionError):
        return f"no such folder: {shown_path(text)}"
    if isinstance(error, NotADirectoryError):
        return f"not a folder: {shown_path(text)}"
    return f"cannot read the folder {shown_path(text)}: {error.strerror}"
