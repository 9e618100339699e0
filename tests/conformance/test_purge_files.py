"""Erasing SQLite files: no data of deleted rows remains in any page."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from akidb.domain.errors import Unavailable
from akidb.sql import sqlite
from akidb.sql.database import driver_of
from akidb.sql.files import create_file
from akidb.sql.integrity import check_integrity
from akidb.sql.secure_erase import clear_gaps
from akidb.sql.sqlite import SqliteFile

MARK = re.compile(rb"MARK(\d{6})E")
Rows = dict[int, bytes]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def file(path: Path) -> Iterator[SqliteFile]:
    create_file(path)
    made = SqliteFile(path, synchronous="normal")
    with made.write() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE things (id BLOB PRIMARY KEY, slug TEXT UNIQUE, name TEXT, note TEXT) STRICT"
        )
    yield made
    made.close()


def insert(file: SqliteFile, random: Random, numbers: Sequence[int], longest: int) -> Rows:
    """Rows in random order of their keys, so that pages split everywhere."""
    rows = {number: random.randbytes(16) for number in numbers}
    with file.write() as connection:
        for number, id in rows.items():
            mark = f"MARK{number:06}E"
            note = mark * random.randint(1, longest)
            values = (id, f"{random.randbytes(3).hex()}{mark}", f"name {mark}", note)
            driver_of(connection).execute("INSERT INTO things VALUES (?, ?, ?, ?)", values)
    return rows


def delete(file: SqliteFile, rows: Rows, numbers: Sequence[int]) -> None:
    for at in range(0, len(numbers), 50):
        with file.write() as connection:
            for number in numbers[at : at + 50]:
                driver_of(connection).execute("DELETE FROM things WHERE id = ?", (rows.pop(number),))


def found(path: Path) -> set[int]:
    contents = b"".join(each.read_bytes() for each in path.parent.iterdir())
    return {int(number) for number in MARK.findall(contents)}


@pytest.mark.parametrize(("seed", "longest"), [(1, 3), (2, 40), (3, 400)])
def test_erase_removes_all_traces_of_deleted_rows(
    file: SqliteFile, path: Path, seed: int, longest: int
) -> None:
    random = Random(seed)
    rows: Rows = {}
    for turn in range(4):
        rows |= insert(file, random, range(turn * 2000, (turn + 1) * 2000), longest)
        delete(file, rows, random.sample(sorted(rows), 900))
        assert file.erase()
        assert found(path) == rows.keys()
    with file.read() as connection:
        assert check_integrity(connection) == []


@pytest.mark.parametrize("seed", [7, 9])
def test_cached_pages_do_not_restore_erased_rows(
    file: SqliteFile, path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page is remembered between the end of the log and the clearing of its gap, then written again."""
    random = Random(seed)
    rows = insert(file, random, range(3000), 3)
    readers = [file.read() for _ in range(3)]

    def read_first(descriptor: int, roots: Sequence[int], name: str) -> int:
        for reader in readers:
            connection = reader.__enter__()
            connection.exec_driver_sql("SELECT slug FROM things ORDER BY slug").all()
        return clear_gaps(descriptor, roots, name)

    delete(file, rows, random.sample(sorted(rows), 1500))
    monkeypatch.setattr(sqlite, "clear_gaps", read_first)
    assert file.erase()
    assert found(path) == rows.keys()
    for reader in readers:
        reader.__exit__(None, None, None)
    rows |= insert(file, random, range(3000, 3300), 1)  # they come into pages all over the index
    with file.gate.pass_through(), file.read() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    assert found(path) == rows.keys()


def test_erase_does_not_wait_for_long_reader(file: SqliteFile, path: Path) -> None:
    rows = insert(file, Random(5), range(100), 10)
    with file.read(snapshot=True) as connection:
        connection.exec_driver_sql("SELECT count(*) FROM things").all()
        delete(file, rows, range(50))
        assert not file.erase()
        assert found(path) != rows.keys()
    assert file.erase()
    assert found(path) == rows.keys()


OTHER = """
import sys
import threading
from akidb.sql.sqlite_library import library
connection = library.connect(sys.argv[1], isolation_level=None, timeout=0)
connection.execute("PRAGMA locking_mode = EXCLUSIVE")
try:
    connection.execute("BEGIN EXCLUSIVE")
except library.OperationalError as error:
    print(error)
"""


def test_erase_keeps_sqlite_locks(file: SqliteFile, path: Path) -> None:
    """Else another program could take the file for its own, and fold in a log that is still written."""
    with file.read(snapshot=True) as connection:
        rows = connection.exec_driver_sql("SELECT count(*) FROM things").scalar_one()
        assert rows == 0
    with file.read():
        file.erase()
        command = [sys.executable, "-c", OTHER, str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert "locked" in done.stdout


@pytest.mark.parametrize("damage", [b"\xff" * 64, b"\x05\x00\x00\xff\xff\x00\x00\x00"])
def test_erase_refuses_damaged_page_and_leaves_file_unchanged(
    file: SqliteFile, path: Path, damage: bytes
) -> None:
    insert(file, Random(6), range(500), 10)
    assert file.erase()
    file.close()
    content = bytearray(path.read_bytes())
    content[4096 * 1 : 4096 * 1 + len(damage)] = damage
    path.write_bytes(content)
    again = SqliteFile(path)
    with pytest.raises(Unavailable, match=r"store\.db: the file is damaged"):
        again.erase()
    again.close()
    assert path.read_bytes() == bytes(content)


def test_erase_is_safe_during_concurrent_reads_and_writes(file: SqliteFile, path: Path) -> None:
    """It takes its turn at the gate, and what they write stays."""
    random = Random(8)
    rows = insert(file, random, range(500), 10)
    failed: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 60):
                with file.write() as connection:
                    values = (f"{number}".encode(), f"kept {number}", "name", "note")
                    driver_of(connection).execute("INSERT INTO things VALUES (?, ?, ?, ?)", values)
                with file.read() as connection:
                    connection.exec_driver_sql("SELECT max(slug) FROM things").all()
        except BaseException as error:  # noqa: BLE001 - looked at below
            failed.append(error)

    threads = [threading.Thread(target=work, args=(1000 * number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    erased = 0
    while any(thread.is_alive() for thread in threads) or not erased:
        erased += file.erase()
    for thread in threads:
        thread.join()
    assert failed == []
    delete(file, rows, sorted(rows))
    assert file.erase()
    assert found(path) == set()
    with file.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM things").scalar_one() == 360
        assert check_integrity(connection) == []
