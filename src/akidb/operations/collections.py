"""Collections of a database."""

from msgspec import UNSET, UnsetType

from akidb.domain.documents import DEFAULT_PAGE_LIMIT, Page
from akidb.domain.entities import Collection, Metric
from akidb.domain.fields import (
    Cursor,
    Deleted,
    Dimension,
    DocumentCount,
    EfConstruction,
    HnswM,
    Limit,
    MetricWord,
    Model,
    Name,
    SmallObject,
    Version,
)
from akidb.domain.index_state import IndexState
from akidb.domain.lifecycle import Access
from akidb.operations import databases
from akidb.operations.declare import MANY, InCollection, InDatabase, Work, operation

ALL = databases.ONE + "/collections"
ONE = ALL + "/{collection}"


@operation("collection.create", "POST", ALL, status=201, needs=Access.METADATA_WRITE)
class CreateCollection(InDatabase[Collection], kw_only=True, frozen=True):
    """Create a collection.

    The `dimension` is by default that of the `embedding_model`; without either it is null until the first
    vector is written, and then the length of that vector.
    """

    name: Name
    dimension: Dimension | None = None
    metric: MetricWord = Metric.COSINE
    embedding_model: Model | None = None
    hnsw_m: HnswM | None = None
    hnsw_ef_construction: EfConstruction | None = None
    max_document_count: DocumentCount | None = None
    metadata: SmallObject | None = None


@operation("collection.list", "GET", ALL, needs=Access.METADATA_READ, more_with={"limit": (MANY, Work.HEAVY)})
class ListCollections(InDatabase[Page[Collection]], kw_only=True, frozen=True):
    """List the collections of a database, sorted by name; with `deleted`, only deleted ones."""

    deleted: Deleted = False
    limit: Limit = DEFAULT_PAGE_LIMIT
    cursor: Cursor | None = None


@operation(
    "collection.count", "GET", databases.ONE + "/collection-count", needs=Access.METADATA_READ, member="count"
)
class CountCollections(InDatabase[int], kw_only=True, frozen=True):
    """Count the collections of a database; with `deleted`, only deleted ones."""

    deleted: Deleted = False


@operation("collection.get", "GET", ONE, needs=Access.METADATA_READ)
class GetCollection(InCollection[Collection], kw_only=True, frozen=True):
    """Get a collection by its ID or name."""


@operation("collection.index", "GET", ONE + "/index", needs=Access.DOCUMENT_READ)
class GetIndex(InCollection[IndexState], kw_only=True, frozen=True):
    """Get the state of a collection's index of vectors: what it has in memory and in segments."""


@operation(
    "collection.rebuild_index",
    "POST",
    ONE + "/index/rebuild",
    needs=Access.DOCUMENT_READ,
    changes=False,
    work=Work.HEAVY,
)
class RebuildIndex(InCollection[IndexState], kw_only=True, frozen=True):
    """Make a collection's index of vectors anew from its documents; segments are built in the background."""


@operation("collection.update", "PATCH", ONE, needs=Access.METADATA_WRITE)
class UpdateCollection(InCollection[Collection], kw_only=True, frozen=True):
    """Update fields of a collection; `metadata` is replaced as a whole.

    Metric and model cannot be changed, nor a dimension.
    """

    name: Name | UnsetType = UNSET
    hnsw_m: HnswM | UnsetType = UNSET
    hnsw_ef_construction: EfConstruction | UnsetType = UNSET
    max_document_count: DocumentCount | UnsetType = UNSET
    metadata: SmallObject | UnsetType = UNSET
    if_version: Version | None = None


@operation("collection.delete", "DELETE", ONE, status=204, needs=Access.METADATA_WRITE, grows=False)
class DeleteCollection(InCollection[None], kw_only=True, frozen=True):
    """Delete a collection and its documents; it can be restored until it is purged."""

    if_version: Version | None = None


@operation("collection.restore", "POST", ONE + "/restore", needs=Access.METADATA_WRITE, grows=False)
class RestoreCollection(InCollection[Collection], kw_only=True, frozen=True):
    """Restore a deleted collection with its documents."""

    if_version: Version | None = None


@operation("collection.purge", "POST", ONE + "/purge", status=204, needs=Access.METADATA_WRITE, grows=False)
class PurgeCollection(InCollection[None], kw_only=True, frozen=True):
    """Permanently remove a deleted collection and its documents."""

    if_version: Version | None = None
