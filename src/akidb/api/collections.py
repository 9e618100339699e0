"""Routes of collections."""

import msgspec

from akidb.api.lists import ChildQuery, Count, CountQuery
from akidb.api.routing import Call, Routes
from akidb.domain.documents import Page
from akidb.domain.entities import Collection, Metric
from akidb.ports.operations import CollectionChanges

routes = Routes("collections")

_ALL = "/v1/tenants/{tenant}/databases/{database}/collections"
_ONE = _ALL + "/{collection}"


class CollectionCreation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A collection to be made. With an embedding model it has the model's dimension."""

    name: str
    dimension: int | None = None
    metric: Metric = Metric.COSINE
    embedding_model: str | None = None
    hnsw_m: int | None = None
    hnsw_ef_construction: int | None = None
    max_document_count: int | None = None


@routes.post(_ALL, status=201)
def create(call: Call, body: CollectionCreation) -> Collection:
    """Create a collection; it needs a dimension or an embedding model."""
    return call.operations.collections.create(
        call.tenant,
        call.database,
        body.name,
        dimension=body.dimension,
        metric=body.metric,
        embedding_model=body.embedding_model,
        hnsw_m=body.hnsw_m,
        hnsw_ef_construction=body.hnsw_ef_construction,
        max_document_count=body.max_document_count,
    )


@routes.get(_ALL)
def list_(call: Call, query: ChildQuery) -> Page[Collection]:
    """List the collections of a database by name; with `deleted`, the deleted ones alone."""
    return call.operations.collections.list(
        call.tenant, call.database, deleted=query.deleted, limit=query.limit, cursor=query.cursor
    )


@routes.get("/v1/tenants/{tenant}/databases/{database}/collection-count")
def count(call: Call, query: CountQuery) -> Count:
    """Count the collections of a database."""
    return Count(call.operations.collections.count(call.tenant, call.database, deleted=query.deleted))


@routes.get(_ONE)
def get(call: Call) -> Collection:
    """Get a collection by its ID or name."""
    return call.operations.collections.get(*call.collection_path)


@routes.patch(_ONE)
def update(call: Call, body: CollectionChanges, if_version: int | None) -> Collection:
    """Change fields of a collection. Dimension, metric and model cannot change."""
    return call.operations.collections.update(*call.collection_path, body, if_version=if_version)


@routes.delete(_ONE)
def delete(call: Call, if_version: int | None) -> None:
    """Delete a collection, until it is restored or purged."""
    call.operations.collections.delete(*call.collection_path, if_version=if_version)


@routes.post(_ONE + "/restore")
def restore(call: Call, if_version: int | None) -> Collection:
    """Bring a deleted collection back, documents and all."""
    return call.operations.collections.restore(*call.collection_path, if_version=if_version)


@routes.post(_ONE + "/purge", status=204)
def purge(call: Call, if_version: int | None) -> None:
    """Remove a deleted collection and its documents for good."""
    call.operations.collections.purge(*call.collection_path, if_version=if_version)
