"""The change feed of a tenant's metadata, recorded by triggers for every row change."""

from random import Random
from typing import Any

import pytest
from samples import Library, RawSql

from akidb.domain.changes import ChangeType, FeedState, MetadataChange
from akidb.domain.entities import Tenant, User
from akidb.domain.ids import DatabaseId, TenantId, UserId
from akidb.ports.metadata import MetadataStore


def state(metadata: MetadataStore, tenant_id: TenantId) -> FeedState:
    with metadata.read() as tx:
        found = tx.feed.state(tenant_id)
    assert found is not None
    return found


def read(
    metadata: MetadataStore, tenant_id: TenantId, since: int = 0, limit: int = 1000
) -> list[MetadataChange]:
    with metadata.snapshot() as tx:
        return tx.feed.read(tenant_id, since, limit).changes


def shown(changes: list[MetadataChange]) -> list[tuple[int, str, str]]:
    return [(change.sequence, change.entity, change.type) for change in changes]


def new_user(library: Library, tenant: Tenant, email: str = "bob@example.com") -> User:
    return User(
        user_id=library.ids.new(UserId),
        tenant_id=tenant.tenant_id,
        email=email,
        created_at=library.clock.now,
        updated_at=library.clock.now,
    )


LAST_STEP = 119
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"


def test_feed_lists_each_entity_once_with_current_state(metadata: MetadataStore, library: Library) -> None:
    tenant = library.tenant()
    database = library.database(tenant)
    collection = library.collection(database)
    user = new_user(library, tenant)
    with metadata.transaction() as tx:
        tx.users.create(user, HASH)
    renamed = database.changed(library.clock.now, name="renamed")
    with metadata.transaction() as tx:
        tx.databases.update(renamed)
    found = read(metadata, tenant.tenant_id)
    assert shown(found) == [
        (1, "tenant", "upsert"),
        (3, "collection", "upsert"),
        (4, "user", "upsert"),
        (5, "database", "upsert"),
    ]
    assert [found[0].tenant, found[1].collection, found[2].user, found[3].database] == [
        tenant,
        collection,
        user,
        renamed,
    ]
    assert found[3].id == str(database.database_id)
    assert (found[3].tenant, found[3].collection, found[3].user) == (None, None, None)
    now = state(metadata, tenant.tenant_id)
    assert (now.sequence, now.tombstone_floor) == (5, 0)
    assert read(metadata, tenant.tenant_id, since=4) == found[3:]
    assert read(metadata, tenant.tenant_id, since=5) == []


def test_page_returns_last_sequence(metadata: MetadataStore, library: Library) -> None:
    tenant = library.tenant()
    for number in range(5):
        library.database(tenant, f"d{number}")
    seen: list[MetadataChange] = []
    since = 0
    while True:
        with metadata.snapshot() as tx:
            part = tx.feed.read(tenant.tenant_id, since, 2)
        seen += part.changes
        if part.last is None:
            break
        since = part.last
    assert [change.sequence for change in seen] == [1, 2, 3, 4, 5, 6]


def test_deleted_entity_stays_in_feed_until_purge(metadata: MetadataStore, library: Library) -> None:
    tenant = library.tenant()
    database = library.database(tenant)
    library.collection(database)
    with metadata.transaction() as tx:
        tx.databases.delete(database, library.clock.now)
    change = read(metadata, tenant.tenant_id)[-1]
    assert (change.entity, change.type) == ("database", ChangeType.UPSERT)
    assert change.database is not None
    assert change.database.deleted_at == library.clock.now
    with metadata.transaction() as tx:
        tx.databases.purge(tenant.tenant_id, database.database_id, library.clock.now)
    found = read(metadata, tenant.tenant_id)
    assert found[0].tenant == tenant
    # The collection goes by the cascade; which of the two is noted first is the database's affair.
    assert {(change.entity, change.type, change.sequence > 4) for change in found[1:]} == {
        ("database", "delete", True),
        ("collection", "delete", True),
    }


