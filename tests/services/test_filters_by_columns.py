"""Counts, scans, facets, updates, deletions and keyword searches by a filter: by columns as by the rows."""

from typing import Any

import pytest

from akidb.domain.errors import Damaged, OperationTimeout, QuotaExceeded
from akidb.domain.fields import CollectionPath
from akidb.operations import documents as ask
from akidb.operations.collections import DeleteCollection
from akidb.operations.tenants import CreateTenant, GetTenant, GetUsage, UpdateTenant
from akidb.search import local_columns
from akidb.services import filtered
from akidb.services.answer_limits import AnswerLimits

from .worlds import DIMENSION, World, ids_of, on_files, vector_of

LONG = "é" * 300
DOCUMENTS: list[dict[str, Any]] = [
    {
        "id": f"d{n:02}",
        "text": ["one fox", "two foxes", None][n % 3],
        "vector": None if n % 4 == 3 and n % 3 != 2 else vector_of(str(n)),
        "metadata": {
            "n": n,
            "half": n / 2,
            "lang": ["en", "de", "fr"][n % 3],
            "tags": ["all", f"t{n % 5}"],
            "of": [{"deep": n % 7}, {"deep": None}],
            "long": LONG + str(n % 2),
            **({"some": n % 2 == 0} if n % 5 else {}),
        },
    }
    for n in range(60)
]
FILTERS: list[dict[str, Any]] = [
    {"lang": "de"},
    {"n": {"$gte": 55}},
    {"$or": [{"half": {"$lt": 2}}, {"of.deep": 3}]},
    {"some": {"$exists": False}, "tags": "t0"},
    {"long": LONG + "1", "n": {"$lt": 9}},
    {"$text": {"$contains": "foxes"}, "$id": {"$gt": "d40"}},
    {"long": {"$contains": LONG + "0"}},
    {"lang": "none"},
]
FIELDS = ["lang", "tags", "of.deep", "some", "half", "long", "none"]


def usage(world: World, tenant: str = "aki-labs") -> int:
    return int(world.ops.perform(GetUsage(tenant=tenant)).memory_bytes.used)


def scanned(world: World, path: CollectionPath, **asked: Any) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        page = world.on(path, ask.ScanDocuments, cursor=cursor, **asked)
        pages.append(ids_of(page.items))
        cursor = page.next_cursor
        if cursor is None:
            return pages


def answers(world: World, path: CollectionPath) -> list[Any]:
    found: list[Any] = []
    for filter in FILTERS:
        found.append(world.on(path, ask.CountDocuments, filter=filter))
        found += [scanned(world, path, filter=filter, limit=limit) for limit in (2, 7, 100)]
        keywords = {"mode": "keyword", "text": "fox", "top_k": 5}
        found.append(ids_of(world.on(path, ask.SearchDocuments, filter=filter, **keywords).matches))
        facets = [world.on(path, ask.GetFacets, field=field, filter=filter) for field in FIELDS]
        found.append(facets)
    return [*found, [world.on(path, ask.GetFacets, field=field) for field in FIELDS]]


@pytest.fixture
def filled(world: World, path: CollectionPath) -> CollectionPath:
    world.on(path, ask.UpsertDocuments, documents=DOCUMENTS)
    return path


@on_files
def test_answers_are_those_of_the_rows(
    world: World, filled: CollectionPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filtered, "SCANNED_ROWS", 3)
    world.ops.perform(UpdateTenant(tenant=filled.tenant, qps_quota=10**6))
    world.ops.perform(CreateTenant(name="Small", slug="small", memory_quota_bytes=1, qps_quota=10**6))
    world.database("small")
    world.collection("small", dimension=DIMENSION)
    small = CollectionPath("small", "kb", "notes")
    world.on(small, ask.UpsertDocuments, documents=DOCUMENTS)
    assert answers(world, filled) == answers(world, small)
    assert (usage(world) > 0, usage(world, "small")) == (True, 0)
    for number, filter in enumerate(FILTERS[::2]):
        for path in (filled, small):
            change: dict[str, Any] = {"lang": "new", "tags": None, "n": number, "of": {"deep": [number]}}
            selected = world.on(path, ask.CountDocuments, filter=filter)
            assert world.on(path, ask.UpdateDocuments, filter=filter, metadata=change) == selected
        assert answers(world, filled) == answers(world, small)
    for filter in ({"n": {"$lt": 3}}, {"lang": "new"}, {"$text": {"$contains": "one"}}):
        left = [world.on(path, ask.DeleteDocuments, filter=filter) for path in (filled, small)]
        assert left[0] == left[1] > 0
        assert answers(world, filled) == answers(world, small)


