"""Random operations on tenants, databases, collections and users match a model in plain dicts.

A failure prints its steps and the seed. The short run is deterministic; the long run uses random seeds.
"""

import itertools
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from metadata_deployments import Clock, Databases, Files, Place
from metadata_events import MetadataMachine
from metadata_machine import STEPS
from msgspec.structs import replace

from akidb.documents.writer import SqlDocumentWriter
from akidb.metadata import versioned_rows as rows
from akidb.metadata.audit import SqlAuditLog
from akidb.metadata.collections import SqlCollectionRepository
from akidb.metadata.tenants import SqlTenantCatalog
from akidb.operations import OPERATIONS
from akidb.services import databases
from akidb.sql.answers import SqlAnswers

Tally = Counter[tuple[str, str]]
ERRORS = {
    "already_exists",
    "idempotency_mismatch",
    "invalid_argument",
    "invalid_state",
    "not_found",
    "precondition_failed",
    "quota_exceeded",
    "rate_limited",
    "unauthenticated",
}
OFFERED = {
    row.name
    for row in OPERATIONS.values()
    if row.feature in {"tenant", "database", "collection", "user"} and row.takes == row.gives == "json"
}
"""Archives are bytes, and have tests of their own."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    made.install(monkeypatch)
    return made


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Place:
    if request.param == "sqlite":
        return Files(tmp_path)
    return Databases(request.getfixturevalue("postgres_server"), tmp_path)


def run(place: Place, clock: Clock, number: int, *, steps: int, shrink: bool = True) -> Tally:
    """Let ten examples of up to so many steps happen; gives how often each call came out how.

    They are the same for the same number. Of more than ten, most would be slight changes of others.
    """
    tally: Tally = Counter()

    @seed(number)
    class Seeded(MetadataMachine):
        def __init__(self) -> None:
            super().__init__(place, clock, tally)

    how = settings(
        max_examples=10,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(Seeded, settings=how)
    except AssertionError as error:
        error.add_note(f"in the examples of seed {number}")
        raise
    return tally


@pytest.mark.parametrize(
    ("place", "least"),
    [("sqlite", 1_000), pytest.param("postgresql", 1_000, marks=pytest.mark.slow)],
    indirect=["place"],
)
def test_1_000_steps_match_model(place: Place, clock: Clock, least: int) -> None:
    tally: Tally = Counter()
    for number in range(3):
        tally += run(place, clock, number, steps=100)
    assert tally[STEPS] >= least


@pytest.mark.slow
def test_100_000_steps_match_model(place: Place, clock: Clock) -> None:
    tally: Tally = Counter()
    numbers = itertools.count(random.randrange(10**9))
    while tally[STEPS] < 100_000:
        tally += run(place, clock, next(numbers), steps=200)
    assert {code for _, code in tally} >= ERRORS
    succeeded = {operation for operation, code in tally if code == "ok"}
    assert succeeded >= OFFERED, "what never succeeds is not tested"


# The machine itself is tested: each of these programs has one fault, which it must find.

Fault = Callable[[pytest.MonkeyPatch], None]


def wrapped(patch: pytest.MonkeyPatch, owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Replace a function by one that is given it besides its arguments."""
    inner = getattr(owner, name)
    patch.setattr(owner, name, lambda *given, **named: around(inner, *given, **named))


def a_restored_tenant_is_active(patch: pytest.MonkeyPatch) -> None:
    def restore(inner: Any, catalog: Any, tenant: Any, now: Any) -> Any:
        restored = inner(catalog, tenant, now)
        if restored.status == "active":
            return restored
        active = restored.changed(now, status="active")
        catalog.update(active)
        return active

    wrapped(patch, SqlTenantCatalog, "restore", restore)


def a_quota_is_not_given_back(patch: pytest.MonkeyPatch) -> None:
    def account(inner: Any, writer: Any, *, documents: int, size: int, writes: int) -> Any:
        return inner(writer, documents=documents, size=max(size, 0), writes=writes)

    wrapped(patch, SqlDocumentWriter, "_account", account)


def a_cursor_skips_one(patch: pytest.MonkeyPatch) -> None:
    def page(inner: Any, read: Any, limit: int, cursor_of: Any) -> Any:
        found: list[Any] = []

        def reading(number: int) -> Any:
            found[:] = got = read(number)
            return got

        return inner(reading, limit, lambda last: cursor_of(found[limit] if len(found) > limit else last))

    wrapped(patch, rows, "readable_page", page)


def a_stale_version_is_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(databases, "check_version", lambda *_: None)


def a_key_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SqlAnswers, "find", lambda *_: None)
    patch.setattr(SqlAnswers, "add", lambda *_: None)


def an_audit_entry_lacks_its_reason(patch: pytest.MonkeyPatch) -> None:
    wrapped(patch, SqlAuditLog, "add", lambda inner, log, entry: inner(log, replace(entry, reason=None)))


def a_name_of_another_database_is_found(patch: pytest.MonkeyPatch) -> None:
    def find(
        inner: Any, repository: Any, tenant_id: Any, database_id: Any, collection: Any, **how: Any
    ) -> Any:
        found = inner(repository, tenant_id, database_id, collection, **how)
        if found is None and not isinstance(collection, str) and not how.get("deleted"):
            pair = repository.find_with_database(tenant_id, collection)
            return None if pair is None or pair[1].deleted_at else pair[1]
        return found

    wrapped(patch, SqlCollectionRepository, "find", find)


SLOW = pytest.mark.slow


def search(place: Place, clock: Clock) -> None:
    for number in range(40):
        run(place, clock, number, steps=100, shrink=False)


@pytest.mark.parametrize(
    "fault",
    [
        a_quota_is_not_given_back,
        a_cursor_skips_one,
        a_key_is_forgotten,
        pytest.param(a_restored_tenant_is_active, marks=SLOW),
        pytest.param(a_stale_version_is_taken, marks=SLOW),
        pytest.param(an_audit_entry_lacks_its_reason, marks=SLOW),
        pytest.param(a_name_of_another_database_is_found, marks=SLOW),
    ],
)
def test_injected_fault_is_detected(
    fault: Fault, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Files(tmp_path)
    fault(monkeypatch)
    with pytest.raises(AssertionError, match=", not "):
        search(place, clock)
