import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from captioner.captions.ownership import digest
from captioner.captions.store import CaptionStore
from captioner.errors import StateError
from captioner.system.database import Database, path_text, text_path
from captioner.system.migrations import MIGRATIONS

INSERT = "INSERT INTO caption_state (caption_path, digest, changed_at_s, origin) VALUES (?, ?, ?, ?)"
COUNT = "SELECT count(*) AS n FROM caption_state"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "captioner.sqlite"


def test_new_file_has_the_tables_and_the_newest_version(path: Path) -> None:
    database = Database(path)
    tables = {row["name"] for row in database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {
        "caption_approvals",
        "caption_changes",
        "caption_scores",
        "caption_state",
        "captions_made",
        "captions_unwritten",
        "file_marks",
        "lint_found",
        "media_facts",
        "job_items",
        "job_lists",
        "operations",
        "runs",
    }
    assert database.rows("PRAGMA user_version")[0][0] == len(MIGRATIONS)
    assert database.rows("PRAGMA journal_mode")[0][0] == "wal"
    assert database.rows("PRAGMA foreign_keys")[0][0] == 1
    assert database.rows("PRAGMA synchronous")[0][0] == 2
    database.close()


def test_rows_survive_closing_and_opening(path: Path) -> None:
    database = Database(path)
    assert database.execute(INSERT, ("/a.txt", b"\xff\x00", 1.5, "hand")) == 1
    database.close()
    row = Database(path).rows("SELECT * FROM caption_state")[0]
    assert tuple(row) == ("/a.txt", "hand", b"\xff\x00", 1.5, "")


def test_older_file_gets_only_the_missing_migrations(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(path)
    database.execute(INSERT, ("/a.txt", b"a", 1.0, "hand"))
    database.close()
    script = "CREATE TABLE extra (id INTEGER);\n INSERT INTO extra VALUES (7);\n"
    monkeypatch.setattr("captioner.system.database.MIGRATIONS", (*MIGRATIONS, script))
    for _ in range(2):
        database = Database(path)
        assert database.rows("SELECT id FROM extra")[0]["id"] == 7
        assert len(database.rows("SELECT id FROM extra")) == 1
        assert database.rows(COUNT)[0]["n"] == 1
        assert database.rows("PRAGMA user_version")[0][0] == len(MIGRATIONS) + 1
        database.close()


def test_history_of_the_older_schema_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("captioner.system.database.MIGRATIONS", MIGRATIONS[:3])
        database = Database(path)
        sql = "INSERT INTO caption_history (caption_path, data, replaced_at_s, origin) VALUES (?, ?, ?, ?)"
        database.execute(sql, ("/a.txt", b"Gr\xfcn\r\n", 1.0, "job"))
        database.execute(sql, ("/a.txt", b"two", 2.0, "hand"))
        database.execute(sql, ("/b.txt", b"x", 3.0, "delete"))
        database.execute(INSERT, ("/a.txt", digest(b"three"), 2.0, "hand"))
        database.close()
    store = CaptionStore(Database(path), path.parent)
    entries = [(entry.id, entry.data, entry.replaced_at_s, entry.origin) for entry in store.history(Path("/a.txt"))]
    assert entries == [(2, b"two", 2.0, "hand"), (1, b"Gr\xfcn\r\n", 1.0, "job")]
    assert [entry.origin for entry in store.history(Path("/b.txt"))] == ["delete"]
    assert store.ownership.digests_in(Path("/")) == {"/a.txt": digest(b"three")}
    assert store.settle() == {}


@pytest.mark.skipif(os.name == "nt", reason="there all names are text")
def test_path_that_is_not_utf8_comes_back_from_the_database(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xfcn \xe2\x82.txt"))
    assert text_path(path_text(odd)) == odd
    plain = tmp_path / "grün.txt"
    assert text_path(path_text(plain)) == plain
    spelled = tmp_path / "gr\\xfcn.txt"
    spelled.touch()
    assert text_path(path_text(spelled)) == spelled


def test_failed_migration_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Database(path).close()
    script = "CREATE TABLE extra (id INTEGER);\n INSERT INTO nowhere VALUES (1);\n"
    with monkeypatch.context() as patch:
        patch.setattr("captioner.system.database.MIGRATIONS", (*MIGRATIONS, script))
        with pytest.raises(StateError, match="no such table: nowhere"):
            Database(path)
    database = Database(path)
    assert database.rows("SELECT name FROM sqlite_master WHERE name = 'extra'") == []
    assert database.rows("PRAGMA user_version")[0][0] == len(MIGRATIONS)


def test_file_of_a_newer_version_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StateError) as caught:
        Database(path)
    assert str(caught.value) == (
        f"{path} was written by a newer version of this program (schema 99, this one knows {len(MIGRATIONS)}); "
        "update the program or choose another folder with --state"
    )


def test_file_that_is_not_a_database_is_refused_and_left_unchanged(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 300)
    with pytest.raises(StateError) as caught:
        Database(path)
    assert str(caught.value) == f"{path} is damaged (file is not a database); move it away to start with an empty one"
    assert path.read_bytes() == b"this is not a database" * 300


def test_file_that_was_cut_short_is_refused(path: Path) -> None:
    database = Database(path)
    for number in range(300):
        database.execute(INSERT, (f"/{number}.txt", bytes(500), 1.0, "hand"))
    database.close()
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StateError, match="is damaged"):
        Database(path).rows("SELECT * FROM caption_state")


def test_path_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StateError) as caught:
        Database(tmp_path / "missing" / "captioner.sqlite")
    path = tmp_path / "missing" / "captioner.sqlite"
    assert str(caught.value) == f"cannot use the database {path}: unable to open database file"


