"""Dimensions of collections that are created without one: that of their first vector.

The tenant's store settles it, in the transaction that writes the vector. The metadata learn it before the
write is acknowledged, or, if a crash prevents that, with the next use of the collection.
"""

from msgspec.structs import replace

from akidb.domain.entities import Scope
from akidb.domain.errors import AkiDBError, Unavailable
from akidb.domain.ids import CollectionId, TenantId
from akidb.observe.logs import logger
from akidb.ports.clock import Clock
from akidb.ports.metadata import MetadataStore
from akidb.services.retries import read_metadata, retried
from akidb.services.signals import Signals
from akidb.services.store_access import StoreAccess

_log = logger("akidb.stores")


class Dimensions:
    """What the metadata and the tenants' stores know of dimensions that were not given."""

    def __init__(self, metadata: MetadataStore, stores: StoreAccess, clock: Clock, signals: Signals) -> None:
        self._metadata = metadata
        self._stores = stores
        self._clock = clock
        self._signals = signals

    def learn(self, tenant_id: TenantId, collection_id: CollectionId, dimension: int) -> None:
        """Write a dimension that the store has settled to the metadata, unless they have one.

        Raises Unavailable if they cannot be written; the documents are committed.
        """

        def settle() -> None:
            with self._metadata.transaction() as tx:
                tx.collections.settle_dimension(tenant_id, collection_id, dimension, self._clock.now())

        try:
            retried(settle, "metadata")
        except Unavailable as error:
            before = "the documents are written, but the dimension is not yet in the metadata"
            message, public = f"{before}: {error.message}", f"{before}: {error.public}"
            raise Unavailable(message, public=public) from error

    def known(self, scope: Scope) -> Scope:
        """Return a collection without a dimension with that of its store, if it has one by now.

        The metadata learn it, if they can be written. Raises the errors of opening the store.
        """
        tenant_id, collection_id = scope.tenant.tenant_id, scope.collection.collection_id
        with self._stores.existing(tenant_id) as store:
            dimension = None if store is None else store.dimension(collection_id)
        if dimension is None:
            return scope
        try:
            self.learn(tenant_id, collection_id, dimension)
            self._signals.notify(tenant_id)
            path = (tenant_id, scope.database.database_id, collection_id)
            scope = read_metadata(self._metadata, lambda tx: tx.collections.scope(*path))
        except AkiDBError as error:  # a read must not fail for it
            _log.warning("collection %s: its dimension is only in the store: %s", collection_id, error)
        return replace(scope, collection=replace(scope.collection, dimension=dimension))
