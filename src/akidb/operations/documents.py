"""Documents of a collection, and search. Each operation counts towards the tenant's rate limit."""

from akidb.domain.documents import (
    DEFAULT_INCLUDE,
    DEFAULT_PAGE_LIMIT,
    Document,
    Page,
    SearchMode,
    SearchResult,
    UpsertMode,
    UpsertResult,
)
from akidb.domain.errors import AlreadyExists, InvalidArgument, OperationTimeout, QuotaExceeded, RateLimited
from akidb.domain.facets import Facets
from akidb.domain.fields import (
    Cursor,
    Descending,
    Documents,
    FieldName,
    Ids,
    JsonObject,
    Limit,
    Mode,
    OrderBy,
    Parts,
    Selector,
    Where,
)
from akidb.domain.lifecycle import Access
from akidb.domain.search_fields import (
    Comparing,
    DocumentRef,
    DocumentRefs,
    EfSearch,
    Explain,
    GroupField,
    GroupSize,
    Highlights,
    Queries,
    Query,
    QueryVector,
    QueryVectors,
    Recall,
    Score,
    TopK,
    Weights,
)
from akidb.operations import collections
from akidb.operations.declare import MANY, InCollection, Work, operation

ALL = collections.ONE + "/documents"
IDS_OR_FILTER = ("ids", "filter")
FEW = 8
"""More searches than this at once are heavy work."""


@operation(
    "document.upsert",
    "POST",
    ALL,
    needs=Access.DOCUMENT_WRITE,
    audited=False,
    more_with={"documents": (MANY, Work.HEAVY)},
    arrow="documents",
    raises=(RateLimited, QuotaExceeded, AlreadyExists),
)
class UpsertDocuments(InCollection[UpsertResult], kw_only=True, frozen=True):
    """Write up to 10,000 documents atomically; a document with an existing id is replaced.

    `mode` changes what happens to existing documents: with `insert` all are refused if one exists
    (`already_exists`, with their `ids`), with `skip` only new ones are written, with `update` only existing
    ones, which keep the parts that are not given. The response has the ids of those written, and
    `without_vector`, the number of those that have no vector: no vector search finds them.
    """

    documents: Documents
    mode: Mode = UpsertMode.UPSERT


@operation(
    "document.scan",
    "GET",
    ALL,
    body_path=ALL + "/scan",
    needs=Access.DOCUMENT_READ,
    more_with={"filter": (0, Work.HEAVY), "order_by": (0, Work.HEAVY), "limit": (MANY, Work.HEAVY)},
    raises=(RateLimited, OperationTimeout),
)
class ScanDocuments(InCollection[Page[Document]], kw_only=True, frozen=True):
    """List documents sorted by id (by code point), or by a metadata field and then by id.

    In the order of a field come null, false, true, numbers by value, strings by code point, objects and empty
    lists, then documents without the field, in both directions. A list counts with its smallest element,
    descending with its largest.
    """

    filter: Where | None = None
    order_by: OrderBy | None = None
    descending: Descending = False
    include: Parts = DEFAULT_INCLUDE
    limit: Limit = DEFAULT_PAGE_LIMIT
    cursor: Cursor | None = None


@operation(
    "document.get",
    "POST",
    ALL + "/get",
    needs=Access.DOCUMENT_READ,
    changes=False,
    more_with={"ids": (MANY, Work.HEAVY)},
    member="documents",
    raises=(RateLimited,),
)
class GetDocuments(InCollection[list[Document]], kw_only=True, frozen=True):
    """Get documents by id, in the given order; unknown ids are skipped."""

    ids: Ids
    include: Parts = DEFAULT_INCLUDE


@operation(
    "document.count",
    "POST",
    ALL + "/count",
    needs=Access.DOCUMENT_READ,
    changes=False,
    more_with={"filter": (0, Work.HEAVY)},
    member="count",
    raises=(RateLimited, OperationTimeout),
)
class CountDocuments(InCollection[int], kw_only=True, frozen=True):
    """Count all documents, or those that match a filter."""

    filter: Where | None = None


@operation(
    "document.facets",
    "POST",
    ALL + "/facets",
    needs=Access.DOCUMENT_READ,
    changes=False,
    work=Work.HEAVY,
    raises=(RateLimited, OperationTimeout),
)
class GetFacets(InCollection[Facets], kw_only=True, frozen=True):
    """Count the documents with each value of a metadata field, the most frequent values first.

    A document counts once for each of its distinct values, elements of lists included. Objects and empty
    lists are not counted.
    """

    field: FieldName
    filter: Where | None = None
    limit: Limit = DEFAULT_PAGE_LIMIT


@operation(
    "document.delete",
    "POST",
    ALL + "/delete",
    needs=Access.DOCUMENT_WRITE,
    more_with={"ids": (MANY, Work.HEAVY), "filter": (0, Work.HEAVY)},
    member="deleted",
    one_of=IDS_OR_FILTER,
    grows=False,
    audited=False,
    raises=(RateLimited, OperationTimeout),
)
class DeleteDocuments(InCollection[int], kw_only=True, frozen=True):
    """Delete documents by id or by filter; returns the number of deleted documents."""

    ids: Ids | None = None
    filter: Selector | None = None


