"""Collections: create, update, delete, restore, purge."""

from contextlib import suppress
from typing import Any

from akidb.domain.documents import Page
from akidb.domain.entities import Collection, Database, Scope, Tenant
from akidb.domain.errors import AkiDBError, Damaged, InvalidArgument, InvalidState
from akidb.domain.ids import CollectionId, IdGenerator
from akidb.domain.json import canonical
from akidb.domain.lifecycle import Access, CollectionState, move, require
from akidb.operations import collections as ask
from akidb.operations.declare import OPERATIONS, InCollection, InDatabase
from akidb.ports.embedding import EmbeddingModels
from akidb.ports.metadata import MetadataStore, MetadataTransaction
from akidb.services.answer_limits import AnswerLimits
from akidb.services.dimensions import Dimensions
from akidb.services.dispatch import handles, in_read, in_transaction
from akidb.services.purging import DAMAGED, Purging
from akidb.services.transactions import Change, check_version

_OPTIONS = ("hnsw_m", "hnsw_ef_construction", "max_document_count")


class CollectionService:
    """Implements `akidb.operations.collections`."""

    def __init__(
        self,
        metadata: MetadataStore,
        dimensions: Dimensions,
        purging: Purging,
        models: EmbeddingModels,
        ids: IdGenerator,
        limits: AnswerLimits,
    ) -> None:
        self._metadata = metadata
        self._dimensions = dimensions
        self._limits = limits
        self._purging = purging
        self._models = models
        self._ids = ids

    def finish_purges(self) -> None:
        """Erase the remains of purged collections from the store files."""
        self._purging.finish()

    @in_transaction(ask.CreateCollection)
    def create(self, change: Change, asked: ask.CreateCollection) -> Collection:
        vectors = self._vectors(asked.dimension, asked.embedding_model)
        owner, parent = _parents(change.tx, asked, Access.METADATA_WRITE)
        collection = Collection(
            collection_id=self._ids.new(CollectionId),
            tenant_id=owner.tenant_id,
            database_id=parent.database_id,
            name=asked.name,
            metric=asked.metric,
            metadata={} if asked.metadata is None else dict(asked.metadata),
            created_at=change.now,
            updated_at=change.now,
            **vectors,
            **{name: value for name in _OPTIONS if (value := getattr(asked, name)) is not None},
        )
        change.tx.collections.create(collection)
        _record(change, "create", collection)
        return collection

    @handles(ask.GetCollection)
    def get(self, asked: ask.GetCollection) -> Collection:
        with self._metadata.read() as tx:
            owner, parent = _parents(tx, asked, Access.METADATA_READ)
            found = tx.collections.get(owner.tenant_id, parent.database_id, asked.collection)
        if found.dimension is None:
            with suppress(AkiDBError):  # the store cannot be opened
                return self._dimensions.known(Scope(owner, parent, found)).collection
        return found

    @in_read(ask.ListCollections)
    def list(self, tx: MetadataTransaction, asked: ask.ListCollections) -> Page[Collection]:
        owner, parent = _parents(tx, asked, Access.METADATA_READ)
        given = OPERATIONS[ask.ListCollections].given(asked)
        most = self._limits.max_bytes
        return tx.collections.list(owner.tenant_id, parent.database_id, **given, most_bytes=most)

    @in_read(ask.CountCollections)
    def count(self, tx: MetadataTransaction, asked: ask.CountCollections) -> int:
        owner, parent = _parents(tx, asked, Access.METADATA_READ)
        return tx.collections.count_in(owner.tenant_id, parent.database_id, deleted=asked.deleted)

    @in_transaction(ask.UpdateCollection)
    def update(self, change: Change, asked: ask.UpdateCollection) -> Collection:
        values = OPERATIONS[ask.UpdateCollection].given(asked)
        found = _read(change, asked, asked.if_version)
        require(Access.METADATA_WRITE, found.state)
        # Compare as JSON: in Python 1 == True.
        if canonical({name: getattr(found, name) for name in values}) == canonical(values):
            return found
        changed = found.changed(change.now, **values)
        change.tx.collections.update(changed)
        _record(change, "update", found, store="max_document_count" in values)
        return changed

    @in_transaction(ask.DeleteCollection)
    def delete(self, change: Change, asked: ask.DeleteCollection) -> None:
        found = _read(change, asked, asked.if_version)
        move(found.state, CollectionState.DELETING)
        change.tx.collections.delete(found, change.now)
        _record(change, "delete", found)

    @in_transaction(ask.RestoreCollection)
    def restore(self, change: Change, asked: ask.RestoreCollection) -> Collection:
        found = _read(change, asked, asked.if_version, deleted=True)
        restored = change.tx.collections.restore(found, change.now)
        _record(change, "restore", found)
        return restored

    @in_transaction(ask.PurgeCollection, after="finish_purges")
    def purge(self, change: Change, asked: ask.PurgeCollection) -> None:
        owner, parent = _parents(change.tx, asked, None)
        try:
            live = change.tx.collections.find(owner.tenant_id, parent.database_id, asked.collection)
            if live is not None:
                raise InvalidState("collection", live.state, "purge", ["deleting"])
            found = _read(change, asked, asked.if_version, deleted=True)
        except Damaged:  # its state is not known, so its ID must be said
            if not isinstance(asked.collection, CollectionId) or asked.if_version is not None:
                raise
            require(Access.METADATA_WRITE, owner.status, parent.state)
            self._purging.collection_by_id(change, owner.tenant_id, asked.collection, reason=DAMAGED)
            return
        self._purging.collection(change, found)

    def _vectors(self, dimension: int | None, model: str | None) -> dict[str, Any]:
        """Return the dimension, and the model's name and fingerprint."""
        if model is None:
            return {"dimension": dimension}
        info = self._models.info(model)
        if dimension not in {None, info.dimension}:
            raise InvalidArgument("dimension", f"must be {info.dimension} with {model}, not {dimension}")
        return {
            "dimension": info.dimension,
            "embedding_model": info.name,
            "embedding_fingerprint": info.fingerprint,
        }


def _parents(
    tx: MetadataTransaction, asked: InDatabase[Any], access: Access | None
) -> tuple[Tenant, Database]:
    """Return the tenant and the database, if their states permit the access."""
    owner = tx.tenants.get(asked.tenant)
    parent = tx.databases.get(owner.tenant_id, asked.database)
    if access is not None:
        require(access, owner.status, parent.state)
    return owner, parent


def _read(
    change: Change, asked: InCollection[Any], if_version: int | None, *, deleted: bool = False
) -> Collection:
    """Return the collection to change, if the states of its tenant and database permit changes."""
    owner, parent = _parents(change.tx, asked, None)
    found = change.tx.collections.get(owner.tenant_id, parent.database_id, asked.collection, deleted=deleted)
    require(Access.METADATA_WRITE, owner.status, parent.state)
    check_version(found, if_version)
    change.tenant_id = owner.tenant_id
    return found


def _record(change: Change, verb: str, collection: Collection, *, store: bool = True) -> None:
    change.audit(f"collection.{verb}", collection.tenant_id, collection.collection_id)
    if store:
        change.add_to_outbox(collection.tenant_id, "collection", collection.collection_id)
