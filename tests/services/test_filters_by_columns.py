"""Counts, scans, facets, updates, deletions and keyword searches by a filter: by columns as by the rows."""

from typing import Any

import pytest

from akidb.domain import cursors
from akidb.domain.errors import Damaged, InvalidArgument, OperationTimeout, QuotaExceeded
from akidb.domain.field_values import MISSING_KEY, row_key, values_of
from akidb.domain.fields import CollectionPath
from akidb.operations import documents as ask
from akidb.operations.collections import DeleteCollection, GetCollection
from akidb.operations.tenants import CreateTenant, GetTenant, GetUsage, UpdateTenant
from akidb.search import local_columns
from akidb.services import filtered
from akidb.services.answer_limits import AnswerLimits

from .worlds import DIMENSION, World, ids_of, on_files, vector_of

LONG = "é" * 300
LONGEST = "\x02" * 512
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


def expected(field: str, documents: list[dict[str, Any]], *, descending: bool) -> list[str]:
    keys = {
        each["id"]: row_key(values_of(field, each["metadata"]), descending=descending) for each in documents
    }
    found = sorted(sorted(keys), key=keys.__getitem__, reverse=descending)
    return sorted(found, key=lambda each: keys[each] == MISSING_KEY)


@on_files
@pytest.mark.parametrize("quota", [None, 1])
def test_scan_in_the_order_of_a_field(world: World, filled: CollectionPath, quota: int | None) -> None:
    world.ops.perform(UpdateTenant(tenant=filled.tenant, memory_quota_bytes=quota, qps_quota=10**6))
    texts = ["\x01" * 300, "\U0001f642" * 300]
    mixed = [None, True, -1.5, 2**62, 1e300, *texts, {"a": 1}, [], [3, "x"], ["z", None]]
    extra = [{"id": f"x{n}", "metadata": {"some": value}} for n, value in enumerate(mixed)]
    world.on(filled, ask.UpsertDocuments, documents=[*extra, {"id": LONGEST, "text": "x"}])
    every = [*DOCUMENTS, *extra, {"id": LONGEST, "metadata": {}}]
    for field in FIELDS:
        for descending in (False, True):
            order = {"order_by": field, "descending": descending}
            pages = scanned(world, filled, limit=7, **order)
            assert [id for page in pages for id in page] == expected(field, every, descending=descending)
            assert {len(page) for page in pages[:-1]} == {7}
    few = [each for each in every if each["metadata"].get("n", 0) >= 50]
    pages = scanned(world, filled, filter={"n": {"$gte": 50}}, order_by="lang", limit=3)
    assert [id for page in pages for id in page] == expected("lang", few, descending=False)
    assert (usage(world) > 0) == (quota is None)


@on_files
def test_cursor_of_an_order_continues_where_it_ended(world: World, filled: CollectionPath) -> None:
    order = {"order_by": "n", "descending": True, "limit": 2}
    first = world.on(filled, ask.ScanDocuments, **order)
    assert ids_of(first.items) == ["d59", "d58"]
    world.on(filled, ask.DeleteDocuments, ids=["d58"])
    new = [{"id": "a", "metadata": {"n": 57.5}}, {"id": "b", "metadata": {"n": 58.5}}]
    world.on(filled, ask.UpsertDocuments, documents=new)
    second = world.on(filled, ask.ScanDocuments, **order, cursor=first.next_cursor)
    assert ids_of(second.items) == ["a", "d57"]
    for other in ({}, {"order_by": "n"}, {"order_by": "half", "descending": True}):
        with pytest.raises(InvalidArgument, match=r"^cursor: is not a cursor of this list"):
            world.on(filled, ask.ScanDocuments, **other, cursor=second.next_cursor)
    made_up = cursors.encode([2, "text", "id"], "documents", _collection_id(world, filled), None, "n", True)
    with pytest.raises(InvalidArgument, match=r"^cursor: is not a cursor of this list"):
        world.on(filled, ask.ScanDocuments, **order, cursor=made_up)


def _collection_id(world: World, path: CollectionPath) -> Any:
    return world.ops.perform(GetCollection(**path._asdict())).collection_id


@on_files
def test_order_is_limited_as_other_reads_are(
    world: World, filled: CollectionPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidArgument, match=r"^descending: is of no use without order_by"):
        world.on(filled, ask.ScanDocuments, descending=True)
    for bad in ("", "$id", "x" * 513, 1):
        with pytest.raises(InvalidArgument, match=r"^order_by: "):
            world.on(filled, ask.ScanDocuments, order_by=bad)
    service = world.service(ask.ScanDocuments)
    with monkeypatch.context() as patch:
        patch.setattr(service, "_limits", AnswerLimits(3_000, 30))
        pages = scanned(world, filled, order_by="n", filter={"n": {"$lt": 9}})
        assert [id for page in pages for id in page] == [f"d0{n}" for n in range(9)]
        assert len(pages) > 2
    file = world.store_file(world.ops.perform(GetTenant(tenant=filled.tenant)))
    world.execute(file, """UPDATE documents SET metadata = '{"n":7}' WHERE id = 'd01'""")
    page = world.on(filled, ask.ScanDocuments, order_by="n")
    assert ids_of(page.items) == ["d00"]
    with pytest.raises(Damaged) as raised:
        world.on(filled, ask.ScanDocuments, order_by="n", cursor=page.next_cursor)
    page = world.on(
        filled, ask.ScanDocuments, order_by="n", cursor=raised.value.fields["next_cursor"], limit=1
    )
    assert ids_of(page.items) == ["d02"]
    world.on(filled, ask.UpsertDocuments, documents=[{"id": "new", "text": "x"}])
    monkeypatch.setattr(service, "_limits", AnswerLimits(10**6, 1e-9))
    with pytest.raises(OperationTimeout):
        world.on(filled, ask.ScanDocuments, order_by="half")
