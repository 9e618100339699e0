"""The pytest plugin that sets up the environment of all tests."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import surroundings
from akidb.metadata.store import SqliteMetadataStore


def test_sigint_handler_is_restored_when_shell_ignored_sigint() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        surroundings.pytest_configure()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_existing_sigint_handler_is_kept() -> None:
    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGINT, own)
    try:
        surroundings.pytest_configure()
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_copied_metadata_file_equals_created_one(tmp_path: Path, request: pytest.FixtureRequest) -> None:
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
