"""Purging: the rows go in one transaction, then every trace of them in the files of the stores."""

import threading
from datetime import datetime
from typing import Protocol

from akidb.domain.entities import Collection, Database, Tenant
from akidb.domain.errors import NotFound
from akidb.domain.names import MAX_INTEGER
from akidb.ports.metadata import MetadataStore
from akidb.services.rate import RateLimiter
from akidb.services.store_access import StoreAccess
from akidb.services.transactions import Change


class PurgeableBackups(Protocol):
    """The copies of store files that were taken before their schema changed."""

    def remove(self, *, until: datetime, store: str | None = None) -> int:
        """Remove the copies of one store, or of all, that were taken by then; gives how many."""
        ...


class Purging:
    """Removes tenants, databases and collections for good; `finish` follows the transaction."""

    def __init__(
        self, metadata: MetadataStore, stores: StoreAccess, limiter: RateLimiter, copies: PurgeableBackups
    ) -> None:
        self._metadata = metadata
        self._stores = stores
        self._limiter = limiter
        self._copies = copies
        self._finishing = threading.Lock()
        self.unfinished = False
        """Whether files may still hold what was purged."""

    def tenant(self, change: Change, tenant: Tenant, *, reason: str | None = None) -> None:
        """Remove a tenant and all below it."""
        tenant_id = tenant.tenant_id
        change.tx.tenants.purge(tenant_id, change.now)
        change.audit("tenant.purge", tenant_id, tenant_id, reason=reason)
        change.tenant_id = None  # its answer must outlive it
        change.tx.outbox.remove(tenant_id, MAX_INTEGER)
        # Also without a known store: older metadata may have been restored beside its file.
        change.tx.outbox.add(tenant_id, "tenant_purge", tenant_id)
        self._limiter.forget(tenant_id)
        self.unfinished = True

    def database(self, change: Change, database: Database, *, reason: str | None = None) -> None:
        """Remove a database and its collections."""
        tenant_id, tx = database.tenant_id, change.tx
        # Documents go by the tombstone of their own collection, so each is purged by name.
        for _, collection in tx.collections.all_of_tenant(tenant_id, database.database_id):
            try:
                tx.collections.purge(tenant_id, collection.collection_id, change.now)
            except NotFound:  # purged meanwhile by another process, which tells the store
                continue
            change.add_to_outbox(tenant_id, "collection_purge", collection.collection_id)
        tx.databases.purge(tenant_id, database.database_id, change.now)
        change.audit("database.purge", tenant_id, database.database_id, reason=reason)
        self.unfinished = True

    def collection(self, change: Change, collection: Collection, *, reason: str | None = None) -> None:
        """Remove a collection and its documents."""
        tenant_id = collection.tenant_id
        change.tx.collections.purge(tenant_id, collection.collection_id, change.now)
        change.audit("collection.purge", tenant_id, collection.collection_id, reason=reason)
        change.add_to_outbox(tenant_id, "collection_purge", collection.collection_id)
        self.unfinished = True

    def finish(self) -> None:
        """Remove the stores of purged tenants, and what the metadata's own files still hold.

        What a long read keeps now stays unfinished: maintenance and closing come back to it.
        """
        with self._finishing:
            self.unfinished = True
            self._stores.finish_purges()
            with self._metadata.read() as tx:
                purged_at = tx.tenants.last_purge()
            if purged_at is not None:
                self._copies.remove(until=purged_at, store="metadata")
            self.unfinished = not self._metadata.erase()
