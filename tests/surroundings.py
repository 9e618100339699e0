"""What all tests stand in, by a plugin of pytest: files in memory, quick password hashes, a Ctrl-C as it is.

It is loaded before coverage is measured, so it may load AkiDB only when the first test runs.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

QUICK_HASHES = """
from akidb.services import passwords
passwords.cost_of_this_process = passwords.Cost(passes=1, memory_kib=8, lanes=1)
"""
"""For a program that serves: passwords cost it next to nothing."""
MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 * 2**30
ON_DISK = "faults"
"""The folder whose tests are about disks, and have their files on one."""


def pytest_configure() -> None:
    """Let Ctrl-C reach this process, and so those that it starts; put temporary files into memory.

    A shell that starts the suite in the background lets it ignore the signal, which every child inherits.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(temporary_folder()))


@cache
def temporary_folder() -> Path:
    """Where files are quickest to make and to sync: in memory, where the machine has room there."""
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    return MEMORY if roomy else Path(tempfile.gettempdir())


@pytest.fixture
def tmp_path(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder in memory, for tests of disks on one."""
    if ON_DISK not in request.path.parts:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="akidb-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session", autouse=True)
def _quick_hashes() -> Iterator[None]:
    """Let this process spend next to nothing on a password. The program `akidb` has no such choice."""
    from akidb.services import passwords

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "cost_of_this_process", passwords.Cost(passes=1, memory_kib=8, lanes=1))
        yield


@pytest.fixture
def full_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let passwords cost what they cost users, for the time of one test."""
    from akidb.services import passwords

    monkeypatch.setattr(passwords, "cost_of_this_process", passwords.RFC_9106_SECOND_CHOICE)


@pytest.fixture(scope="session", autouse=True)
def _copied_metadata() -> Iterator[None]:
    """Let each new metadata file of this process begin as a copy of one whose tables were made once.

    The program `akidb` makes them step by step, as do tests with the fixture `made_metadata`.
    """
    from akidb.metadata import store
    from akidb.sql.files import create_file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "create_file", _copying(create_file))
        yield


@pytest.fixture
def made_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let metadata files be made as users have them made, for the time of one test."""
    from akidb.metadata import store
    from akidb.sql.files import create_file

    monkeypatch.setattr(store, "create_file", create_file)


def _copying(create_file: Callable[[Path], None]) -> Callable[[Path], None]:
    from akidb.metadata import schema
    from akidb.sql.sqlite import SqliteFile

    @cache
    def empty() -> bytes:
        with tempfile.TemporaryDirectory(dir=temporary_folder()) as folder:
            path = Path(folder, "metadata.db")
            create_file(path)
            file = SqliteFile(path)
            schema.bring_forward(file, expected=False)
            file.close()
            return path.read_bytes()

    def create(path: Path) -> None:
        create_file(path)
        path.write_bytes(empty())

    return create
