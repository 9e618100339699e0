"""The observing proxy around repositories: what it reports, and that it is absent without listeners."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from akidb.domain.errors import NotFound
from akidb.observe import telemetry
from akidb.observe.telemetry import Call, End
from akidb.sql.telemetry import code_of, observed, observed_transaction


class Answers:
    def find(self, key: str) -> str:
        return key


class Shelf:
    """A repository."""

    def __init__(self) -> None:
        self.size = 3
        self.answers = Answers()

    @property
    def owner(self) -> str:
        return "aki"

    def find(self, name: str, *, deleted: bool = False) -> str:
        return f"{name}, {deleted}"

    def get(self, name: str) -> str:
        return self.find(name, deleted=True)

    def lose(self) -> None:
        raise NotFound("book", "b")

    def wait(self) -> None:
        time.sleep(0.02)

    def each(self) -> Iterator[int]:
        yield from range(3)

    @contextmanager
    def opened(self) -> Iterator[int]:
        yield 7


class Transaction:
    def __init__(self) -> None:
        self.shelves = Shelf()


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.seconds: list[float] = []

    def begin(self, operation: str) -> End:
        raise AssertionError(operation)

    def called(self, call: Call, seconds: float, code: str) -> None:
        assert call.system == "sqlite"
        self.calls.append((f"{call.store}.{call.repository}.{call.operation}", code))
        self.seconds.append(seconds)

    def waited(self, queue: telemetry.Queue, store: telemetry.StoreKind, seconds: float) -> None:
        raise AssertionError(queue)

    def counted(self, counter: str, label: str, amount: int) -> None:
        raise AssertionError(counter)


@pytest.fixture
def heard() -> Iterator[Heard]:
    listener = Heard()
    telemetry.listen(listener)
    yield listener
    telemetry.leave(listener)


def test_repository_is_not_wrapped_without_listeners() -> None:
    shelf, transaction = Shelf(), Transaction()
    assert observed("metadata", "shelves", shelf, "sqlite") is shelf
    assert observed_transaction("metadata", transaction, "sqlite") is transaction


def test_call_is_reported_with_duration_and_returns_its_result(heard: Heard) -> None:
    shelf = observed("metadata", "shelves", Shelf(), "sqlite")
    assert shelf.find("a", deleted=True) == "a, True"
    shelf.wait()
    assert heard.calls == [("metadata.shelves.find", "ok"), ("metadata.shelves.wait", "ok")]
    assert heard.seconds[0] < 0.01
    assert heard.seconds[1] >= 0.02


def test_internal_repository_calls_are_not_reported(heard: Heard) -> None:
    assert observed("metadata", "shelves", Shelf(), "sqlite").get("a") == "a, True"
    assert heard.calls == [("metadata.shelves.get", "ok")]


def test_error_is_reported_by_code_and_reraised(heard: Heard) -> None:
    with pytest.raises(NotFound):
        observed("tenant", "shelves", Shelf(), "sqlite").lose()
    assert heard.calls == [("tenant.shelves.lose", "not_found")]


def test_driver_error_is_reported_with_mapped_domain_code() -> None:
    with pytest.raises(sqlite3.DatabaseError) as full:
        raise _sqlite_error("SQLITE_FULL")
    assert code_of(full.value) == "storage_full"
    assert code_of(OSError(28, "No space left on device")) == "storage_full"
    assert code_of(OSError(5, "Input/output error")) == "unavailable"
    assert code_of(ValueError("a defect")) == "internal"
    assert code_of(KeyboardInterrupt()) == "internal"


def _sqlite_error(name: str) -> sqlite3.DatabaseError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = name
    return error


def test_iterators_and_context_managers_are_not_timed(heard: Heard) -> None:
    shelf = observed("metadata", "shelves", Shelf(), "sqlite")
    assert (shelf.size, shelf.owner, list(shelf.each())) == (3, "aki", [0, 1, 2])
    with shelf.opened() as number:
        assert number == 7
    assert heard.calls == []


def test_nested_answers_repository_is_observed(heard: Heard) -> None:
    assert observed("tenant", "shelves", Shelf(), "sqlite").answers.find("k") == "k"
    assert heard.calls == [("tenant.answers.find", "ok")]


def test_transaction_wraps_each_repository_once(heard: Heard) -> None:
    transaction = observed_transaction("metadata", Transaction(), "sqlite")
    shelves = transaction.shelves
    assert shelves.find("a") == "a, False"
    assert transaction.shelves is shelves
    assert heard.calls == [("metadata.shelves.find", "ok")]
