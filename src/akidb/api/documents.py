"""Routes of documents, and search among them."""

from typing import Any

import msgspec

from akidb.api.lists import Count, PageQuery
from akidb.api.routing import Call, Routes
from akidb.domain.documents import (
    DEFAULT_INCLUDE,
    Document,
    DocumentInput,
    Include,
    Page,
    SearchResult,
    UpsertResult,
)
from akidb.domain.errors import InvalidArgument, QuotaExceeded, RateLimited
from akidb.domain.json import decode_strict

routes = Routes("documents", raises=(RateLimited,))

_COLLECTION = "/v1/tenants/{tenant}/databases/{database}/collections/{collection}"
_ALL = _COLLECTION + "/documents"


class Upsert(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Documents to be written, all or none."""

    documents: list[DocumentInput]


class ScanQuery(PageQuery, kw_only=True, forbid_unknown_fields=True):
    """Which documents to scan; `filter` is JSON."""

    filter: str | None = None
    include: list[Include] = msgspec.field(default_factory=lambda: sorted(DEFAULT_INCLUDE))


class DocumentNames(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Documents to be read."""

    ids: list[str]
    include: list[Include] = msgspec.field(default_factory=lambda: sorted(DEFAULT_INCLUDE))


class Counted(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to count; everything without a filter."""

    filter: dict[str, Any] | None = None


class Deletion(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to delete: ids, or a filter that is not empty."""

    ids: list[str] | None = None
    filter: dict[str, Any] | None = None


class MetadataUpdate(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to merge into the metadata of the chosen documents; a null removes its key."""

    metadata: dict[str, Any]
    ids: list[str] | None = None
    filter: dict[str, Any] | None = None


class Search(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to search for: a text, where the collection has an embedding model, or a vector."""

    text: str | None = None
    vector: list[float] | None = None
    top_k: int = 10
    filter: dict[str, Any] | None = None
    ef_search: int | None = None
    score_threshold: float | None = None
    include: list[Include] = msgspec.field(default_factory=lambda: sorted(DEFAULT_INCLUDE))


class Found(msgspec.Struct):
    """The documents that are there, in the order of the ids."""

    documents: list[Document]


class Deleted(msgspec.Struct):
    """How many documents were deleted."""

    deleted: int


class Updated(msgspec.Struct):
    """How many documents were chosen."""

    updated: int


@routes.post(_ALL, slow=True, raises=(QuotaExceeded,))
def upsert(call: Call, body: Upsert) -> UpsertResult:
    """Write up to 10,000 documents, all or none; one whose id is known is replaced."""
    return call.operations.documents.upsert(call.collection_path, body.documents)


@routes.get(_ALL)
def scan(call: Call, query: ScanQuery) -> Page[Document]:
    """List documents in the order of their ids."""
    return call.operations.documents.scan(
        call.collection_path,
        filter=None if query.filter is None else _filter(query.filter),
        include=frozenset(query.include),
        limit=query.limit,
        cursor=query.cursor,
    )


@routes.post(_ALL + "/get", changes=False)
def get(call: Call, body: DocumentNames) -> Found:
    """Get documents by their ids; unknown ones are left out."""
    found = call.operations.documents.get(call.collection_path, body.ids, include=frozenset(body.include))
    return Found(found)


@routes.post(_ALL + "/count", changes=False)
def count(call: Call, body: Counted) -> Count:
    """Count documents."""
    return Count(call.operations.documents.count(call.collection_path, filter=body.filter))


@routes.post(_ALL + "/delete")
def delete(call: Call, body: Deletion) -> Deleted:
    """Delete documents by their ids, or all that a filter lets through."""
    return Deleted(call.operations.documents.delete(call.collection_path, ids=body.ids, filter=body.filter))


@routes.post(_ALL + "/update", raises=(QuotaExceeded,))
def update(call: Call, body: MetadataUpdate) -> Updated:
    """Merge metadata into that of documents (RFC 7396)."""
    return Updated(
        call.operations.documents.update(
            call.collection_path, body.metadata, ids=body.ids, filter=body.filter
        )
    )


@routes.post(_COLLECTION + "/search", changes=False, slow=True)
def search(call: Call, body: Search) -> SearchResult:
    """Search for the documents that score highest against a text or a vector."""
    return call.operations.documents.search(
        call.collection_path,
        text=body.text,
        vector=body.vector,
        top_k=body.top_k,
        filter=body.filter,
        score_threshold=body.score_threshold,
        ef_search=body.ef_search,
        include=frozenset(body.include),
    )


def _filter(text: str) -> dict[str, Any]:
    try:
        return decode_strict(text.encode(), dict[str, Any])
    except InvalidArgument as error:
        path = "filter" if error.field == "body" else f"filter.{error.field}"
        raise InvalidArgument(path, error.reason) from None
