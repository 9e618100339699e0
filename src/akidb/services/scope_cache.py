"""Lookup of collections by path, cached until the next metadata transaction."""

from akidb.domain.entities import Scope, Tenant
from akidb.domain.fields import CollectionRef, DatabaseRef, TenantRef
from akidb.domain.lifecycle import Access, require
from akidb.observe.context import note_tenant
from akidb.ports.metadata import MetadataStore, MetadataTransaction
from akidb.services.retries import read_metadata

MAX_KEPT = 10_000

_Path = tuple[TenantRef, DatabaseRef, CollectionRef]


def tenant_for(tx: MetadataTransaction, tenant: TenantRef, work: Access) -> Tenant:
    """Return the tenant, if its status permits this access."""
    found = tx.tenants.get(tenant)
    require(work, found.status)
    return found


class ScopeCache:
    """Cache of collections by path. Every metadata transaction invalidates all entries."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata
        self._kept: tuple[int | None, dict[_Path, Scope]] = (None, {})

    def find(self, tenant: TenantRef, database: DatabaseRef, collection: CollectionRef) -> Scope:
        """Return the collection, its database and tenant. Raises NotFound for the first missing one.

        Raises Unavailable if another program has altered the metadata: what is kept was read before.
        """
        self._metadata.require_unaltered()
        # Read before the scope: a transaction in between makes the entry stale, never wrong.
        generation = self._metadata.generation
        kept_for, kept = self._kept
        if generation is None or generation != kept_for or len(kept) >= MAX_KEPT:
            kept = {}
            self._kept = (generation, kept)
        path = (tenant, database, collection)
        scope = kept.get(path)
        if scope is None:
            scope = kept[path] = read_metadata(self._metadata, lambda tx: tx.collections.scope(*path))
        note_tenant(scope.tenant.tenant_id)
        return scope
