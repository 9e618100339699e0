"""Audit entries, the outbox, the store registry, idempotency answers, full paths and counts."""

from datetime import timedelta

import pytest
from samples import Clock, Library, RawSql, key

from akidb.domain.entities import Collection, Database, Tenant
from akidb.domain.errors import AlreadyExists, IdempotencyMismatch, InvalidArgument, NotFound
from akidb.domain.ids import DatabaseId, StoreId, TenantId
from akidb.metadata.store import PostgresMetadataStore
from akidb.ports.conflicts import TransactionConflict
from akidb.ports.metadata import MetadataStore


@pytest.fixture
def tenant(library: Library) -> Tenant:
    return library.tenant()


@pytest.fixture
def database(library: Library, tenant: Tenant) -> Database:
    return library.database(tenant)


@pytest.fixture
def collection(library: Library, database: Database) -> Collection:
    return library.collection(database)


def test_audit_entries_are_paged_oldest_first(
    metadata: MetadataStore, library: Library, tenant: Tenant
) -> None:
    other = library.tenant("other")
    made = [library.audit(tenant, action=f"tenant.{number}", request_id="r1") for number in range(5)]
    library.audit(other)
    with metadata.read() as tx:
        first = tx.audit.list(tenant.tenant_id, limit=3, cursor=None)
        rest = tx.audit.list(tenant.tenant_id, limit=3, cursor=first.next_cursor)
        with pytest.raises(InvalidArgument):
            tx.audit.list(other.tenant_id, limit=3, cursor=first.next_cursor)
    assert first.items + rest.items == made
    assert rest.next_cursor is None


def test_audit_entries_survive_tenant_purge(
    metadata: MetadataStore, library: Library, tenant: Tenant, clock: Clock
) -> None:
    entry = library.audit(tenant, reason="unpaid", metadata={"invoice": "7"})
    with metadata.transaction() as tx:
        tx.tenants.purge(tenant.tenant_id, clock.now)
    with metadata.read() as tx:
        assert tx.audit.list(tenant.tenant_id, limit=10, cursor=None).items == [entry]
        assert tx.audit.knows(tenant.tenant_id)
        assert not tx.audit.knows(TenantId(bytes(16)))


def test_outbox_keeps_pending_entries_per_tenant(
    metadata: MetadataStore, library: Library, tenant: Tenant, database: Database
) -> None:
    other = library.tenant("other")
    with metadata.transaction() as tx:
        tx.outbox.add(tenant.tenant_id, "tenant", tenant.tenant_id)
        tx.outbox.add(other.tenant_id, "tenant", other.tenant_id)
        tx.outbox.add(tenant.tenant_id, "database", database.database_id)
    with metadata.read() as tx:
        pending = tx.outbox.pending(tenant.tenant_id)
        assert [(e.tenant_id, e.subject, e.subject_id) for e in pending] == [
            (tenant.tenant_id, "tenant", tenant.tenant_id.raw),
            (tenant.tenant_id, "database", database.database_id.raw),
        ]
        assert tx.outbox.depth() == 3
    with metadata.transaction() as tx:
        tx.outbox.remove(tenant.tenant_id, pending[0].sequence)
    with metadata.read() as tx:
        assert tx.outbox.pending(tenant.tenant_id) == pending[1:]
        assert len(tx.outbox.pending(other.tenant_id)) == 1


def test_outbox_sequence_is_never_reused(metadata: MetadataStore, tenant: Tenant) -> None:
    def add() -> int:
        with metadata.transaction() as tx:
            tx.outbox.add(tenant.tenant_id, "tenant", tenant.tenant_id)
            return tx.outbox.pending(tenant.tenant_id)[-1].sequence

    first = add()
    with metadata.transaction() as tx:
        tx.outbox.remove(tenant.tenant_id, first)
    assert add() > first


def test_purge_entries_stay_in_outbox_after_tenant_purge(
    metadata: MetadataStore, tenant: Tenant, clock: Clock
) -> None:
    with metadata.transaction() as tx:
        tx.tenants.purge(tenant.tenant_id, clock.now)
        tx.outbox.add(tenant.tenant_id, "tenant_purge", tenant.tenant_id)
    with metadata.read() as tx:
        assert [entry.tenant_id for entry in tx.outbox.purges()] == [tenant.tenant_id]


def test_registry_maps_tenant_to_store_id(
    metadata: MetadataStore, library: Library, tenant: Tenant, clock: Clock
) -> None:
    store_id = library.ids.new(StoreId)
    with metadata.read() as tx:
        assert tx.stores.find(tenant.tenant_id) is None
    with metadata.transaction() as tx:
        tx.stores.register(tenant.tenant_id, store_id)
    with metadata.read() as tx:
        assert tx.stores.find(tenant.tenant_id) == store_id
        assert tx.stores.list() == [(tenant.tenant_id, store_id)]
    with pytest.raises(TransactionConflict), metadata.transaction() as tx:
        tx.stores.register(tenant.tenant_id, library.ids.new(StoreId))
    with metadata.transaction() as tx:
        tx.tenants.purge(tenant.tenant_id, clock.now)
    with metadata.read() as tx:
        assert tx.stores.list() == []