def test_tenant_purge_removes_its_feed(metadata: MetadataStore, library: Library, raw: RawSql) -> None:
    other = library.tenant("other")
    library.database(other)
    tenant = library.tenant()
    database = library.database(tenant)
    library.collection(database)
    with metadata.transaction() as tx:
        tx.users.create(new_user(library, tenant), HASH)
        tx.tenants.delete(tenant, library.clock.now)
    with metadata.transaction() as tx:
        tx.tenants.purge(tenant.tenant_id, library.clock.now)
    assert raw("SELECT count(*) FROM metadata_changes") == [(1,)]
    assert raw("SELECT count(*) FROM metadata_feeds") == [(1,)]
    assert shown(read(metadata, other.tenant_id)) == [(1, "tenant", "upsert"), (2, "database", "upsert")]
    with metadata.read() as tx:
        assert tx.feed.state(tenant.tenant_id) is None


def test_raw_sql_change_appears_in_feed(metadata: MetadataStore, library: Library, raw: RawSql) -> None:
    tenant = library.tenant()
    library.database(tenant)
    before = state(metadata, tenant.tenant_id).sequence
    raw("UPDATE databases SET description = 'by hand'")
    (change,) = read(metadata, tenant.tenant_id, since=before)
    assert change.database is not None
    assert (change.database.description, change.database.version) == ("by hand", 2)


def test_rolled_back_change_is_not_in_feed(metadata: MetadataStore, library: Library) -> None:
    tenant = library.tenant()

    def fail() -> None:
        with metadata.transaction() as tx:
            tx.databases.create(library.new_database(tenant))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert shown(read(metadata, tenant.tenant_id)) == [(1, "tenant", "upsert")]


def test_old_deletions_are_pruned_and_floor_advances(
    metadata: MetadataStore, library: Library, raw: RawSql
) -> None:
    tenant = library.tenant()
    made = [library.database(tenant, f"d{number}") for number in range(3)]

    def purge(number: int) -> None:
        with metadata.transaction() as tx:
            tx.databases.delete(made[number], library.clock.now)
            tx.databases.purge(tenant.tenant_id, made[number].database_id, library.clock.now)

    purge(0)  # 4 changes came before, then its deletion and its purge
    purge(1)
    assert state(metadata, tenant.tenant_id).tombstone_floor == 0
    raw("UPDATE metadata_feeds SET sequence = sequence + 99998")
    purge(2)
    now = state(metadata, tenant.tenant_id)
    assert (now.sequence, now.tombstone_floor) == (100_008, 8)
    found = read(metadata, tenant.tenant_id)
    assert shown(found) == [(1, "tenant", "upsert"), (100_008, "database", "delete")]


def test_feeds_of_tenants_are_isolated(metadata: MetadataStore, library: Library) -> None:
    one, two = library.tenant("one"), library.tenant("two")
    library.database(two)
    assert state(metadata, one.tenant_id).feed_id != state(metadata, two.tenant_id).feed_id
    assert shown(read(metadata, one.tenant_id)) == [(1, "tenant", "upsert")]


def test_replica_built_from_feed_equals_metadata(metadata: MetadataStore, library: Library) -> None:
    """Random changes, read now and then from where the reader was; in the end both hold the same."""
    random = Random(11)
    tenant = library.tenant()
    replica: dict[str, Any] = {}
    since = 0
    live: dict[str, Any] = {}
    for step in range(LAST_STEP + 1):
        library.clock.advance(seconds=1)
        with metadata.transaction() as tx:
            choice = random.random()
            if choice < 0.5 or not live:
                database = library.new_database(tenant, f"d{step}")
                tx.databases.create(database)
                live[str(database.database_id)] = database
            else:
                key = random.choice(list(live))
                if choice < 0.8:
                    live[key] = live[key].changed(library.clock.now, description=f"step {step}")
                    tx.databases.update(live[key])
                else:
                    tx.databases.delete(live.pop(key), library.clock.now)
                    tx.databases.purge(tenant.tenant_id, DatabaseId.parse(key), library.clock.now)
        if random.random() < 0.3 or step == LAST_STEP:
            for change in read(metadata, tenant.tenant_id, since):
                since = change.sequence
                if change.type == ChangeType.DELETE:
                    replica.pop(change.id, None)
                elif change.entity == "database":
                    replica[change.id] = change.database
    assert replica == live