def test_closed_database_says_so(path: Path) -> None:
    database = Database(path)
    database.close()
    database.close()
    with pytest.raises(StateError, match="is closed"):
        database.rows("SELECT 1")


def test_failed_transaction_stores_nothing(path: Path) -> None:
    database = Database(path)

    def insert_and_fail() -> None:
        with database.transaction() as connection:
            connection.execute(INSERT, ("/a.txt", b"a", 1.0, "hand"))
            raise KeyError

    with pytest.raises(KeyError):
        insert_and_fail()
    assert database.rows(COUNT)[0]["n"] == 0
    database.execute(INSERT, ("/a.txt", b"a", 1.0, "hand"))
    assert database.rows(COUNT)[0]["n"] == 1


def test_several_threads_lose_no_row(path: Path) -> None:
    database = Database(path)

    def work(name: str) -> None:
        for number in range(50):
            database.execute(INSERT, (f"/{name}/{number}", b"x", 1.0, "hand"))

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.rows("SELECT count(DISTINCT caption_path) AS n FROM caption_state")[0]["n"] == 200


def test_several_processes_share_a_new_file(path: Path) -> None:
    script = (
        "import sys, pathlib; from captioner.system.database import Database\n"
        "database = Database(pathlib.Path(sys.argv[1]))\n"
        f"for number in range(20): database.execute({INSERT!r}, (sys.argv[2] + str(number), b'x', 1.0, 'hand'))\n"
    )
    root = Path(__file__).parents[2]
    processes = [subprocess.Popen([sys.executable, "-c", script, str(path), name], cwd=root) for name in "abc"]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert Database(path).rows(COUNT)[0]["n"] == 60


def test_value_that_is_too_large_gives_one_line_and_no_damage(path: Path) -> None:
    database = Database(path)
    with pytest.raises(StateError, match=r"^cannot store this in the database .*: string or blob too big$"):
        database.rows("SELECT zeroblob(1500000000)")
    assert database.rows("SELECT 1 AS one")[0]["one"] == 1
    database.close()
