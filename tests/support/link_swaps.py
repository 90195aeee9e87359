"""An allowed folder, one outside of it with the same names, and links that take the place of what is inside."""

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from captioner.system.roots import Roots
from tests.support.media_maker import make_picture, make_video
from tests.support.watch import ANY_USE, Watch

SECRET = "SECRET"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h


@dataclass
class TwoTrees:
    """Files in `inside`, which is allowed, and other ones of the same names in `outside`."""

    inside: Path
    outside: Path

    @classmethod
    def make(cls, base: Path) -> "TwoTrees":
        trees = cls(base / "in", base / "out")
        for folder, text in ((trees.inside, "Own."), (trees.outside, SECRET)):
            (folder / "mid" / "sub").mkdir(parents=True)
            make_video(folder / "mid" / "sub" / "a.mp4", num_frames=8)
            make_picture(folder / "mid" / "sub" / "b.png")
            for name in ("a.txt", "b.txt"):
                (folder / "mid" / "sub" / name).write_text(text)
        return trees

    @property
    def roots(self) -> Roots:
        return Roots([self.inside])

    def content(self) -> dict[Path, bytes]:
        """Return all that is outside."""
        return {path: path.read_bytes() if path.is_file() else b"" for path in sorted(self.outside.rglob("*"))}

    @contextlib.contextmanager
    def nothing_outside_is_used(self) -> Iterator[None]:
        """Fail if any process opens or changes something outside meanwhile."""
        before = self.content()
        watch = Watch(*(self.outside / name for name in ("", "mid", "mid/sub")), uses=ANY_USE)
        try:
            yield
            assert watch.opened() == set()
        finally:
            watch.close()
        assert self.content() == before

    @contextlib.contextmanager
    def swapped(self, *names: str) -> Iterator[None]:
        """Replace files or folders inside by links to those of the same names outside."""
        pairs = [(self.inside / name, self.outside / name) for name in names]
        for path, target in pairs:
            path.rename(aside(path))
            path.symlink_to(target)
        try:
            yield
        finally:
            for path, _ in pairs:
                path.unlink()
                aside(path).rename(path)

    @contextlib.contextmanager
    def swapping(self, name: str) -> Iterator[None]:
        """Exchange a file or folder with a link all the time, as fast as the kernel does it."""
        path, stop = self.inside / name, threading.Event()
        aside(path).symlink_to(self.outside / name)
        names = (os.fsencode(path), os.fsencode(aside(path)))
        libc = ctypes.CDLL(None, use_errno=True)

        def exchange() -> bool:
            return libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0

        def run() -> None:
            while not stop.is_set():
                exchange()

        assert exchange(), os.strerror(ctypes.get_errno())
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            if path.is_symlink():
                exchange()
            aside(path).unlink()


def aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.aside")
