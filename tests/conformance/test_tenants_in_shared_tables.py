"""Tenant isolation in shared tables: results and rows are unaffected by other tenants.

Every store operation runs beside a tenant with the same keys, and is compared with the same operation in a
separate file.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from samples import EVERYTHING, Clock, batch, document, key, replaced
from twins import TABLES, TENANTS, TWINS_QUOTA, Twin, restart_keys, rows_of

from akidb.documents import deletions
from akidb.documents.postgresql import PostgresTenantStores
from akidb.documents.sqlite_pool import SqliteTenantStores
from akidb.documents.tables import SHARED
from akidb.domain.changes import DocumentChange
from akidb.domain.documents import Document
from akidb.domain.errors import AkiDBError, NotFound, Unavailable
from akidb.domain.filters import Filter
from akidb.domain.ids import StoreId, TenantId
from akidb.domain.lifecycle import CollectionState, DatabaseState, TenantStatus
from akidb.ports.documents import Row, Selection
from akidb.ports.stores import TenantStore
from akidb.sql import postgresql_session
from postgres import Server

Act = Callable[[Twin], Any]


@pytest.fixture(scope="module")
def shared_url(postgres_server: Server) -> Iterator[str]:
    url = postgres_server.url()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def shared(shared_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresTenantStores]:
    """Empty shared tables, with a short lock timeout."""
    monkeypatch.setitem(postgresql_session._TIMEOUTS, "lock_timeout", "2s")
    made = PostgresTenantStores(shared_url, max_open=8)
    with made._database.write() as connection:
        connection.exec_driver_sql(f"TRUNCATE {', '.join(TABLES)}")
    yield made
    made.close()


@pytest.fixture(params=[(0, 1), (1, 0)], ids=["", "turned"])
def pair(request: pytest.FixtureRequest, shared: PostgresTenantStores, clock: Clock) -> tuple[Twin, Twin]:
    """The tenant and its twin, in both ID and creation orders."""
    own, other = (Twin(shared, clock, TENANTS[number]) for number in request.param)
    fillings = [(own, Twin.fill_as_own), (other, Twin.fill_as_twin)]
    for twin, fill in fillings if request.param[0] else reversed(fillings):
        restart_keys(shared, "document_keys")
        fill(twin)
    return own, other


@pytest.fixture
def alone(pair: tuple[Twin, Twin], tmp_path: Path, clock: Clock) -> Iterator[Twin]:
    """The tenant in a separate file."""
    stores = SqliteTenantStores(tmp_path, max_open=8)
    made = Twin(stores, clock, pair[0].tenant.tenant_id)
    made.fill_as_own()
    yield made
    stores.close()


def plain(found: Any) -> Any:
    """What was found, in a form that can be compared."""
    if isinstance(found, Document | DocumentChange):
        vector = None if found.vector is None else found.vector.tobytes()
        return (type(found).__name__, *(getattr(found, name) for name in _FIELDS[type(found)]), vector)
    if isinstance(found, Row):
        return (found.sequence, found.id, found.vector, found.text, found.metadata)
    if isinstance(found, dict):
        return {name: plain(value) for name, value in found.items()}
    if isinstance(found, Sequence) and not isinstance(found, str | bytes):
        return [plain(each) for each in found]
    return found


_FIELDS = {
    kind: [name for name in kind.__struct_fields__ if name != "vector"] for kind in (Document, DocumentChange)
}


def done(act: Act, twin: Twin) -> Any:
    """What the act gives, or the error that it raises."""
    try:
        return plain(act(twin))
    except AkiDBError as error:
        fields = {name: str(value) for name, value in error.fields.items()}
        return type(error).__name__, fields


EVERY = Filter.parse({"$or": [{"mine": True}, {"mine": {"$ne": True}}]})


def read(act: Callable[[Any], Any]) -> Act:
    def reading(twin: Twin) -> Any:
        with twin.reading() as reader:
            return act(reader)

    return reading


def write(act: Callable[[Any], Any]) -> Act:
    def writing(twin: Twin) -> Any:
        with twin.writing() as writer:
            return act(writer)

    return writing


def answer(name: str, arguments: bytes) -> Act:
    def looking(twin: Twin) -> Any:
        with twin.reading() as reader:
            return reader.answers.find(key("documents.upsert", name, arguments), twin.clock.now)

    return looking


def changes(reader: Any) -> Any:
    found = reader.changes(0, contents=True)
    return list(found.deleted), list(found.rows)


def new_rows(reader: Any) -> Any:
    return list(reader.changes(3, contents=False).rows)


def image(twin: Twin) -> Any:
    """All that an archive has of the store."""
    with twin.open() as store, store.image() as found:
        collections = found.collections()
        return [
            (
                str(each),
                [
                    (p.sequences, p.ids, p.texts, p.metadata, p.vectors.tobytes())
                    for p in found.documents(each.collection_id)
                ],
                [(part.sequences, part.ids) for part in found.tombstones(each.collection_id)],
            )
            for each in collections
        ]


def controls(twin: Twin) -> Any:
    with twin.open() as store:
        return store.control_state()._replace(), [str(each) for each in store.controls()]


def too_many(twin: Twin) -> Any:
    """More than the tenant's own storage quota takes, and less than the twin's."""
    twin.upsert(*(document(f"n{number}", "x" * 200) for number in range(10)))


def as_many_as_fit(twin: Twin) -> Any:
    """More than the twin could take."""
    twin.upsert(*(document(f"n{number}") for number in range(6)))


def forget_tombstones(twin: Twin) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletions, "TOMBSTONES_KEPT", 0)
        return twin.delete("a", "b")


def stop(twin: Twin) -> Any:
    twin.set_tenant(status=TenantStatus.SUSPENDED, storage_quota_bytes=1)
    return controls(twin)


def delete_everything(twin: Twin) -> Any:
    twin.set_database(state=DatabaseState.DELETING)
    twin.set_collection(state=CollectionState.DELETING, max_document_count=1)
    return controls(twin)


def copy(twin: Twin) -> Any:
    """The store of a third tenant, made of this one, which has the first collection alone."""
    made, store_id = TenantId(bytes([*[1] * 15, 3])), StoreId(bytes([3] * 16))
    with twin.open() as store, store.image() as found:
        (kept,) = (c for c in found.collections() if c.collection_id == twin.collection.collection_id)
        twin.stores.branch(made, store_id, found, {kept.collection_id: kept})
    with (
        twin.stores.open(made, store_id, lambda _store: None) as store,
        store.image() as found,
    ):
        ids = [
            (part.ids, part.texts)
            for each in found.collections()
            for part in found.documents(each.collection_id)
        ]
        dead = [part.ids for each in found.collections() for part in found.tombstones(each.collection_id)]
        return store.usage(), store.check(), ids, dead


def fill_anew(twin: Twin) -> Any:
    """Make the store again, of an image of itself."""
    with twin.open() as store, store.image() as found:
        collection = found.collections()[0]
        parts: list[Any] = [collection, *found.documents(collection.collection_id)]
    twin.stores.remove(twin.tenant.tenant_id)
    restart_keys(twin.stores)
    with twin.stores.filling(twin.tenant.tenant_id, twin.store_id) as filler:
        for part in parts:
            filler.add(part)
    return twin.check()


def begin_anew(twin: Twin) -> Any:
    twin.stores.remove(twin.tenant.tenant_id)
    twin.stores.create(twin.tenant.tenant_id, twin.store_id)
    return twin.usage()


ACTS: dict[str, Act] = {
    "get": lambda twin: twin.get(*"abcdefgh"),
    "scan": lambda twin: twin.all_ids(),
    "scan with a filter": read(lambda r: r.scan(after=None, filter=EVERY, include=EVERYTHING, limit=3)),
    "count": read(lambda r: r.count(None)),
    "count with a filter": read(lambda r: r.count(EVERY)),
    "fetch": read(lambda r: r.fetch([*range(1, 20)], EVERYTHING)),
    "changes": read(changes),
    "new rows": read(new_rows),
    "feed": read(lambda r: r.feed(0, 100, EVERYTHING).changes),
    "control of a collection": read(lambda r: str(r.control)),
    "controls": controls,
    "usage": Twin.usage,
    "check": Twin.check,
    "image": image,
    "answer": answer("first", b"own"),
    "answer of the twin": answer("second", b"twin's"),
    "answer to the twin's arguments": answer("first", b"twin's"),
    "remember with the twin's key": lambda twin: twin.answer("second", b"own"),
    "remember a day later": lambda twin: twin.answer("third", b"own", ago_hours=-25),
    "upsert": lambda twin: twin.upsert(document("a", "new"), document("e", "new")),
    "upsert of what the twin has": lambda twin: twin.upsert(document("g", "x"), document("f")),
    "upsert beyond the quota": too_many,
    "upsert within the quota": as_many_as_fit,
    "delete by id": lambda twin: twin.delete("a", "e", "f"),
    "delete all": write(lambda w: w.delete(Selection(filter=EVERY))),
    "delete all without a filter": write(lambda w: w.delete(Selection())),
    "forget old tombstones": forget_tombstones,
    "update by id": write(lambda w: w.update(Selection(ids=["b", "e"]), replaced({"n": 2}))),
    "update all": write(lambda w: w.update(Selection(filter=EVERY), replaced({"n": 3}))),
    "upsert into another collection": lambda twin: twin.upsert(document("z"), collection=twin.drafts),
    "stop the tenant": stop,
    "delete the database": delete_everything,
    "tell of a new collection": lambda twin: twin.apply(twin.new_collection("third")),
    "purge a collection": lambda twin: twin.apply(purged=[twin.collection.collection_id]),
    "purge another collection": lambda twin: twin.apply(purged=[twin.drafts.collection_id]),
    "copy": copy,
    "fill anew": fill_anew,
    "begin anew": begin_anew,
    "remove": lambda twin: twin.stores.remove(twin.tenant.tenant_id),
    "remove what is unused": lambda twin: twin.stores.remove_unused(twin.tenant.tenant_id),
}


@pytest.mark.parametrize("name", ACTS)
def test_operation_beside_twin_matches_isolated_store_and_leaves_twin_unchanged(
    name: str, pair: tuple[Twin, Twin], alone: Twin, clock: Clock
) -> None:
    own, twin = pair
    before = twin.rows()
    clock.advance(hours=2)
    wanted = done(ACTS[name], alone)
    assert done(ACTS[name], own) == wanted
    assert own.rows() == alone.rows()
    assert twin.rows() == before


def test_removed_store_is_not_found_while_twin_exists(pair: tuple[Twin, Twin]) -> None:
    own, _ = pair
    with own.open() as store:
        own.stores.remove(own.tenant.tenant_id)
        for look in (store.control_state, store.usage, lambda: store.apply(own.tenant, [])):
            with pytest.raises(NotFound) as caught:
                look()
            assert caught.value.fields["entity"] == "tenant"
        assert store.controls() == []
        with pytest.raises(NotFound), store.read(own.collection.collection_id):
            pytest.fail("it was let through")
        with pytest.raises(NotFound), store.transaction(own.collection.collection_id):
            pytest.fail("it was let through")
    own.stores.mark_stale(own.tenant.tenant_id)
    with pytest.raises(Unavailable, match="is missing"), own.open():
        pytest.fail("it was opened")
    assert own.stores.remove_unused(own.tenant.tenant_id)


def test_open_beside_twin_opens_own_store_only(pair: tuple[Twin, Twin], shared_url: str) -> None:
    own, twin = pair
    stores = PostgresTenantStores(shared_url, max_open=8)
    for each, other in ((own, twin), (twin, own)):
        with stores.open(each.tenant.tenant_id, each.store_id, lambda _store: None) as store:
            assert store.control_state().tenant_version == each.tenant.version
        with (
            pytest.raises(Unavailable, match="is not the one"),
            stores.open(each.tenant.tenant_id, other.store_id, lambda _store: None),
        ):
            pytest.fail("it was opened")
    stores.close()


def test_empty_store_beside_twin_adopts_store_id_from_metadata(pair: tuple[Twin, Twin]) -> None:
    own, twin = pair
    before = twin.rows()
    own.stores.remove(own.tenant.tenant_id)
    own.stores.create(own.tenant.tenant_id, StoreId(bytes([7] * 16)))
    third, thirds = TenantId(bytes([*[1] * 15, 3])), StoreId(bytes([8] * 16))
    own.stores.create(third, thirds)
    with own.open() as store:
        assert store.store_id == own.store_id
    assert isinstance(own.stores, PostgresTenantStores)
    ((found, *_),) = rows_of(own.stores._database, SHARED, third)["control"]
    assert found == thirds
    (control,) = own.rows()["control"]
    assert own.store_id in control
    assert twin.rows() == before


def test_transaction_does_not_block_other_tenant(pair: tuple[Twin, Twin]) -> None:
    own, twin = pair
    twin.set_tenant(status=TenantStatus.ACTIVE)
    tenant_id = twin.tenant.tenant_id
    with own.writing() as writer:
        writer.upsert(batch([document("a")]))
        twin.upsert(document("a"))
        twin.delete("a")
        twin.set_tenant(storage_quota_bytes=TWINS_QUOTA + 1)
        assert not twin.stores.remove_unused(tenant_id)
        twin.stores.remove(tenant_id)
        twin.stores.create(tenant_id, twin.store_id)
        assert twin.stores.remove_unused(tenant_id)
        with twin.stores.filling(tenant_id, twin.store_id):
            pass


def test_preparing_store_does_not_block_other_tenant(pair: tuple[Twin, Twin]) -> None:
    own, twin = pair
    done = []

    def prepare(_store: TenantStore) -> None:
        with twin.stores.exclusive(twin.tenant.tenant_id):
            done.append(twin.usage())

    own.stores.mark_stale(own.tenant.tenant_id)
    with own.stores.open(own.tenant.tenant_id, own.store_id, prepare):
        assert done == [twin.usage()]
