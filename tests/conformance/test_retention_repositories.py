"""Expired entities, as the metadata store returns them to the sweeper, on both databases."""

from contextlib import closing
from datetime import timedelta

import pytest
import sqlalchemy as sa
from samples import Clock, Library, key, make_ids

from akidb.domain.entities import Tenant
from akidb.domain.lifecycle import DatabaseState, TenantStatus
from akidb.metadata.store import PostgresMetadataStore, SqlMetadataStore
from akidb.metadata.tables import legacy_manifests
from akidb.ports.metadata import MetadataStore


def delete(library: Library, tenant: Tenant) -> Tenant:
    with library.metadata.transaction() as tx:
        tx.tenants.delete(tenant, library.clock.now)
        return tx.tenants.get(tenant.tenant_id, deleted=True)


def test_expired_tenants_are_ordered_by_deletion_time(library: Library, clock: Clock) -> None:
    tenants = [library.tenant(slug) for slug in ("first", "second", "third", "live")]
    for tenant in tenants[:3]:
        delete(library, tenant)
        clock.advance(hours=1)
    with library.metadata.transaction() as tx:
        found = tx.tenants.expired(clock.now - timedelta(hours=2), 10)
        assert [tenant.slug for tenant in found] == ["first", "second"]
        assert [tenant.slug for tenant in tx.tenants.expired(clock.now, 2)] == ["first", "second"]
        assert found[0].status == TenantStatus.DECOMMISSIONED
        assert tx.tenants.expired(clock.now - timedelta(hours=4), 10) == []


def test_restored_tenant_is_not_expired(library: Library, clock: Clock) -> None:
    deleted = delete(library, library.tenant())
    with library.metadata.transaction() as tx:
        tx.tenants.restore(deleted, clock.now)
        assert tx.tenants.expired(clock.now, 10) == []


def test_children_of_deleted_parent_are_not_expired_separately(library: Library, clock: Clock) -> None:
    tenant = library.tenant()
    database = library.database(tenant)
    collection = library.collection(database)
    with library.metadata.transaction() as tx:
        tx.collections.delete(collection, clock.now)
        assert [each.name for each in tx.collections.expired(clock.now, 10)] == ["notes"]
        tx.databases.delete(database, clock.now)
        assert tx.collections.expired(clock.now, 10) == []
        assert [each.name for each in tx.databases.expired(clock.now, 10)] == ["kb"]
        tx.tenants.delete(tenant, clock.now)
        assert tx.databases.expired(clock.now, 10) == []
        assert len(tx.tenants.expired(clock.now, 10)) == 1


@pytest.mark.parametrize("status", [TenantStatus.SUSPENDED, TenantStatus.PROVISIONING])
def test_nothing_expires_in_state_that_blocks_changes(
    library: Library, clock: Clock, status: TenantStatus
) -> None:
    """Nobody could restore it meanwhile."""
    tenant = library.tenant(status=status)
    database = library.database(tenant, state=DatabaseState.MIGRATING)
    other = library.database(tenant, "other")
    collection = library.collection(database)
    with library.metadata.transaction() as tx:
        tx.collections.delete(collection, clock.now)
        tx.databases.delete(other, clock.now)
        assert tx.collections.expired(clock.now, 10) == []
        expected = [] if status == TenantStatus.SUSPENDED else ["other"]
        assert [each.name for each in tx.databases.expired(clock.now, 10)] == expected


def test_tenants_deleted_in_1x_do_not_expire(
    metadata: SqlMetadataStore, library: Library, clock: Clock
) -> None:
    tenant = delete(library, library.tenant())
    manifest = {"path": b"a.json", "manifest": b"{}", "sha256": bytes(32), "slug": "aki-labs"}
    with metadata._database.write() as connection:
        connection.execute(
            sa.insert(legacy_manifests).values(tenant_id=tenant.tenant_id, migrated_at=clock.now, **manifest)
        )
    clock.advance(days=100)
    with metadata.transaction() as tx:
        assert tx.tenants.expired(clock.now, 10) == []
        restored = tx.tenants.restore(tenant, clock.now)
        tx.tenants.delete(restored, clock.now)  # this time here
        assert len(tx.tenants.expired(clock.now, 10)) == 1


def test_last_purge_time_is_recorded(library: Library, clock: Clock) -> None:
    with library.metadata.read() as tx:
        assert tx.tenants.last_purge() is None
    tenants = [library.tenant(slug) for slug in ("one", "two")]
    with library.metadata.transaction() as tx:
        for tenant in tenants:
            tx.tenants.purge(tenant.tenant_id, clock.advance(hours=1))
    with library.metadata.read() as tx:
        assert tx.tenants.last_purge() == clock.now


def test_purge_removes_remembered_answers_of_purged_entities(
    metadata: MetadataStore, library: Library, clock: Clock
) -> None:
    tenant = library.tenant()
    kept, gone = library.database(tenant), library.database(tenant, "gone")
    collection = library.collection(gone)
    answers = {
        key(name="of the database"): gone.database_id,
        key(name="of its collection"): collection.collection_id,
        key(name="of another"): kept.database_id,
    }
    with metadata.transaction() as tx:
        for request, id in answers.items():
            tx.answers.add(request, f'{{"id":"{id}"}}'.encode(), tenant.tenant_id, clock.now)
        tx.collections.purge(tenant.tenant_id, collection.collection_id, clock.now)
        tx.databases.delete(gone, clock.now)
        tx.databases.purge(tenant.tenant_id, gone.database_id, clock.now)
        left = [request.key for request in answers if tx.answers.find(request, clock.now)]
    assert left == ["of another"]


def test_outbox_lists_tenants_with_pending_entries(library: Library) -> None:
    one, two = library.tenant("one"), library.tenant("two")
    with library.metadata.transaction() as tx:
        tx.outbox.add(one.tenant_id, "tenant", one.tenant_id)
        tx.outbox.add(two.tenant_id, "tenant", two.tenant_id)
        tx.outbox.add(one.tenant_id, "tenant", one.tenant_id)
        tx.outbox.add(two.tenant_id, "tenant_purge", two.tenant_id)
        waiting = dict(tx.outbox.waiting())
        assert waiting == {
            each.tenant_id: tx.outbox.pending(each.tenant_id)[0].sequence for each in (one, two)
        }


def test_concurrent_sweepers_get_disjoint_tenants(postgres_url: str, clock: Clock) -> None:
    """Each has what no other has locked; a restore waits for neither."""
    with (
        closing(PostgresMetadataStore(postgres_url)) as one,
        closing(PostgresMetadataStore(postgres_url)) as two,
    ):
        library = Library(one, clock, make_ids())
        deleted = [delete(library, library.tenant(f"t-{number}")) for number in range(4)]
        with one.transaction() as mine, two.transaction() as theirs:
            first = mine.tenants.expired(clock.now, 2)
            second = theirs.tenants.expired(clock.now, 2)
            assert {t.slug for t in (*first, *second)} == {t.slug for t in deleted}
            assert theirs.tenants.expired(clock.now, 10) == second
