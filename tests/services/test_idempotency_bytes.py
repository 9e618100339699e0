"""Stored responses to requests with an idempotency key: small, bounded by tenant, and removed in time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from akidb.domain.documents import UpsertMode, UpsertResult
from akidb.domain.errors import QuotaExceeded
from akidb.domain.ids import IdGenerator, TenantId
from akidb.operations.collections import DeleteCollection, PurgeCollection
from akidb.operations.documents import CountDocuments, DeleteDocuments, UpdateDocuments, UpsertDocuments
from akidb.operations.tenants import DeleteTenant, GetTenant, GetUsage, PurgeTenant, UpdateTenant
from akidb.operations.upkeep import MaintainStores
from akidb.ports import wire
from akidb.services.batches import check_documents
from akidb.services.idempotency import KeptIds
from akidb.sql import answers
from clocks import SetClock

from .reaching import metadata_rows, store_rows
from .worlds import World, keyed, notes

VECTOR = [1.0] * 16
MIB = 2**20


def in_store(world: World, tenant_id: TenantId) -> tuple[int, int]:
    """The bytes of the answers in a tenant's store, as they are and as they are counted."""
    rows = store_rows(world, tenant_id, "remembered_answers")
    size = sum(len(value) for row in rows for value in row if isinstance(value, bytes))
    (control,) = store_rows(world, tenant_id, "control")
    return size, control[-2]  # before the bytes of deletions


def in_metadata(world: World, tenant_id: TenantId) -> tuple[int, int]:
    """The same of its answers in the metadata, counted with what a row takes."""
    size = "SELECT coalesce(sum(length(answer) + 512), 0) FROM remembered_answers WHERE tenant_id = {tenant}"
    counted = "SELECT coalesce(sum(bytes), 0) FROM answer_totals WHERE tenant_id = {tenant}"
    [(found,)], [(total,)] = (metadata_rows(world, statement, tenant_id) for statement in (size, counted))
    return int(found), int(total)


def test_response_to_upsert_is_stored_without_the_ids_of_the_request(world: World) -> None:
    path = world.place()
    tenant_id = world.ops.perform(GetTenant(tenant="aki-labs")).tenant_id
    documents: list[dict[str, Any]] = [{"id": f"{n:>0500}", "vector": VECTOR} for n in range(200)]
    documents[7:7] = [{"text": "made", "vector": VECTOR}, {"text": "made too", "vector": VECTOR}]
    results = []
    for number in range(10):
        with keyed(idempotency_key=f"k{number}"):
            results.append(world.on(path, UpsertDocuments, documents=documents))
    size, counted = in_store(world, tenant_id)
    assert size < 10 * 200
    assert counted < 10 * 1000
    world.reopen()
    for number in (0, 9):
        with keyed(idempotency_key=f"k{number}"):
            assert world.on(path, UpsertDocuments, documents=documents) == results[number]
    assert results[0].ids[6:10] == [documents[6]["id"], *results[0].ids[7:9], documents[9]["id"]]
    assert world.on(path, CountDocuments) == 200 + 2 * 10


def test_response_stored_by_an_older_version_is_still_returned(world: World) -> None:
    world.place()
    collection = world.collection(name="other")
    checked = check_documents(
        [{"id": "a", "vector": VECTOR}], collection, IdGenerator(lambda: 1, lambda _: 1)
    )
    old = UpsertResult(upserted=1, ids=["as it was"])
    assert KeptIds(checked.ids, checked.made_at, UpsertMode.UPSERT).decode(wire.encode(old)) == old


def refused(ask: Callable[[str], object], most: int) -> int:
    """How many requests with a key are answered until their answers would take too much."""
    for number in range(most):
        with keyed(idempotency_key=f"refused-{number}"):
            fields = fields_of_refusal(ask, str(number))
        if fields is not None:
            assert fields["quota"] == "remembered_answers_bytes"
            assert fields["used"] <= fields["limit"] < fields["used"] + fields["requested"]
            return number
    pytest.fail("it was never refused")


def fields_of_refusal(ask: Callable[[str], object], number: str) -> dict[str, Any] | None:
    try:
        ask(number)
    except QuotaExceeded as error:
        return error.fields
    return None


def test_responses_of_documents_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MIN_LIMIT_BYTES", 5_000)
    path = world.place()
    world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=40_000))
    one: dict[str, Any] = {"documents": [{"text": "x", "vector": VECTOR}]}
    written = refused(lambda _: world.on(path, UpsertDocuments, **one), 20)
    assert written == 5_000 // (512 + 17)
    assert world.on(path, CountDocuments) == written  # nothing of the refused one is stored
    world.on(path, UpsertDocuments, **one)
    assert world.on(path, DeleteDocuments, filter={"$id": {"$ne": "a"}}) == written + 1
    with keyed(idempotency_key="refused-0"):
        assert world.on(path, UpsertDocuments, **one).upserted == 1  # the first response
    assert world.on(path, CountDocuments) == 0
    world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=80_000))
    with keyed(idempotency_key="more"):
        assert world.on(path, UpdateDocuments, metadata={"a": 1}, ids=["a"]) == 0


def test_responses_of_metadata_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MIN_LIMIT_BYTES", 100_000)
    tenant = world.tenant()
    world.tenant("Another")
    world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=1_000))
    metadata = {"text": "x" * 30_000}
    renamed = refused(
        lambda number: world.ops.perform(UpdateTenant(tenant="aki-labs", name=number, metadata=metadata)), 20
    )
    assert renamed == 3
    assert world.ops.perform(GetTenant(tenant="aki-labs")).name == "2"
    found, counted = in_metadata(world, tenant.tenant_id)
    assert found == counted <= 100_000
    world.ops.perform(UpdateTenant(tenant="aki-labs", name="without a key"))
    with keyed(idempotency_key="another's"):
        world.ops.perform(UpdateTenant(tenant="another", metadata=metadata))


def test_bytes_of_responses_are_counted_exactly(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.place()
    doomed = path._replace(collection="doomed")
    world.collection(name="doomed")
    tenant_id = world.ops.perform(GetTenant(tenant="aki-labs")).tenant_id
    for number in range(3):
        with keyed(idempotency_key=f"k{number}"):
            world.on(path, UpsertDocuments, documents=[{"vector": VECTOR}])
            world.on(doomed, UpsertDocuments, documents=notes("a"))
            world.ops.perform(UpdateTenant(tenant="aki-labs", name=f"N{number}"))
    rows = store_rows(world, tenant_id, "remembered_answers")
    found, counted = in_metadata(world, tenant_id)
    assert found == counted > 0
    assert in_store(world, tenant_id)[1] == 3 * (512 + 17) + 3 * (512 + 1)
    assert len(rows) == 6
    world.on(doomed, DeleteCollection)
    world.on(doomed, PurgeCollection)
    assert in_store(world, tenant_id)[1] == 3 * (512 + 17)
    SetClock(datetime.now(UTC) + timedelta(hours=25)).install(monkeypatch)
    world.reopen()
    with keyed(idempotency_key="later"):
        world.on(path, UpsertDocuments, documents=notes("b"))
    assert in_store(world, tenant_id)[1] == 512 + 1
    world.ops.perform(MaintainStores())
    assert in_metadata(world, tenant_id) == (0, 0)
    assert world.ops.perform(GetUsage(tenant="aki-labs")).documents == 4
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    with keyed(idempotency_key="purged"):
        world.ops.perform(PurgeTenant(tenant=tenant_id))
    assert in_metadata(world, tenant_id) == (0, 0)
