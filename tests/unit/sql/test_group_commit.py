"""Group commit: waiting writers share a commit, and each gets its own result after it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from akidb.domain.errors import StorageFull, Unavailable
from akidb.sql import group_commit as commits
from akidb.sql.files import create_file
from akidb.sql.sqlite import SqliteFile


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteFile]:
    create_file(tmp_path / "kb.db")
    made = SqliteFile(tmp_path / "kb.db")
    with made.write() as connection:
        connection.exec_driver_sql("CREATE TABLE notes (n INTEGER PRIMARY KEY) STRICT")
    yield made
    made.close()


class Crowd:
    """Writers in threads of their own, all of which wait before the first may end."""

    def __init__(self, file: SqliteFile, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = file
        self.commits = 0
        self.raised: dict[int, BaseException] = {}
        self.ended: list[int] = []
        commit = file._commit

        def counted(driver: Any) -> None:
            self.commits += 1
            commit(driver)

        monkeypatch.setattr(file, "_commit", counted)
        monkeypatch.setattr(commits, "MAX_SECONDS", 60)

    def run(self, count: int, work: Callable[[int, Any], None]) -> None:
        """Writer 0 is in its transaction until the others have queued up behind it, in their order."""
        queued = threading.Event()

        def write(number: int) -> None:
            try:
                with self.file.write() as connection:
                    if number == 0:
                        assert queued.wait(20)
                    work(number, connection)
                self.ended.append(number)
            except BaseException as error:  # noqa: BLE001
                self.raised[number] = error

        threads = []
        for number in range(count):
            threads.append(threading.Thread(target=write, args=(number,)))
            threads[-1].start()
            deadline = time.monotonic() + 20
            while self.file.gate.waiting < number:
                assert time.monotonic() < deadline
                time.sleep(0.0005)
        queued.set()
        for thread in threads:
            thread.join(20)

    def notes(self) -> list[int]:
        with self.file.read() as connection:
            return [row[0] for row in connection.exec_driver_sql("SELECT n FROM notes ORDER BY n")]


@pytest.fixture
def crowd(file: SqliteFile, monkeypatch: pytest.MonkeyPatch) -> Crowd:
    return Crowd(file, monkeypatch)


def insert(number: int, connection: Any) -> None:
    connection.exec_driver_sql("INSERT INTO notes VALUES (?)", (number,))


def test_waiting_writers_share_one_commit(crowd: Crowd) -> None:
    crowd.run(10, insert)
    assert crowd.commits == 1
    assert crowd.notes() == list(range(10))
    assert sorted(crowd.ended) == list(range(10))


def test_single_writer_commits_immediately(crowd: Crowd) -> None:
    for number in range(3):
        with crowd.file.write() as connection:
            insert(number, connection)
        assert crowd.commits == number + 1


def test_writers_per_commit_are_limited(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "MAX_WRITERS", 4)
    crowd.run(10, insert)
    assert crowd.commits == 3
    assert crowd.notes() == list(range(10))


def test_transaction_over_time_limit_commits_despite_waiting_writers(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "MAX_SECONDS", 0.0)
    crowd.run(5, insert)
    assert crowd.commits == 5


@pytest.mark.parametrize("failing", [0, 4, 9])
def test_failed_writer_rolls_back_only_its_own_work(crowd: Crowd, failing: int) -> None:
    def work(number: int, connection: Any) -> None:
        insert(number, connection)
        if number == failing:
            raise KeyError(number)

    crowd.run(10, work)
    assert crowd.notes() == [number for number in range(10) if number != failing]
    assert list(crowd.raised) == [failing]
    assert isinstance(crowd.raised[failing], KeyError)


def test_commits_work_after_all_writers_fail(crowd: Crowd) -> None:
    def work(number: int, connection: Any) -> None:
        insert(number, connection)
        raise KeyError(number)

    crowd.run(5, work)
    assert crowd.notes() == []
    assert sorted(crowd.raised) == list(range(5))
    insert_one = crowd.file.write()
    with insert_one as connection:
        insert(7, connection)
    assert crowd.notes() == [7]


def test_failed_commit_fails_all_sharing_writers(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(driver: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(crowd.file, "_commit", fail)
        crowd.run(6, insert)
    assert crowd.ended == []
    assert {type(error) for error in crowd.raised.values()} == {Unavailable}
    assert len(crowd.raised) == 6
    assert crowd.notes() == []
    with crowd.file.write() as connection:
        insert(1, connection)
    assert crowd.notes() == [1]


def test_sqlite_auto_rollback_fails_all_earlier_writers(crowd: Crowd) -> None:
    def work(number: int, connection: Any) -> None:
        insert(number, connection)
        if number == 3:
            connection.exec_driver_sql("ROLLBACK")  # as SQLite does for a full disk
            raise OSError(28, "No space left on device")

    crowd.run(6, work)
    assert sorted(crowd.raised) == [0, 1, 2, 3]
    assert {type(error) for error in crowd.raised.values()} == {StorageFull}
    assert all("No space left on device" in str(error) for error in crowd.raised.values())
    assert crowd.notes() == [4, 5]


def test_writers_return_only_after_commit(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = crowd.file._commit
    seen: list[int] = []

    def look(driver: Any) -> None:
        time.sleep(0.05)
        seen.append(len(crowd.ended))
        commit(driver)

    monkeypatch.setattr(crowd.file, "_commit", look)
    crowd.run(8, insert)
    assert seen == [0]
    assert len(crowd.ended) == 8


def test_interrupted_commit_releases_gate(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = crowd.file._commit

    def interrupted(driver: Any) -> None:
        commit(driver)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(crowd.file, "_commit", interrupted)
        with pytest.raises(KeyboardInterrupt), crowd.file.write() as connection:
            insert(1, connection)
    with crowd.file.write() as connection:
        insert(2, connection)
    assert crowd.notes() == [1, 2]


def test_exclusive_access_waits_until_all_writers_committed(crowd: Crowd) -> None:
    erased: list[bool] = []

    def work(number: int, connection: Any) -> None:
        insert(number, connection)
        if number == 0:
            thread = threading.Thread(target=lambda: erased.append(crowd.file.erase()))
            thread.start()
            erasing.append(thread)
            while crowd.file.gate.waiting < 3:
                time.sleep(0.0005)

    erasing: list[threading.Thread] = []
    crowd.run(3, work)
    erasing[0].join(20)
    assert erased == [True]
    assert crowd.notes() == [0, 1, 2]


@pytest.mark.parametrize("others", [0, 3])
def test_work_with_interrupted_rollback_is_not_committed(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    undo = crowd.file.undo
    interrupted: list[int] = []

    def interrupt(*what: Any, **how: Any) -> None:
        if not interrupted:
            interrupted.append(1)
            raise KeyboardInterrupt
        undo(*what, **how)

    monkeypatch.setattr(crowd.file, "undo", interrupt)

    def work(number: int, connection: Any) -> None:
        insert(number, connection)
        if number == others:
            raise KeyError(number)

    crowd.run(others + 1, work)
    assert isinstance(crowd.raised[others], KeyboardInterrupt)
    assert crowd.notes() == list(range(others))
    with crowd.file.write() as connection:
        insert(9, connection)
    assert crowd.notes() == [*range(others), 9]


def test_generation_changes_before_writer_returns(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    end = commits.SharedTransaction._end

    def look(shared: Any, error: BaseException | None) -> None:
        seen.append(crowd.file.generation)
        end(shared, error)

    monkeypatch.setattr(commits.SharedTransaction, "_end", look)
    before = crowd.file.generation
    crowd.run(3, insert)
    # One commit, or several if a writer came late; each counted before its writers return.
    assert seen
    assert all(generation > before + ended for ended, generation in enumerate(seen))


def test_writer_rolled_back_with_another_gets_specific_error(crowd: Crowd) -> None:
    def work(number: int, connection: Any) -> None:
        insert(number, connection)
        if number == 1:
            connection.exec_driver_sql("ROLLBACK")
            raise KeyError

    crowd.run(2, work)
    assert "rolled back with another writer's" in str(crowd.raised[0])
    assert isinstance(crowd.raised[1], KeyError)


def test_connection_closed_by_interrupt_fails_earlier_writers_at_once(crowd: Crowd) -> None:
    """SQLAlchemy closes the connection of a statement that is interrupted."""

    def work(number: int, connection: Any) -> None:
        insert(number, connection)
        if number == 2:
            connection.invalidate()
            raise KeyboardInterrupt

    crowd.run(5, work)
    assert {number: type(error) for number, error in crowd.raised.items()} == {
        0: Unavailable,
        1: Unavailable,
        2: KeyboardInterrupt,
    }
    assert crowd.notes() == [3, 4]
    assert crowd.file.figures().connections_in_use == 0


def test_connection_closed_before_commit_fails_all_sharing_writers(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(driver: Any) -> None:
        driver.close()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(crowd.file, "_commit", close)
        crowd.run(3, insert)
    assert sorted(crowd.raised) == [0, 1, 2]
    assert crowd.notes() == []
    with crowd.file.write() as connection:
        insert(7, connection)
    assert crowd.notes() == [7]
