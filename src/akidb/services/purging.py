"""Purging: delete the rows in one transaction, then erase all remains of them from the store files."""

import threading
from datetime import datetime
from typing import Protocol

from akidb.domain.entities import Collection, Database, Tenant
from akidb.domain.errors import NotFound
from akidb.domain.ids import CollectionId, DatabaseId, TenantId
from akidb.domain.names import MAX_INTEGER
from akidb.ports.metadata import MetadataStore
from akidb.services.rate import RateLimiter
from akidb.services.store_access import StoreAccess
from akidb.services.transactions import Change

DAMAGED = "damaged"
"""Audit reason of what was removed, or not archived, because it cannot be read."""


class PurgeableBackups(Protocol):
    """Copies of store files that were taken before a schema change."""

    def remove(self, *, until: datetime) -> int:
        """Remove copies taken up to `until`; return their number."""

    def remove_before_purge(self, purged_at: datetime, store: str) -> int:
        """Remove the copies of a store that may have been taken before a purge; return their number."""


class Purging:
    """Permanently removes tenants, databases and collections; call `finish` after the commit."""

    def __init__(
        self, metadata: MetadataStore, stores: StoreAccess, limiter: RateLimiter, copies: PurgeableBackups
    ) -> None:
        self._metadata = metadata
        self._stores = stores
        self._limiter = limiter
        self._copies = copies
        self._finishing = threading.Lock()
        self.unfinished = False
        """Whether files may still contain purged data."""

    def tenant(self, change: Change, tenant: Tenant, *, reason: str | None = None) -> None:
        """Purge a tenant and everything in it."""
        self.tenant_by_id(change, tenant.tenant_id, reason=reason)

    def tenant_by_id(self, change: Change, tenant_id: TenantId, *, reason: str | None = None) -> None:
        """Purge a tenant that may be damaged."""
        change.tx.tenants.purge(tenant_id, change.now)
        change.audit("tenant.purge", tenant_id, tenant_id, reason=reason)
        change.tenant_id = None  # the response stored for an idempotency key must outlive the tenant
        change.tx.outbox.remove(tenant_id, MAX_INTEGER)
        # Also without a known store: its file may exist beside restored older metadata.
        change.tx.outbox.add(tenant_id, "tenant_purge", tenant_id)
        self._limiter.forget(tenant_id)
        self.unfinished = True

    def database(self, change: Change, database: Database, *, reason: str | None = None) -> None:
        """Purge a database and its collections."""
        self.database_by_id(change, database.tenant_id, database.database_id, reason=reason)

    def database_by_id(
        self, change: Change, tenant_id: TenantId, database_id: DatabaseId, *, reason: str | None = None
    ) -> None:
        """Purge a database that may be damaged."""
        tx = change.tx
        # Documents are removed through their collection's outbox entry, so purge each collection.
        for collection_id in tx.collections.ids_in(tenant_id, database_id):
            try:
                tx.collections.purge(tenant_id, collection_id, change.now)
            except NotFound:  # purged concurrently by another process, which added the outbox entry
                continue
            change.add_to_outbox(tenant_id, "collection_purge", collection_id)
        tx.databases.purge(tenant_id, database_id, change.now)
        change.audit("database.purge", tenant_id, database_id, reason=reason)
        self.unfinished = True

    def collection(self, change: Change, collection: Collection, *, reason: str | None = None) -> None:
        """Purge a collection and its documents."""
        self.collection_by_id(change, collection.tenant_id, collection.collection_id, reason=reason)

    def collection_by_id(
        self, change: Change, tenant_id: TenantId, collection_id: CollectionId, *, reason: str | None = None
    ) -> None:
        """Purge a collection that may be damaged."""
        change.tx.collections.purge(tenant_id, collection_id, change.now)
        change.audit("collection.purge", tenant_id, collection_id, reason=reason)
        change.add_to_outbox(tenant_id, "collection_purge", collection_id)
        self.unfinished = True

    def finish(self) -> None:
        """Remove the stores of purged tenants, and erase purged data from the metadata files.

        Data pinned by a long read stays unfinished; maintenance and closing retry it.
        """
        with self._finishing:
            self.unfinished = True
            self._stores.finish_purges()
            with self._metadata.read() as tx:
                purged_at = tx.tenants.last_purge()
            if purged_at is not None:
                self._copies.remove_before_purge(purged_at, "metadata")
            self.unfinished = not self._metadata.erase()
