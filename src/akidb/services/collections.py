"""Collections: created, changed, deleted, restored, purged."""

from typing import Any

from msgspec import UNSET
from msgspec.structs import asdict

from akidb.domain.documents import DEFAULT_PAGE_LIMIT, MAX_PAGE_LIMIT, Page
from akidb.domain.entities import MAX_DIMENSION, MIN_DIMENSION, Collection, Database, Metric, Tenant
from akidb.domain.errors import InvalidArgument, InvalidState
from akidb.domain.ids import CollectionId, DatabaseId, IdGenerator, TenantId
from akidb.domain.lifecycle import Access, CollectionState, move, require
from akidb.domain.names import check_flag, check_integer, check_name, check_word, parse_reference
from akidb.ports.embedding import EmbeddingModels
from akidb.ports.metadata import MetadataStore, MetadataTransaction
from akidb.ports.operations import CollectionChanges, CollectionRef, DatabaseRef, TenantRef
from akidb.services.admission import Admission, operation
from akidb.services.purging import Purging
from akidb.services.transactions import Change, Transactions, check_version


class CollectionService:
    """`akidb.ports.operations.CollectionOperations` in process."""

    def __init__(
        self,
        admission: Admission,
        metadata: MetadataStore,
        changes: Transactions,
        purging: Purging,
        models: EmbeddingModels,
        ids: IdGenerator,
    ) -> None:
        self.admission = admission
        self._metadata = metadata
        self._changes = changes
        self._purging = purging
        self._models = models
        self._ids = ids

    @operation
    def create(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        name: str,
        *,
        dimension: int | None = None,
        metric: Metric = Metric.COSINE,
        embedding_model: str | None = None,
        hnsw_m: int | None = None,
        hnsw_ef_construction: int | None = None,
        max_document_count: int | None = None,
    ) -> Collection:
        """Create a collection."""
        given = {
            "hnsw_m": hnsw_m,
            "hnsw_ef_construction": hnsw_ef_construction,
            "max_document_count": max_document_count,
        }
        values = _checked({"name": name, **{k: v for k, v in given.items() if v is not None}})
        values["metric"] = check_word(Metric, metric, "metric")
        values.update(self._vectors(dimension, embedding_model))

        def effect(change: Change) -> Collection:
            owner, parent = _parents(change.tx, tenant, database)
            require(Access.METADATA_WRITE, owner.status, parent.state)
            collection = Collection(
                collection_id=self._ids.new(CollectionId),
                tenant_id=owner.tenant_id,
                database_id=parent.database_id,
                created_at=change.now,
                updated_at=change.now,
                **values,
            )
            change.tx.collections.create(collection)
            change.audit("collection.create", owner.tenant_id, collection.collection_id)
            change.add_to_outbox(owner.tenant_id, "collection", collection.collection_id)
            return collection

        path = (tenant, database)
        return self._changes.carry_out("collections.create", path, values, Collection, effect)

    @operation
    def get(self, tenant: TenantRef, database: DatabaseRef, collection: CollectionRef) -> Collection:
        """One collection that is not deleted."""
        reference = parse_reference(CollectionId, collection)
        with self._metadata.read() as tx:
            owner, parent = _parents(tx, tenant, database)
            require(Access.METADATA_READ, owner.status, parent.state)
            return tx.collections.get(owner.tenant_id, parent.database_id, reference)

    @operation
    def list(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        *,
        deleted: bool = False,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Collection]:
        """Collections by name."""
        check_integer(limit, "limit", 1, MAX_PAGE_LIMIT)
        check_flag(deleted, "deleted")
        with self._metadata.read() as tx:
            owner, parent = _parents(tx, tenant, database)
            require(Access.METADATA_READ, owner.status, parent.state)
            return tx.collections.list(
                owner.tenant_id, parent.database_id, deleted=deleted, limit=limit, cursor=cursor
            )

    @operation
    def count(self, tenant: TenantRef, database: DatabaseRef, *, deleted: bool = False) -> int:
        """How many collections there are."""
        check_flag(deleted, "deleted")
        with self._metadata.read() as tx:
            owner, parent = _parents(tx, tenant, database)
            require(Access.METADATA_READ, owner.status, parent.state)
            return tx.collections.count_in(owner.tenant_id, parent.database_id, deleted=deleted)

    @operation
    def update(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        collection: CollectionRef,
        changes: CollectionChanges,
        *,
        if_version: int | None = None,
    ) -> Collection:
        """Change fields of a collection."""
        values = _checked({name: value for name, value in asdict(changes).items() if value is not UNSET})

        def effect(change: Change) -> Collection:
            found = self._read(change, tenant, database, collection, if_version)
            require(Access.METADATA_WRITE, found.state)
            if all(getattr(found, name) == value for name, value in values.items()):
                return found
            changed = found.changed(change.now, **values)
            change.tx.collections.update(changed)
            change.audit("collection.update", found.tenant_id, found.collection_id)
            if "max_document_count" in values:
                change.add_to_outbox(found.tenant_id, "collection", found.collection_id)
            return changed

        path, arguments = (tenant, database, collection), [values, if_version]
        return self._changes.carry_out("collections.update", path, arguments, Collection, effect)

    @operation
    def delete(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        collection: CollectionRef,
        *,
        if_version: int | None = None,
    ) -> None:
        """Delete a collection, until `restore` or `purge`."""

        def effect(change: Change) -> None:
            found = self._read(change, tenant, database, collection, if_version)
            move(found.state, CollectionState.DELETING)
            change.tx.collections.delete(found, change.now)
            change.audit("collection.delete", found.tenant_id, found.collection_id)
            change.add_to_outbox(found.tenant_id, "collection", found.collection_id)

        path = (tenant, database, collection)
        self._changes.carry_out("collections.delete", path, if_version, type(None), effect)

    @operation
    def restore(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        collection: CollectionRef,
        *,
        if_version: int | None = None,
    ) -> Collection:
        """Bring a deleted collection back, documents and all."""

        def effect(change: Change) -> Collection:
            found = self._read(change, tenant, database, collection, if_version, deleted=True)
            restored = change.tx.collections.restore(found, change.now)
            change.audit("collection.restore", found.tenant_id, found.collection_id)
            change.add_to_outbox(found.tenant_id, "collection", found.collection_id)
            return restored

        path = (tenant, database, collection)
        return self._changes.carry_out("collections.restore", path, if_version, Collection, effect)

    @operation
    def purge(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        collection: CollectionRef,
        *,
        if_version: int | None = None,
    ) -> None:
        """Remove a deleted collection and its documents for good."""

        def effect(change: Change) -> None:
            tx = change.tx
            owner, parent = _parents(tx, tenant, database)
            reference = parse_reference(CollectionId, collection)
            live = tx.collections.find(owner.tenant_id, parent.database_id, reference)
            if live is not None:
                raise InvalidState("collection", live.state, "purge", ["deleting"])
            found = self._read(change, tenant, database, collection, if_version, deleted=True)
            self._purging.collection(change, found)

        path = (tenant, database, collection)
        self._changes.carry_out("collections.purge", path, if_version, type(None), effect)
        self._purging.finish()

    def _vectors(self, dimension: int | None, model: str | None) -> dict[str, Any]:
        """The dimension, and the model's name and fingerprint."""
        if dimension is not None:
            check_integer(dimension, "dimension", MIN_DIMENSION, MAX_DIMENSION)
        if model is None:
            if dimension is None:
                raise InvalidArgument("dimension", "is needed, or an embedding_model")
            return {"dimension": dimension}
        if not isinstance(model, str):
            raise InvalidArgument("embedding_model", "must be the name of a model")
        info = self._models.info(model)
        if dimension not in {None, info.dimension}:
            raise InvalidArgument("dimension", f"is {info.dimension} with {model}, not {dimension}")
        return {
            "dimension": info.dimension,
            "embedding_model": info.name,
            "embedding_fingerprint": info.fingerprint,
        }

    @staticmethod
    def _read(
        change: Change,
        tenant: TenantRef,
        database: DatabaseRef,
        collection: CollectionRef,
        if_version: int | None,
        *,
        deleted: bool = False,
    ) -> Collection:
        """The collection, when what is above it lets its metadata be written."""
        owner, parent = _parents(change.tx, tenant, database)
        found = change.tx.collections.get(
            owner.tenant_id, parent.database_id, parse_reference(CollectionId, collection), deleted=deleted
        )
        require(Access.METADATA_WRITE, owner.status, parent.state)
        check_version(found, if_version)
        change.tenant_id = owner.tenant_id
        return found


def _parents(tx: MetadataTransaction, tenant: TenantRef, database: DatabaseRef) -> tuple[Tenant, Database]:
    owner = tx.tenants.get(parse_reference(TenantId, tenant))
    return owner, tx.databases.get(owner.tenant_id, parse_reference(DatabaseId, database))


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """Check the fields that a caller gave."""
    for name, value in values.items():
        if name == "name":
            check_name(value)
        elif name == "hnsw_m":
            check_integer(value, name, 2, 512)
        elif name == "hnsw_ef_construction":
            check_integer(value, name, 1, 4096)
        else:
            check_integer(value, name)
    return values
