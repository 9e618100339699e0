"""Documents: written, read, deleted, searched, each within its tenant's limits."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as AbstractCollection
from contextlib import contextmanager
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from akidb.domain.documents import (
    DEFAULT_INCLUDE,
    DEFAULT_PAGE_LIMIT,
    MAX_PAGE_LIMIT,
    MAX_TEXT_BYTES,
    MAX_TOP_K,
    Document,
    DocumentLike,
    Include,
    Match,
    Page,
    SearchResult,
    SearchStatistics,
    UpsertResult,
)
from akidb.domain.entities import Scope
from akidb.domain.errors import InvalidArgument
from akidb.domain.filters import Filter
from akidb.domain.ids import IdGenerator
from akidb.domain.json import canonical, check_object, merge_patch
from akidb.domain.lifecycle import Access, require
from akidb.domain.names import MAX_INTEGER, check_integer, check_text, check_word
from akidb.ports import wire
from akidb.ports.answers import RequestKey
from akidb.ports.documents import DocumentReader, DocumentWriter
from akidb.ports.metadata import MetadataStore
from akidb.ports.operations import CollectionPath
from akidb.ports.search import Hit, VectorIndex, VectorQuery
from akidb.services.admission import Admission, operation
from akidb.services.batches import check_documents, check_ids, check_selection, check_vector
from akidb.services.changes import Signals
from akidb.services.embeddings import EmbeddingService
from akidb.services.idempotency import request_key
from akidb.services.rate import RateLimiter
from akidb.services.retries import retried
from akidb.services.scope_cache import ScopeCache
from akidb.services.store_access import StoreAccess
from akidb.sql import cursors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

SEARCH_ATTEMPTS = 5
"""How often a search is begun again because rows changed between the index and the fetch."""


class DocumentService:
    """`akidb.ports.operations.DocumentOperations` in process."""

    def __init__(
        self,
        *,
        admission: Admission,
        metadata: MetadataStore,
        stores: StoreAccess,
        index: VectorIndex,
        embeddings: EmbeddingService,
        limiter: RateLimiter,
        ids: IdGenerator,
        now: Callable[[], datetime],
        signals: Signals,
    ) -> None:
        self.admission = admission
        self._scopes = ScopeCache(metadata)
        self._stores = stores
        self._index = index
        self._embeddings = embeddings
        self._limiter = limiter
        self._ids = ids
        self._now = now
        self._signals = signals

    @operation
    def upsert(self, path: CollectionPath, documents: Sequence[DocumentLike]) -> UpsertResult:
        """Write documents, all or none."""
        scope = self._enter(path, Access.DOCUMENT_WRITE)
        checked = check_documents(documents, scope.collection, self._ids)
        key = request_key("documents.upsert", path, documents)
        known = self._remembered(scope, key, UpsertResult)
        if known is not None:
            return known
        embedded = None
        if checked.missing_at:
            texts = [str(checked.texts[place]) for place in checked.missing_at]
            embedded = self._embeddings.embed_for(scope.collection, texts, "document").vectors
        batch = checked.batch(embedded)

        def effect(writer: DocumentWriter) -> UpsertResult:
            writer.upsert(batch)
            return UpsertResult(upserted=len(batch.ids), ids=list(batch.ids))

        return self._write(key, scope, UpsertResult, effect)

    @operation
    def update(
        self,
        path: CollectionPath,
        metadata: Mapping[str, Any],
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> int:
        """Merge metadata into that of the chosen documents."""
        scope = self._enter(path, Access.DOCUMENT_WRITE)
        patch = check_object(metadata, "metadata")
        selection = check_selection(ids, filter)

        def change(id: str, old: dict[str, Any]) -> str:
            merged = merge_patch(old, patch)
            return canonical(check_object(merged, f"metadata of {id!r}")).decode()

        def effect(writer: DocumentWriter) -> int:
            return writer.update(selection, change)

        key = request_key("documents.update", path, [patch, ids, filter])
        return self._write(key, scope, int, effect, without_store=0)

    @operation
    def delete(
        self,
        path: CollectionPath,
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> int:
        """Delete the chosen documents."""
        scope = self._enter(path, Access.DOCUMENT_WRITE)
        selection = check_selection(ids, filter)

        def effect(writer: DocumentWriter) -> int:
            return writer.delete(selection)

        key = request_key("documents.delete", path, [ids, filter])
        return self._write(key, scope, int, effect, without_store=0)

    @operation
    def get(
        self,
        path: CollectionPath,
        ids: Sequence[str],
        *,
        include: AbstractCollection[Include] = DEFAULT_INCLUDE,
    ) -> list[Document]:
        """The documents with these ids."""
        scope = self._enter(path, Access.DOCUMENT_READ)
        wanted, parts = check_ids(ids), _parts(include)
        with self._read(scope) as reader:
            return [] if reader is None else reader.get(wanted, parts)

    @operation
    def scan(
        self,
        path: CollectionPath,
        *,
        filter: Mapping[str, Any] | None = None,
        include: AbstractCollection[Include] = DEFAULT_INCLUDE,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Document]:
        """Documents in the order of their ids."""
        scope = self._enter(path, Access.DOCUMENT_READ)
        check_integer(limit, "limit", 1, MAX_PAGE_LIMIT)
        parsed, parts = _filter(filter), _parts(include)
        binding = ("documents", scope.collection.collection_id, None if parsed is None else parsed.canonical)
        after = None if cursor is None else cursors.decode(cursor, str, *binding)
        with self._read(scope) as reader:
            if reader is None:
                return Page(items=[])
            found, more = reader.scan(after=after, filter=parsed, include=parts, limit=limit)
        return Page(items=found, next_cursor=cursors.encode(found[-1].id, *binding) if more else None)

    @operation
    def count(self, path: CollectionPath, *, filter: Mapping[str, Any] | None = None) -> int:
        """How many documents there are, or match."""
        scope = self._enter(path, Access.DOCUMENT_READ)
        parsed = _filter(filter)
        with self._read(scope) as reader:
            return 0 if reader is None else reader.count(parsed)

    @operation
    def search(
        self,
        path: CollectionPath,
        *,
        text: str | None = None,
        vector: "Sequence[float] | NDArray[np.float32] | None" = None,
        top_k: int = 10,
        filter: Mapping[str, Any] | None = None,
        score_threshold: float | None = None,
        ef_search: int | None = None,
        include: AbstractCollection[Include] = DEFAULT_INCLUDE,
    ) -> SearchResult:
        """The documents that score highest."""
        scope = self._enter(path, Access.DOCUMENT_READ)
        check_integer(top_k, "top_k", 1, MAX_TOP_K)
        if ef_search is not None:
            check_integer(ef_search, "ef_search", 1, MAX_TOP_K)
        if score_threshold is not None and not _is_number(score_threshold):
            raise InvalidArgument("score_threshold", "must be a finite number")
        parsed, parts = _filter(filter), _parts(include)
        question = self._question(scope, text, vector)
        query = VectorQuery(question, top_k, parsed, score_threshold, ef_search)
        return self._search(scope, query, parts)

    def _question(self, scope: Scope, text: str | None, vector: object) -> "NDArray[np.float32]":
        collection = scope.collection
        if (text is None) == (vector is None):
            raise InvalidArgument("text", "either a text or a vector is needed, and not both")
        if vector is not None:
            return check_vector(vector, collection.dimension, collection.metric)
        checked = check_text(text, "text", maximum_bytes=MAX_TEXT_BYTES)
        if collection.embedding_model is None:
            raise InvalidArgument("vector", "is needed: the collection has no embedding model")
        found: NDArray[np.float32] = self._embeddings.embed_for(collection, [checked], "query").vectors[0]
        return found

    def _search(self, scope: Scope, query: VectorQuery, include: frozenset[Include]) -> SearchResult:
        """Ask the index, then fetch the rows; begin again when a row changed in between.

        The index may know rows that are newer than this reader's snapshot.
        """
        statistics = SearchStatistics(plan="exact", scanned=0, allowed=0)
        matches: list[Match] = []
        tenant = scope.tenant
        for attempt in range(SEARCH_ATTEMPTS):
            # Rows that change without pause are read from the snapshot itself in the end.
            quota = 0 if attempt == SEARCH_ATTEMPTS - 1 else tenant.memory_quota_bytes
            with self._stores.existing(tenant.tenant_id) as store:
                if store is None:
                    break
                with store.read(scope.collection.collection_id) as reader:
                    hits, statistics = self._index.search(
                        tenant.tenant_id, store.store_id, quota, reader, query
                    )
                    rows = reader.fetch([hit.document_key for hit in hits], include)
            matches = [_match(hit, rows[hit.document_key][1]) for hit in hits if _is_current(hit, rows)]
            if len(matches) == len(hits):
                break
        return SearchResult(matches=matches, statistics=statistics)

    def _enter(self, path: CollectionPath, work: Access) -> Scope:
        """Find the collection, see that its state lets the work through, and take from the rate."""
        scope = self._scopes.find(path)
        require(work, scope.tenant.status, scope.database.state, scope.collection.state)
        self._limiter.take(scope.tenant)
        return scope

    @contextmanager
    def _read(self, scope: Scope) -> Iterator[DocumentReader | None]:
        """A reader, None when the tenant has no document at all."""
        with self._stores.existing(scope.tenant.tenant_id) as store:
            if store is None:
                yield None
            else:
                with store.read(scope.collection.collection_id) as reader:
                    yield reader

    def _remembered(self, scope: Scope, key: RequestKey | None, kind: type[T]) -> T | None:
        """The answer to a request that was served before, looked for before any costly work."""
        if key is None:
            return None
        with self._read(scope) as reader:
            known = None if reader is None else reader.answers.find(key, self._now())
        return None if known is None else wire.decode(known, kind)

    def _write(
        self,
        key: RequestKey | None,
        scope: Scope,
        kind: type[T],
        effect: Callable[[DocumentWriter], T],
        *,
        without_store: T | None = None,
    ) -> T:
        """Run `effect` in a transaction of the tenant's store, once for each idempotency key.

        With `without_store`, a tenant that has no store gets that answer and no store.
        """
        if without_store is not None and key is None:
            with self._stores.existing(scope.tenant.tenant_id) as existing:
                if existing is None:
                    return without_store

        def attempt() -> T:
            now = self._now()
            with (
                self._stores.made(scope.tenant.tenant_id) as store,
                store.transaction(scope.collection.collection_id) as writer,
            ):
                known = None if key is None else writer.answers.find(key, now)
                if known is not None:
                    return wire.decode(known, kind)
                result = effect(writer)
                if key is not None:
                    writer.answers.add(key, wire.encode(result), None, now)
                return result

        result = retried(attempt, "tenant")
        self._signals.notify(scope.tenant.tenant_id)
        return result


def _is_current(hit: Hit, rows: Mapping[int, tuple[int, Document]]) -> bool:
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


def _filter(value: Mapping[str, Any] | None) -> Filter | None:
    """A filter, None for one that every document passes."""
    if value is None:
        return None
    parsed = Filter.parse(value)
    return None if parsed.is_empty else parsed


def _parts(include: AbstractCollection[Include]) -> frozenset[Include]:
    if isinstance(include, str) or not isinstance(include, AbstractCollection):
        raise InvalidArgument("include", "must be a list of parts")
    return frozenset(check_word(Include, part, "include") for part in include)


def _is_number(value: object) -> bool:
    return (type(value) is int and abs(value) <= MAX_INTEGER) or (type(value) is float and isfinite(value))
