"""The allowed folders: every path from outside is resolved and checked here."""

import contextlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from captioner.errors import FolderError
from captioner.system.paths import absolute_path, plain_path, real_path
from captioner.system.pinning import Within, escapes

log = logging.getLogger(__name__)

SHOWN_LENGTH = 200


class Roots:
    """The allowed folders with everything in them. Immutable except for `add` and `confine`; any thread may call.

    A path that was checked here is checked again where it is used, see system/pinning.
    """

    def __init__(self, folders: Iterable[str | Path] | None) -> None:
        """Allow these folders, or every path if None. Raises FolderError for a folder that does not exist."""
        self._folders: tuple[Path, ...] | None = None if folders is None else ()
        for folder in folders or ():
            self.add(folder)

    @classmethod
    def local(cls, given: Iterable[str | Path]) -> "Roots":
        """Return the roots for a local user: the home folder and the given folders. Raises FolderError.

        A home folder that is the whole disk, as for users of some containers, is left out.
        """
        roots = cls(given)
        home, problem = real_path("~"), ""
        if not os.path.isdir(home):  # noqa: PTH112 - Path.is_dir raises without permission
            problem = "there is no home folder"
        elif home == home.parent:
            problem = f"the home folder is {home}, the whole disk"
        if problem:
            log.warning("%s, so only folders given with --root DIR can be opened", problem)
        else:
            roots.add(home)
        return roots

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders, resolved; empty if nothing is allowed, or if everything is."""
        return self._folders or ()

    @property
    def within(self) -> Within:
        """The folders for `pinned`."""
        return self._folders

    @property
    def confined(self) -> bool:
        """False if every path is allowed."""
        return self._folders is not None

    def add(self, folder: str | Path) -> None:
        """Allow another folder. Raises FolderError if it does not exist."""
        resolved = EVERYWHERE.resolve(folder)
        if self._folders is not None and not self.allows(resolved):
            self._folders = (*self._folders, resolved)

    def confine(self, within: Within) -> None:
        """Allow only these resolved folders if every path is allowed so far."""
        if self._folders is None:
            self._folders = within

    def resolve(self, path: str | Path) -> Path:
        """Return the path, absolute and without links, from a text as `plain_path` reads it. Raises FolderError.

        The message for a path outside does not reveal whether it exists.
        """
        text = plain_path(os.fspath(path))
        if not text.strip():
            raise FolderError("give the path of a folder")
        try:
            self._check_share(text)
            # strict, because a path behind a loop of links would otherwise stay unresolved
            resolved = Path(os.path.realpath(text, strict=True))
        except (OSError, ValueError, RecursionError) as error:  # ValueError: NUL or a lone surrogate
            if self.allows(_guess(text)):
                raise folder_error(text, error) from None
            raise FolderError(_outside(text)) from None
        if not self.allows(resolved):
            raise FolderError(_outside(text))
        return resolved

    def resolve_missing(self, path: str | Path) -> Path:
        """Like `resolve`, for a folder that may be missing."""
        real = real_path(plain_path(os.fspath(path)))
        return real if self.allows(real) else self.resolve(real)

    def allows(self, path: Path) -> bool:
        """Return True if an absolute path without links is inside; does not access the disk."""
        if self._folders is None:
            return True
        return ".." not in path.parts and any(path.is_relative_to(folder) for folder in self._folders)

    def escapes(self, file: str | Path) -> bool:
        """Return True if a file is outside once its links are followed; False if it does not exist."""
        return escapes(file, self._folders)

    def _check_share(self, text: str) -> None:
        """Refuse \\\\server\\share on Windows unless a root is there: accessing it would log in to that server."""
        drive = os.path.normcase(os.path.splitdrive(text)[0])
        known = (os.path.normcase(folder.drive) for folder in self.folders)
        if self.confined and drive.startswith(("\\\\", "//")) and drive not in known:
            raise FolderError(_outside(text))


EVERYWHERE = Roots(None)  # for paths of the program itself


def shown_path(path: str | Path) -> str:
    """Return the path for a message: one line of printable characters, shortened if it is long."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= SHOWN_LENGTH else f"{text[: SHOWN_LENGTH - 3]}..."


def _guess(text: str) -> Path:
    """Return where the path would be, only to choose between two messages."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return Path(os.path.realpath(text))
    return absolute_path(text)


def _outside(text: str) -> str:
    return f"{shown_path(text)} is outside the allowed folders; restart with --root DIR to allow it"


def folder_error(path: str | Path, error: OSError | ValueError | RecursionError) -> FolderError:
    """Return the error to raise when opening a folder failed with `error`."""
    if isinstance(error, NotADirectoryError):
        return FolderError(f"not a folder: {shown_path(path)}")
    if isinstance(error, FileNotFoundError) or not isinstance(error, OSError):
        return FolderError(f"no such folder: {shown_path(path)}")
    return FolderError(f"cannot read the folder {shown_path(path)}: {error.strerror}")
