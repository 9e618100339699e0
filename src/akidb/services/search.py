"""Search over the documents of a collection, within the tenant's limits."""

from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from akidb.domain.documents import Document, Match, SearchResult, SearchStatistics
from akidb.domain.entities import Scope, limit_of
from akidb.domain.errors import InvalidArgument
from akidb.operations import documents as ask
from akidb.ports.limits import AnswerTooLarge
from akidb.ports.search import Hit, VectorIndex, VectorQuery
from akidb.services.answer_limits import AnswerLimits, given_filter
from akidb.services.batches import check_vector
from akidb.services.dispatch import on_collection
from akidb.services.embeddings import EmbeddingService
from akidb.services.store_access import StoreAccess

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEARCH_ATTEMPTS = 5
"""Maximum search attempts when rows change between the index lookup and the fetch."""


class SearchService:
    """Implements the search of `akidb.operations.documents`."""

    def __init__(
        self,
        *,
        stores: StoreAccess,
        index: VectorIndex,
        embeddings: EmbeddingService,
        limits: AnswerLimits,
    ) -> None:
        self._stores = stores
        self._index = index
        self._embeddings = embeddings
        self._limits = limits

    @on_collection(ask.SearchDocuments)
    def search(self, scope: Scope, asked: ask.SearchDocuments) -> SearchResult:
        vector, truncated = self._vector(scope, asked)
        filter = given_filter(asked.filter)
        query = VectorQuery(
            vector,
            asked.top_k,
            filter,
            asked.score_threshold,
            asked.ef_search,
            self._limits.deadline(filter),
        )
        found = self._search(scope, query, asked.include)
        if truncated:
            found = replace(found, statistics=replace(found.statistics, query_truncated=True))
        return found

    def _vector(self, scope: Scope, asked: ask.SearchDocuments) -> "tuple[NDArray[np.float32], bool]":
        """Return the query vector, shape `(dimension,)`, and whether its text was truncated."""
        collection = scope.collection
        if asked.text is None:
            return check_vector(asked.vector, collection.dimension, collection.metric), False
        if collection.embedding_model is None:
            raise InvalidArgument("vector", "is needed: the collection has no embedding model")
        found = self._embeddings.embed_for(collection, [asked.text], "query")
        return found.vectors[0], found.truncated[0]

    def _search(self, scope: Scope, query: VectorQuery, include: AbstractCollection[str]) -> SearchResult:
        """Query the index, then fetch the rows; retry if a row changed in between.

        The index may contain rows newer than this reader's snapshot.
        """
        statistics = SearchStatistics(plan="exact", scanned=0, allowed=0)
        matches: list[Match] = []
        tenant = scope.tenant
        for attempt in range(SEARCH_ATTEMPTS):
            # The last attempt reads the snapshot itself, in case rows change constantly.
            quota = 0 if attempt == SEARCH_ATTEMPTS - 1 else limit_of(tenant.memory_quota_bytes)
            with self._stores.existing(tenant.tenant_id) as store:
                if store is None:
                    break
                with store.read(scope.collection.collection_id) as reader:
                    hits, statistics = self._index.search(
                        tenant.tenant_id, store.store_id, quota, reader, query
                    )
                    keys = [hit.document_key for hit in hits]
                    try:
                        rows = reader.fetch(keys, include, most_bytes=self._limits.max_bytes)
                    except AnswerTooLarge:
                        raise self._limits.refusal("top_k", "a smaller top_k") from None
            current = [(hit, rows[hit.document_key][1]) for hit in hits if _is_current(hit, rows)]
            matches = [_match(hit, document) for hit, document in current if document is not None]
            if len(matches) < len(current):
                damaged = statistics.damaged + len(current) - len(matches)
                statistics = replace(statistics, damaged=damaged)
            if len(current) == len(hits):
                break
        return SearchResult(matches=matches, statistics=statistics)


def _is_current(hit: Hit, rows: Mapping[int, tuple[int, Document | None]]) -> bool:
    row = rows.get(hit.document_key)
    return row is not None and row[0] == hit.sequence


def _match(hit: Hit, document: Document) -> Match:
    return Match(
        id=hit.id,
        score=hit.score,
        text=document.text,
        vector=document.vector,
        metadata=document.metadata,
    )