@operation(
    "document.clear",
    "POST",
    ALL + "/clear",
    needs=Access.DOCUMENT_WRITE,
    work=Work.HEAVY,
    member="deleted",
    grows=False,
    audited=False,
    raises=(RateLimited,),
)
class ClearDocuments(InCollection[int], kw_only=True, frozen=True):
    """Delete all documents of a collection; returns their number.

    The collection itself is kept. Readers of its changes start again from 0.
    """


@operation(
    "document.update",
    "POST",
    ALL + "/update",
    needs=Access.DOCUMENT_WRITE,
    more_with={"ids": (MANY, Work.HEAVY), "filter": (0, Work.HEAVY)},
    member="updated",
    one_of=IDS_OR_FILTER,
    audited=False,
    raises=(RateLimited, QuotaExceeded, OperationTimeout),
)
class UpdateDocuments(InCollection[int], kw_only=True, frozen=True):
    """Merge metadata into that of the selected documents (RFC 7396); a null removes its key.

    Returns the number of selected documents.
    """

    metadata: JsonObject
    ids: Ids | None = None
    filter: Selector | None = None


@operation(
    "document.search",
    "POST",
    collections.ONE + "/search",
    needs=Access.DOCUMENT_READ,
    changes=False,
    work=Work.SLOW,
    more_with={"filter": (0, Work.HEAVY), "group_by": (0, Work.HEAVY), "top_k": (MANY, Work.HEAVY)},
    one_of=("text", "vector", "id"),
    one_of_in=("mode", SearchMode.VECTOR),
    raises=(RateLimited, OperationTimeout),
)
class SearchDocuments(InCollection[SearchResult], kw_only=True, frozen=True):
    """Find the documents with the highest scores for a text, a vector, or the vector of a document.

    Give exactly one of `text`, `vector` and `id`. With `id` the document itself is not among the matches.
    With `mode` `keyword` give the text, whose words are searched for; with `hybrid` the text, and a vector
    too if the collection has no embedding model.

    Pages do not overlap, and together are complete, while nothing is written; a document that changes in
    between may appear twice or not at all.
    """

    text: Query | None = None
    vector: QueryVector | None = None
    id: DocumentRef | None = None
    mode: Comparing = SearchMode.VECTOR
    top_k: TopK = 10
    filter: Where | None = None
    score_threshold: Score | None = None
    group_by: GroupField | None = None
    group_size: GroupSize = 1
    ef_search: EfSearch | None = None
    recall: Recall | None = None
    explain: Explain = False
    weights: Weights | None = None
    highlights: Highlights = False
    include: Parts = DEFAULT_INCLUDE
    cursor: Cursor | None = None

    def check_together(self) -> None:
        """Check what the modes have of their own."""
        if self.weights is not None and self.mode != SearchMode.HYBRID:
            raise InvalidArgument("weights", "are of mode hybrid")
        if self.mode == SearchMode.VECTOR:
            if self.highlights:
                raise InvalidArgument("highlights", "are of the modes keyword and hybrid")
            return
        unused = {"group_by": self.group_by, "cursor": self.cursor}
        if self.group_size != 1:
            unused["group_size"] = str(self.group_size)
        for name, given in unused.items():
            if given is not None:
                raise InvalidArgument(name, f"has no use in mode {self.mode}")
        if self.text is None:
            raise InvalidArgument("text", f"is needed by mode {self.mode}")
        if self.id is not None:
            raise InvalidArgument("id", f"has no use in mode {self.mode}")
        if self.vector is not None and self.mode == SearchMode.KEYWORD:
            raise InvalidArgument("vector", "has no use in mode keyword")


@operation(
    "document.search_batch",
    "POST",
    collections.ONE + "/search/batch",
    needs=Access.DOCUMENT_READ,
    changes=False,
    work=Work.SLOW,
    more_with={
        "texts": (FEW, Work.HEAVY),
        "vectors": (FEW, Work.HEAVY),
        "ids": (FEW, Work.HEAVY),
        "filter": (0, Work.HEAVY),
        "group_by": (0, Work.HEAVY),
        "top_k": (MANY, Work.HEAVY),
    },
    member="results",
    one_of=("texts", "vectors", "ids"),
    counted=("texts", "vectors", "ids"),
    raises=(RateLimited, OperationTimeout),
)
class SearchBatch(InCollection[list[SearchResult]], kw_only=True, frozen=True):
    """Answer up to 200 searches at once, from one snapshot of the collection.

    The other fields apply to each of them. Each counts as one operation towards the tenant's rate limit.
    """

    texts: Queries | None = None
    vectors: QueryVectors | None = None
    ids: DocumentRefs | None = None
    top_k: TopK = 10
    filter: Where | None = None
    score_threshold: Score | None = None
    group_by: GroupField | None = None
    group_size: GroupSize = 1
    ef_search: EfSearch | None = None
    recall: Recall | None = None
    include: Parts = DEFAULT_INCLUDE
