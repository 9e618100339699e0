"""What the plugin promises all tests."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import surroundings
from akidb.metadata.store import SqliteMetadataStore


def test_ctrl_c_is_heard_also_where_a_shell_had_it_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        surroundings.pytest_configure()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_who_handles_ctrl_c_already_goes_on_doing_so() -> None:
    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGINT, own)
    try:
        surroundings.pytest_configure()
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_metadata_file_that_was_copied_is_one_that_was_made(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def contents(path: Path) -> list[object]:
        SqliteMetadataStore(path).close()
        with closing(sqlite3.connect(path)) as connection:
            made = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
            plain = [name for kind, name, sql in made if kind == "table" and "VIRTUAL" not in sql]
            return made + [connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in plain]

    copied = contents(tmp_path / "copied.db")
    request.getfixturevalue("made_metadata")
    assert contents(tmp_path / "made.db") == copied
    assert len(copied) > 50
