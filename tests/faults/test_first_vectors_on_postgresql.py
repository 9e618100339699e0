"""Processes on one PostgreSQL database that settle the dimension of a collection."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from fault_tools import add_tenant, at, outcome, unsound
from postgres_workers import Refusal, Worker, at_once, workers

from akidb.deployment.local import LocalOperations, open_local
from akidb.operations.collections import CreateCollection, GetCollection, ListCollections
from akidb.operations.documents import CountDocuments, SearchDocuments, UpsertDocuments
from akidb.services.dimensions import Dimensions
from akidb.settings import Settings

BARE: dict[str, Any] = at("shared", "bare")._asdict()


@pytest.fixture
def operations(postgres_url: str) -> Iterator[LocalOperations]:
    """This process's own connection, with a collection that has no dimension."""
    made = open_local(postgres_url, Settings())
    add_tenant(made, "shared")
    made.perform(CreateCollection(tenant="shared", database="d", name="bare"))
    yield made
    made.close()


@pytest.fixture
def others(postgres_url: str, operations: LocalOperations) -> Iterator[list[Worker]]:
    """Two more processes on the same database."""
    with workers(postgres_url, 2, postgresql_pool_size=4) as made:
        yield made


def write(operations: LocalOperations, length: int) -> int:
    documents = [{"id": str(length), "vector": [1.0] * length}]
    return operations.perform(UpsertDocuments(**BARE, documents=documents)).upserted


def write_own(operations: LocalOperations) -> int:
    """Write a vector whose length differs between processes."""
    return write(operations, 2 + os.getpid() % 2000)


def dimension(operations: LocalOperations) -> int | None:
    return operations.perform(GetCollection(**BARE)).dimension


def die_before_the_metadata_learn(operations: LocalOperations, length: int) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    pytest.MonkeyPatch().setattr(Dimensions, "learn", die)
    write(operations, length)


def test_one_process_settles_the_dimension(operations: LocalOperations, others: list[Worker]) -> None:
    answers = at_once(others, write_own)
    won = dimension(operations)
    assert won is not None
    [refusal] = [answer for answer in answers if isinstance(answer, Refusal)]
    assert (refusal.name, refusal.fields["field"]) == ("InvalidArgument", "documents[0].vector")
    assert f"must have {won} dimensions" in refusal.message
    assert operations.perform(CountDocuments(**BARE)) == 1
    assert unsound(operations) == []


def test_next_process_learns_what_a_killed_one_settled(
    operations: LocalOperations, others: list[Worker]
) -> None:
    assert [others[1].do(dimension), dimension(operations)] == [None, None]
    killed = others.pop(0)
    killed.begin(die_before_the_metadata_learn, 3)
    with pytest.raises(EOFError):
        killed.result()
    [listed] = operations.perform(ListCollections(tenant="shared", database="d")).items
    assert listed.dimension is None
    refusal = others[0].do(write, 2)
    assert "must have 3 dimensions, has 2" in refusal.message
    [listed] = operations.perform(ListCollections(tenant="shared", database="d")).items
    assert (listed.dimension, listed.version) == (3, 2)
    search = SearchDocuments(**BARE, vector=[1.0] * 3)
    assert outcome(lambda o: len(o.perform(search).matches), operations) == 1
    assert unsound(operations) == []
