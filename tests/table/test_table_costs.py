"""No operation on one thing costs in proportion to the things beside it.

Every operation runs on a stage with a few siblings of each thing, and on one with thousands. The test counts
calls in Python, SQL statements, and the steps of SQLite's virtual machine.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from stage import DIMENSION, ROWS, Ids, build, local, perform, request_of

from akidb.deployment.local import LocalOperations
from akidb.domain.entities import Collection, Database, Tenant, User
from akidb.domain.ids import CollectionId, DatabaseId, TenantId, UserId
from akidb.operations import Operation
from akidb.operations import documents as document
from akidb.operations import tenants as tenant
from akidb.search.memory import VECTORS
from akidb.sql import sqlite_library

FEW, MANY = 10, 4_000
TICK = 50
"""SQLite reports its progress after so many steps of its virtual machine."""

EXEMPT = {
    "tenant.list": "its name filter goes through 2,000 names before it asks the index for rare ones",
    "tenant.count": "counts",
    "database.count": "counts",
    "collection.count": "counts",
    "collection.rebuild_index": "reads all documents",
    "user.count": "counts",
    "backup.create": "copies everything",
    "tenant.export": "copies a tenant with everything in it",
    "tenant.import": "imports a tenant with everything in it",
    "tenant.copy": "copies a tenant with everything in it",
    "migration.v1_to_v2": "converts all tenants",
    "migration.v2_to_v1": "converts all tenants",
    "store.check": "checks everything",
    "store.maintain": "looks after everything",
    "tenant.purge": "clears what deleted rows left in every page of the metadata file",
    "database.purge": "clears what deleted rows left in every page of the tenant's file",
    "collection.purge": "clears what deleted rows left in every page of the tenant's file",
}
"""Operations that may cost more where there is more, and why."""
EXEMPT_STEPS = {
    "tenant.usage": "SQLite counts databases, collections and their documents in one index each",
}
"""Operations of which SQLite alone may do more, and why."""
OTHER_FIELDS: dict[str, dict[str, Any]] = {
    "document.search": {"collection": "changing"},
    "document.search_batch": {"collection": "changing"},
    "document.scan": {"filter": None},
    "document.count": {"filter": None},
    "document.facets": {"filter": None, "collection": "changing"},
    "document.clear": {"tenant": "mine", "collection": "changing"},
    "document.update": {"ids": ["d0", "d1"], "filter": None},
}
"""A request on a few documents, where the sample goes through all of a collection."""


NO_HASH = "$argon2id$v=19$m=8,t=1,p=1$bm8gc2FsdCBhdCBhbGw$bm8gaGFzaA"


MEASURED = sorted(
    (row for row in ROWS if row.name not in EXEMPT),
    key=lambda row: not row.name.startswith("document.search"),
)
"""Search comes first, while every collection is in memory."""


class Cost(NamedTuple):
    """What an operation took."""

    calls: int
    statements: int
    steps: int


class Counter:
    """SQLite's library, with connections that count."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.statements = self.steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def connect(self, *args: Any, **named: Any) -> Any:
        connection = self._library.connect(*args, **named)
        connection.set_progress_handler(self._step, TICK)
        connection.set_trace_callback(self._state)
        return connection

    def _step(self) -> None:
        self.steps += TICK

    def _state(self, _: str) -> None:
        self.statements += 1


def _crowd(operations: LocalOperations, ids: dict[str, Ids], number: int) -> None:
    """Give everything so many siblings, in the quickest way that makes sound rows."""
    runtime = operations._runtime
    mine, now = ids["mine"], datetime.now(UTC)
    times: dict[str, Any] = {"created_at": now, "updated_at": now}
    beside = []
    with runtime.metadata.transaction() as tx:
        for n in range(number):
            name = f"sibling{n:05}"
            tenant_id = runtime.ids.new(TenantId)
            tx.tenants.create(Tenant(tenant_id=tenant_id, name=name, slug=name, external_id=name, **times))
            within: dict[str, Any] = {"tenant_id": mine.tenant, **times}
            database = Database(database_id=runtime.ids.new(DatabaseId), name=name, **within)
            tx.databases.create(database)
            collection = Collection(
                collection_id=runtime.ids.new(CollectionId),
                database_id=mine.database,
                name=name,
                dimension=DIMENSION,
                **within,
            )
            tx.collections.create(collection)
            user = User(user_id=runtime.ids.new(UserId), email=f"{name}@x", **within)
            tx.users.create(user, NO_HASH)
            beside.append(collection)
        kept = tx.tenants.get(mine.tenant)
        kb = tx.databases.get(mine.tenant, mine.database)
    with runtime.stores.existing(mine.tenant) as store:
        assert store is not None
        store.apply(kept, [(kb, each) for each in beside])
        memory = runtime.stores._index._memory.of(mine.tenant, store.store_id)  # type: ignore[attr-defined]
        for control in store.controls():
            memory.take(VECTORS, control, 2**40)
    vectors = np.random.default_rng(1).standard_normal((number, DIMENSION)).astype(np.float32)
    for slug in ("mine", "changing"):
        documents = [{"id": f"s{n:05}", "vector": vectors[n]} for n in range(number)]
        operations.perform(
            document.UpsertDocuments(tenant=slug, database="kb", collection="notes", documents=documents)
        )


@contextmanager
def _counted(counter: Counter) -> Iterator[list[Cost]]:
    found: list[Cost] = []
    calls = 0

    def profile(frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        if event in {"call", "c_call"} and frame.f_code.co_filename != __file__:
            calls += 1

    statements, steps = counter.statements, counter.steps
    previous = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield found
    finally:
        sys.setprofile(previous)
        found.append(Cost(calls, counter.statements - statements, counter.steps - steps))


def _costs(folder: Path, counter: Counter, number: int) -> dict[str, Cost]:
    costs = {}
    with local(folder / f"data{number}", folder) as operations:
        assert isinstance(operations, LocalOperations)
        _crowd(operations, build(operations), number)
        operations.perform(tenant.GetUsage(tenant="mine"))  # opens what is opened once
        for row in MEASURED:
            with _counted(counter) as found:
                if row.name in OTHER_FIELDS:
                    operations.perform(request_of(row, **OTHER_FIELDS[row.name]))
                else:
                    perform(operations, row, folder)
            costs[row.name] = found[0]
    return costs


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Cost]]:
    """The cost of every operation with few siblings and with many."""
    counter = Counter(sqlite_library.library)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_library, "library", counter)
        _costs(tmp_path_factory.mktemp("first"), counter, 1)  # what a process does only once
        return [_costs(tmp_path_factory.mktemp("costs"), counter, number) for number in (FEW, MANY)]


def test_exempt_operations_exist() -> None:
    assert {*EXEMPT, *EXEMPT_STEPS, *OTHER_FIELDS} <= {row.name for row in ROWS}


@pytest.mark.parametrize("row", MEASURED, ids=[row.name for row in MEASURED])
def test_cost_does_not_grow_with_siblings(row: Operation, costs: list[dict[str, Cost]]) -> None:
    few, many = (each[row.name] for each in costs)
    assert many.statements <= few.statements + 2
    assert many.calls <= few.calls + MANY // 8
    if row.name not in EXEMPT_STEPS:
        assert many.steps <= few.steps + MANY // 2