def test_idempotency_answer_is_kept_for_24_hours(
    metadata: MetadataStore, tenant: Tenant, clock: Clock
) -> None:
    with metadata.transaction() as tx:
        assert tx.answers.find(key(), clock.now) is None
        tx.answers.add(key(), b'{"a":1}', tenant.tenant_id, clock.now)
    with metadata.read() as tx:
        assert tx.answers.find(key(), clock.now) == b'{"a":1}'
        assert tx.answers.find(key(scope="tenant.update"), clock.now) is None
        assert tx.answers.find(key(name="second"), clock.now) is None
        assert tx.answers.find(key(), clock.now + timedelta(hours=24)) == b'{"a":1}'
        assert tx.answers.find(key(), clock.now + timedelta(hours=24, microseconds=1)) is None


def test_idempotency_key_with_other_arguments_is_refused(
    metadata: MetadataStore, tenant: Tenant, clock: Clock
) -> None:
    with metadata.transaction() as tx:
        tx.answers.add(key(), b"1", tenant.tenant_id, clock.now)
        with pytest.raises(IdempotencyMismatch):
            tx.answers.find(key(arguments=b"other"), clock.now)


def test_adding_answer_removes_answers_older_than_24_hours(
    metadata: MetadataStore, raw: RawSql, tenant: Tenant, clock: Clock
) -> None:
    with metadata.transaction() as tx:
        tx.answers.add(key(), b"1", tenant.tenant_id, clock.now)
    clock.advance(hours=25)
    with metadata.transaction() as tx:
        tx.answers.add(key(name="second"), b"2", None, clock.now)
        tx.answers.add(key(), b"3", None, clock.now)
    assert raw("SELECT key, answer FROM remembered_answers ORDER BY key") == [
        ("first", b"3"),
        ("second", b"2"),
    ]


def test_tenant_purge_removes_its_answers(
    metadata: MetadataStore, raw: RawSql, tenant: Tenant, clock: Clock
) -> None:
    with metadata.transaction() as tx:
        tx.answers.add(key(), b"1", tenant.tenant_id, clock.now)
        tx.answers.add(key(name="purge"), b"2", None, clock.now)
        tx.tenants.purge(tenant.tenant_id, clock.now)
    assert raw("SELECT key FROM remembered_answers") == [("purge",)]


def test_collection_is_found_by_full_path(
    metadata: MetadataStore, tenant: Tenant, database: Database, collection: Collection
) -> None:
    with metadata.read() as tx:
        for by_tenant in (tenant.tenant_id, tenant.slug):
            for by_database in (database.database_id, database.name):
                for by_collection in (collection.collection_id, collection.name):
                    scope = tx.collections.scope(by_tenant, by_database, by_collection)
                    assert (scope.tenant, scope.database, scope.collection) == (tenant, database, collection)


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        (("x", "kb", "notes"), "tenant"),
        (("aki-labs", "x", "notes"), "database"),
        (("aki-labs", "kb", "x"), "collection"),
        (("x", "x", "x"), "tenant"),
        (("other", "kb", "notes"), "database"),
    ],
)
def test_not_found_names_first_missing_path_element(
    metadata: MetadataStore,
    library: Library,
    collection: Collection,
    path: tuple[str, str, str],
    missing: str,
) -> None:
    library.tenant("other")
    with metadata.read() as tx, pytest.raises(NotFound) as caught:
        tx.collections.scope(*path)
    assert caught.value.fields["entity"] == missing


@pytest.mark.parametrize("hidden", ["tenant", "database", "collection"])
def test_path_through_deleted_entity_is_not_found(
    metadata: MetadataStore,
    tenant: Tenant,
    database: Database,
    collection: Collection,
    clock: Clock,
    hidden: str,
) -> None:
    with metadata.transaction() as tx:
        if hidden == "tenant":
            tx.tenants.delete(tenant, clock.now)
        elif hidden == "database":
            tx.databases.delete(database, clock.now)
        else:
            tx.collections.delete(collection, clock.now)
    with metadata.read() as tx, pytest.raises(NotFound) as caught:
        tx.collections.scope("aki-labs", "kb", "notes")
    assert caught.value.fields["entity"] == hidden


