"""Facts of media are kept: a file is probed once, and again when it has changed."""

from pathlib import Path
from typing import NamedTuple

from captioner.errors import MediaError
from captioner.media.facts import FactsCache
from captioner.system.database import Database
from captioner.values import MediaInfo

INFO = MediaInfo(64, 48, 5.0625, 16.0, 81, 0, "h264", has_sound=True)


class Sized(NamedTuple):
    name: str
    size_bytes: int = 10
    modified_s: float = 1.5


def test_only_new_changed_and_broken_files_are_probed(tmp_path: Path) -> None:
    probed: list[str] = []

    def probe(path: Path) -> MediaInfo:
        probed.append(path.name)
        if path.name == "broken.mp4":
            raise MediaError("file is empty")
        return INFO

    database, shown = Database(tmp_path / "db"), []
    files = [Sized("a.mp4"), Sized("more/b \udce9.mp4"), Sized("broken.mp4")]
    expected = {"a.mp4": INFO, "more/b \udce9.mp4": INFO, "broken.mp4": "file is empty"}
    assert FactsCache(database, probe).read(tmp_path, files, lambda *step: shown.append(step)) == expected
    assert (probed, shown) == (["a.mp4", "b \udce9.mp4", "broken.mp4"], [("media", 0, 3), ("media", 3, 3)])

    probed.clear()
    assert FactsCache(database, probe).read(tmp_path, files) == expected
    assert probed == ["broken.mp4"]

    probed.clear()
    FactsCache(database, probe).read(tmp_path, [Sized("a.mp4", size_bytes=11), files[1]])
    FactsCache(database, probe).read(tmp_path / "elsewhere", [files[0]])
    assert probed == ["a.mp4", "a.mp4"]
    database.close()