@on_files
def test_rows_of_a_large_collection_are_read_for_the_first_question(
    world: World, filled: CollectionPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_columns, "SMALL_ROWS", 10)
    assert world.on(filled, ask.DeleteDocuments, filter={"n": 0}) == 1
    assert usage(world) == 0
    assert world.on(filled, ask.CountDocuments, filter={"n": {"$lt": 5}}) == 4
    assert usage(world) > 0


@on_files
def test_columns_leave_memory_with_their_collection_or_for_a_smaller_quota(
    world: World, filled: CollectionPath
) -> None:
    tenant = filled.tenant
    assert world.on(filled, ask.CountDocuments, filter={"lang": "de"}) == 20
    taken = usage(world)
    world.on(filled, ask.SearchDocuments, vector=vector_of("1"))
    vectors = usage(world) - taken
    assert min(taken, vectors) > 0
    world.ops.perform(UpdateTenant(tenant=tenant, memory_quota_bytes=taken + vectors - 1))
    for _ in range(2):  # the vectors stay, and do not take turns with the columns
        world.on(filled, ask.SearchDocuments, vector=vector_of("1"))
        assert usage(world) == vectors
        assert world.on(filled, ask.CountDocuments, filter={"lang": "de"}) == 20
        assert usage(world) == vectors
    world.ops.perform(UpdateTenant(tenant=tenant, memory_quota_bytes=None))
    assert world.on(filled, ask.CountDocuments, filter={"lang": "fr"}) == 20
    world.ops.perform(DeleteCollection(**filled._asdict()))
    assert usage(world) == 0


def test_refused_write_is_not_seen_by_columns(world: World, filled: CollectionPath) -> None:
    assert world.on(filled, ask.CountDocuments, filter={"lang": "de"}) == 20
    used = world.ops.perform(GetUsage(tenant=filled.tenant)).storage_bytes.used
    world.ops.perform(UpdateTenant(tenant=filled.tenant, storage_quota_bytes=used))
    with pytest.raises(QuotaExceeded):
        world.on(filled, ask.UpdateDocuments, filter={"lang": "de"}, metadata={"lang": "longer"})
    assert world.on(filled, ask.CountDocuments, filter={"lang": "de"}) == 20
    assert world.on(filled, ask.CountDocuments, filter={"lang": "longer"}) == 0
    assert world.on(filled, ask.UpdateDocuments, filter={"lang": "de"}, metadata={"lang": "x"}) == 20
    assert world.on(filled, ask.CountDocuments, filter={"lang": "x"}) == 20
    assert scanned(world, filled, filter={"lang": "x", "n": {"$lt": 9}}) == [["d01", "d04", "d07"]]
    assert world.on(filled, ask.DeleteDocuments, filter={"lang": "x"}) == 20


@on_files
def test_document_damaged_after_it_was_read_is_not_written_to(world: World, filled: CollectionPath) -> None:
    by_filter = {"filter": {"n": {"$in": [1, 2]}}}
    assert world.on(filled, ask.CountDocuments, **by_filter) == 2
    file = world.store_file(world.ops.perform(GetTenant(tenant=filled.tenant)))
    world.execute(file, """UPDATE documents SET metadata = '{"n":7}' WHERE id = 'd02'""")
    for request, fields in ((ask.DeleteDocuments, {}), (ask.UpdateDocuments, {"metadata": {"n": 3}})):
        with pytest.raises(Damaged) as raised:
            world.on(filled, request, **by_filter, **fields)
        assert raised.value.document_id == "d02"
    with pytest.raises(Damaged):
        world.on(filled, ask.ScanDocuments, filter={"n": 2})
    page = world.on(filled, ask.ScanDocuments, **by_filter)
    assert (ids_of(page.items), page.next_cursor is None) == (["d01"], False)
    assert world.on(filled, ask.CountDocuments, filter={"n": 1}) == 1
    world.on(filled, ask.UpsertDocuments, documents=[{"id": "other", "text": "x"}])
    assert world.on(filled, ask.DeleteDocuments, filter={"n": {"$lt": 2}}) == 2


@on_files
def test_scan_whose_time_is_up_still_advances(
    world: World, filled: CollectionPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.on(filled, ask.CountDocuments, filter={"n": 59}) == 1
    monkeypatch.setattr(filtered, "SCANNED_ROWS", 20)
    service = world.service(ask.ScanDocuments)
    monkeypatch.setattr(service, "_limits", AnswerLimits(10**6, 1e-9))
    with pytest.raises(OperationTimeout):
        world.on(filled, ask.CountDocuments, filter={"n": 58})
    pages = scanned(world, filled, filter={"n": 58})
    assert [len(page) for page in pages] == [0, 0, 1]