def test_ids_of_another_tenant_are_not_found(
    metadata: MetadataStore, library: Library, database: Database, collection: Collection
) -> None:
    """They are answered exactly as unknown ones."""
    stranger = library.tenant("other")
    other, own = stranger.tenant_id, library.database(stranger, "own")
    with metadata.read() as tx:
        assert tx.databases.find(other, database.database_id) is None
        assert tx.collections.find(other, database.database_id, collection.collection_id) is None
        assert tx.collections.find(other, own.database_id, collection.collection_id) is None
        assert tx.collections.find_with_database(other, collection.collection_id) is None
        assert tx.collections.states(other, database.database_id) == []
        assert (
            tx.collections.list(other, database.database_id, deleted=False, limit=9, cursor=None).items == []
        )
        assert tx.collections.count(other) == 0
    with pytest.raises(NotFound), metadata.transaction() as tx:
        tx.collections.purge(other, collection.collection_id, library.clock.now)
    with pytest.raises(NotFound), metadata.transaction() as tx:
        tx.databases.purge(other, database.database_id, library.clock.now)


def test_counts_exclude_deleted_entities(
    metadata: MetadataStore, library: Library, tenant: Tenant, database: Database, clock: Clock
) -> None:
    notes, drafts = library.collection(database), library.collection(database, "drafts")
    attic = library.database(tenant, "attic")
    library.collection(attic)
    library.collection(library.database(library.tenant("other")))
    with metadata.transaction() as tx:
        assert (tx.databases.count(tenant.tenant_id), tx.collections.count(tenant.tenant_id)) == (2, 3)
        tx.databases.delete(attic, clock.now)
        tx.collections.delete(drafts, clock.now)
        assert (tx.databases.count(tenant.tenant_id), tx.collections.count(tenant.tenant_id)) == (1, 1)
        pairs = tx.collections.all_of_tenant(tenant.tenant_id)
        assert {(d.name, c.name) for d, c in pairs} == {("kb", "notes"), ("kb", "drafts"), ("attic", "notes")}
        assert [c for _, c in tx.collections.states(tenant.tenant_id, attic.database_id)] != []
        assert tx.collections.find_with_database(tenant.tenant_id, notes.collection_id) == (database, notes)


def test_external_id_is_unique(library: Library) -> None:
    library.tenant("one", external_id="crm/1")
    with pytest.raises(AlreadyExists) as caught:
        library.tenant("two", external_id="crm/1")
    assert caught.value.fields == {"entity": "tenant", "field": "external_id", "value": "crm/1"}
    library.tenant("three")
    library.tenant("four")  # any number may have none


def test_same_name_is_allowed_in_different_parents(library: Library, database: Database) -> None:
    other = library.tenant("other")
    assert library.database(other, database.name).name == database.name
    first = library.collection(database, "notes")
    second = library.collection(library.database(other, "second"), "notes")
    assert first.name == second.name


def test_exception_rolls_back_all_entities(metadata: MetadataStore, library: Library, raw: RawSql) -> None:
    tenant = library.new_tenant()
    database = library.new_database(tenant)
    with pytest.raises(KeyError), metadata.transaction() as tx:  # noqa: PT012
        tx.tenants.create(tenant)
        tx.databases.create(database)
        tx.collections.create(library.new_collection(database))
        tx.stores.register(tenant.tenant_id, library.ids.new(StoreId))
        tx.outbox.add(tenant.tenant_id, "tenant", tenant.tenant_id)
        tx.answers.add(key(), b"1", tenant.tenant_id, library.clock.now)
        assert tx.tenants.get("aki-labs") == tenant  # it sees its own writes
        raise KeyError
    for table in ("tenants", "databases", "collections", "tenant_stores", "outbox", "remembered_answers"):
        assert raw(f"SELECT count(*) FROM {table}") == [(0,)]


def test_conflict_rolls_back_earlier_writes(metadata: MetadataStore, library: Library) -> None:
    library.tenant("taken")
    with pytest.raises(AlreadyExists), metadata.transaction() as tx:  # noqa: PT012
        tx.tenants.create(library.new_tenant("fresh"))
        tx.tenants.create(library.new_tenant("taken"))
    with metadata.read() as tx:
        assert tx.tenants.find("fresh") is None


def test_snapshot_is_consistent_and_read_sees_latest_state(metadata: MetadataStore, library: Library) -> None:
    with metadata.snapshot() as snapshot, metadata.read() as newest:
        assert snapshot.tenants.find("aki-labs") is None
        library.tenant()
        assert snapshot.tenants.find("aki-labs") is None
        assert newest.tenants.find("aki-labs") is not None


def test_generation_changes_with_every_transaction(metadata: MetadataStore, library: Library) -> None:
    before = metadata.generation
    library.tenant()
    between = metadata.generation
    with pytest.raises(AlreadyExists):
        library.tenant()
    after = metadata.generation
    if isinstance(metadata, PostgresMetadataStore):  # where others may write at any time
        assert {before, between, after} == {None}
        return
    assert len({before, between, after}) == 3
    with metadata.read() as tx:
        assert tx.databases.find(TenantId(bytes(16)), DatabaseId(bytes(16))) is None
    assert metadata.generation == after
