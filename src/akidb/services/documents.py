"""Documents: upsert, read and delete, within the tenant's limits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import compress
from typing import TYPE_CHECKING, Any, TypeVar

from akidb.domain import cursors
from akidb.domain.documents import (
    MAX_TRUNCATED_IDS,
    Document,
    Page,
    UpsertMode,
    UpsertResult,
)
from akidb.domain.entities import Scope
from akidb.domain.errors import Damaged, InvalidArgument, InvalidState, NotFound
from akidb.domain.facets import Facets
from akidb.domain.filters import Filter
from akidb.domain.ids import IdGenerator
from akidb.domain.json import canonical, check_object, merge_patch
from akidb.domain.ordering import After
from akidb.operations import documents as ask
from akidb.operations.declare import OPERATIONS
from akidb.ports.answers import RequestKey
from akidb.ports.clock import Clock
from akidb.ports.columns import MetadataColumns
from akidb.ports.documents import DocumentReader, DocumentWriter, Selection
from akidb.ports.limits import AnswerTooLarge, Deadline
from akidb.ports.stores import TenantStore
from akidb.services.answer_limits import AnswerLimits, given_filter
from akidb.services.batches import (
    CheckedChanges,
    CheckedDocuments,
    check_document_changes,
    check_documents,
    require_dimension,
)
from akidb.services.dimensions import Dimensions
from akidb.services.dispatch import on_collection
from akidb.services.embeddings import EmbeddingService
from akidb.services.filtered import Filtered, Order
from akidb.services.idempotency import Kept, KeptIds, KeptValue, expiry, recalled, request_key
from akidb.services.retries import read_again, retried
from akidb.services.signals import Signals
from akidb.services.store_access import StoreAccess

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")


class DocumentService:
    """Implements `akidb.operations.documents`."""

    def __init__(
        self,
        *,
        stores: StoreAccess,
        columns: MetadataColumns,
        dimensions: Dimensions,
        embeddings: EmbeddingService,
        ids: IdGenerator,
        clock: Clock,
        signals: Signals,
        limits: AnswerLimits,
    ) -> None:
        self._stores = stores
        self._columns = columns
        self._dimensions = dimensions
        self._limits = limits
        self._embeddings = embeddings
        self._ids = ids
        self._clock = clock
        self._signals = signals

    @on_collection(ask.UpsertDocuments)
    def upsert(self, scope: Scope, asked: ask.UpsertDocuments) -> UpsertResult:
        checked: CheckedDocuments | CheckedChanges
        if asked.mode is UpsertMode.UPDATE:
            checked = check_document_changes(asked.documents, scope.collection)
        else:
            checked = check_documents(asked.documents, scope.collection, self._ids)
        key = request_key(OPERATIONS[ask.UpsertDocuments], asked)
        kept = KeptIds(checked.ids, checked.made_at, asked.mode)
        known = self._remembered(scope, key, kept)
        if known is not None:
            return known
        vectors, truncated = None, set[str]()
        if checked.missing_at:
            texts = [str(checked.texts[place]) for place in checked.missing_at]
            embedded = self._embeddings.embed_for(scope.collection, texts, "document")
            vectors = embedded.vectors
            truncated = {checked.ids[at] for at in compress(checked.missing_at, embedded.truncated)}
        write = _writing(checked, vectors, asked.mode)

        def effect(writer: DocumentWriter, _store: TenantStore) -> UpsertResult:
            if scope.collection.dimension is None:
                require_dimension(checked, writer.control.dimension)
            ids, without_vector = write(writer)
            cut = [id for id in ids if id in truncated] if truncated else []
            return UpsertResult(
                upserted=len(ids),
                ids=ids,
                truncated=len(cut),
                truncated_ids=cut[:MAX_TRUNCATED_IDS],
                without_vector=without_vector,
            )

        without_store = UpsertResult(upserted=0, ids=[]) if asked.mode is UpsertMode.UPDATE else None
        return self._write(key, scope, kept, effect, without_store=without_store)

    @on_collection(ask.UpdateDocuments)
    def update(self, scope: Scope, asked: ask.UpdateDocuments) -> int:
        def change(id: str, old: dict[str, Any]) -> str:
            merged = merge_patch(old, asked.metadata)
            return canonical(check_object(merged, f"metadata of {id!r}")).decode()

        return self._write_selected(scope, asked, lambda writer, selection: writer.update(selection, change))

    @on_collection(ask.DeleteDocuments)
    def delete(self, scope: Scope, asked: ask.DeleteDocuments) -> int:
        return self._write_selected(scope, asked, lambda writer, selection: writer.delete(selection))

    def _write_selected(
        self,
        scope: Scope,
        asked: ask.UpdateDocuments | ask.DeleteDocuments,
        write: Callable[[DocumentWriter, Selection], int],
    ) -> int:
        """Write to documents selected by ids or by filter, both checked; return their number."""
        filter = given_filter(asked.filter)
        deadline = self._limits.deadline(filter)
        key = request_key(OPERATIONS[type(asked)], asked)
        known = None if filter is None else self._remembered(scope, key, KeptValue(int))
        if known is not None:
            return known
        by_columns = filter is not None and self._catch_up(scope, filter, deadline)

        def effect(writer: DocumentWriter, store: TenantStore) -> int:
            if asked.ids is not None:
                return write(writer, Selection(ids=list(asked.ids)))
            if filter is not None and by_columns:
                return write(
                    writer, Filtered(self._columns, scope, store).selection(writer, filter, deadline)
                )
            return write(writer, Selection(filter=filter, deadline=deadline))

        return self._write(key, scope, KeptValue(int), effect, without_store=0)

    def _catch_up(self, scope: Scope, filter: Filter, deadline: Deadline | None) -> bool:
        """Bring the columns up to date before a transaction, in which others wait.

        Return whether to use them. What forbids reading is left to the transaction to find.
        """
        with suppress(NotFound, InvalidState), self._filtered(scope) as found:
            if found is not None:
                reader, filtered = found
                return filtered.catch_up(reader, filter, deadline)
        return False

    @on_collection(ask.ClearDocuments)
    def clear(self, scope: Scope, asked: ask.ClearDocuments) -> int:
        key = request_key(OPERATIONS[ask.ClearDocuments], asked)
        return self._write(key, scope, KeptValue(int), lambda writer, _: writer.clear(), without_store=0)

    @on_collection(ask.GetDocuments)
    def get(self, scope: Scope, asked: ask.GetDocuments) -> list[Document]:
        most_bytes = self._limits.max_bytes
        with self._read(scope) as reader:
            if reader is None:
                return []
            try:
                return reader.get(list(asked.ids), asked.include, most_bytes=most_bytes)
            except AnswerTooLarge:
                raise self._limits.refusal("ids", "fewer ids") from None

    @on_collection(ask.ScanDocuments)
    def scan(self, scope: Scope, asked: ask.ScanDocuments) -> Page[Document]:
        filter = given_filter(asked.filter)
        if asked.order_by is not None:
            return self._scan_in_order(scope, asked, Order(asked.order_by, asked.descending), filter)
        if asked.descending:
            raise InvalidArgument("descending", "is of no use without order_by")
        binding = ("documents", scope.collection.collection_id, None if filter is None else filter.canonical)
        after = None if asked.cursor is None else cursors.decode(asked.cursor, str, *binding)
        with self._filtered(scope) as read:
            if read is None:
                return Page(items=[])
            reader, filtered = read
            try:
                found, position = filtered.scan(
                    reader,
                    after=after,
                    filter=filter,
                    include=asked.include,
                    limit=asked.limit,
                    most_bytes=self._limits.max_bytes,
                    deadline=self._limits.deadline(filter),
                )
            except Damaged as error:
                if error.document_id is not None:
                    error.fields["next_cursor"] = cursors.encode(error.document_id, *binding)
                raise
        return Page(items=found, next_cursor=None if position is None else cursors.encode(position, *binding))

    def _scan_in_order(
        self, scope: Scope, asked: ask.ScanDocuments, order: Order, filter: Filter | None
    ) -> Page[Document]:
        chosen = None if filter is None else filter.canonical
        binding = ("documents", scope.collection.collection_id, chosen, *order)
        after = None if asked.cursor is None else cursors.decode(asked.cursor, After, *binding).place()
        with self._filtered(scope) as read:
            if read is None:
                return Page(items=[])
            reader, filtered = read
            try:
                found, places = filtered.ordered(
                    reader,
                    order,
                    after=after,
                    filter=filter,
                    include=asked.include,
                    limit=asked.limit,
                    most_bytes=self._limits.max_bytes,
                    deadline=Deadline(self._limits.filter_timeout_seconds),
                )
            except Damaged as error:
                if "next_cursor" in error.fields:
                    error.fields["next_cursor"] = cursors.encode(error.fields["next_cursor"], *binding)
                raise
        if found.after is None:
            return Page(items=found.documents)
        last = After.of(places[len(found.documents) - 1])
        return Page(items=found.documents, next_cursor=cursors.encode(last, *binding))

    @on_collection(ask.CountDocuments)
    def count(self, scope: Scope, asked: ask.CountDocuments) -> int:
        filter = given_filter(asked.filter)
        with self._filtered(scope) as read:
            if read is None:
                return 0
            reader, filtered = read
            return filtered.count(reader, filter, self._limits.deadline(filter))

    @on_collection(ask.GetFacets)
    def facets(self, scope: Scope, asked: ask.GetFacets) -> Facets:
        deadline = Deadline(self._limits.filter_timeout_seconds)
        with self._filtered(scope) as read:
            if read is None:
                return Facets(values=[], distinct=0)
            reader, filtered = read
            counts = filtered.facets(reader, asked.field, given_filter(asked.filter), deadline)
        found = counts.most_frequent(asked.limit)
        size = sum(len(facet.value.encode()) for facet in found.values if isinstance(facet.value, str))
        if size > self._limits.max_bytes:
            raise InvalidArgument(
                "limit", f"selects more than the {self._limits.max_bytes} bytes that one answer may have"
            )
        return found

    @contextmanager
    def _read(self, scope: Scope) -> Iterator[DocumentReader | None]:
        """Yield a reader, or None when the tenant has no store."""
        with self._stores.existing(scope.tenant.tenant_id) as store:
            if store is None:
                yield None
            else:
                with store.latest(scope.collection.collection_id) as reader:
                    yield reader

    @contextmanager
    def _filtered(self, scope: Scope) -> Iterator[tuple[DocumentReader, Filtered] | None]:
        """Yield a reader, and what answers by a filter; None when the tenant has no store."""
        with self._stores.existing(scope.tenant.tenant_id) as store:
            if store is None:
                yield None
            else:
                with store.latest(scope.collection.collection_id) as reader:
                    yield reader, Filtered(self._columns, scope, store)

    def _remembered(self, scope: Scope, key: RequestKey | None, kept: Kept[T]) -> T | None:
        """Return the stored response to a repeated request, before any expensive work."""
        if key is None:
            return None

        def find() -> bytes | None:
            with self._read(scope) as reader:
                return None if reader is None else reader.answers.find(key, expiry(self._clock))

        known = read_again(find, "tenant")
        return None if known is None else recalled(kept, known, key)

    def _write(
        self,
        key: RequestKey | None,
        scope: Scope,
        kept: Kept[T],
        effect: Callable[[DocumentWriter, TenantStore], T],
        *,
        without_store: T | None = None,
    ) -> T:
        """Run `effect` in a transaction of the tenant's store, once per idempotency key.

        With `without_store`, return that value for a tenant without a store instead of creating one.
        """
        if without_store is not None and key is None:
            with self._stores.existing(scope.tenant.tenant_id) as existing:
                if existing is None:
                    return without_store

        settled: int | None = None

        def attempt() -> T:
            nonlocal settled
            now = self._clock.now()
            with (
                self._stores.made(scope.tenant.tenant_id) as store,
                store.transaction(scope.collection.collection_id) as writer,
            ):
                known = None if key is None else writer.answers.find(key, expiry(self._clock))
                if key is not None and known is not None:
                    return recalled(kept, known, key)
                result = effect(writer, store)
                if scope.collection.dimension is None:
                    settled = writer.control.dimension
                if key is not None:
                    writer.answers.add(key, kept.encode(result), None, now, expiry(self._clock))
                return result

        result = retried(attempt, "tenant")
        if settled is not None:
            self._dimensions.learn(scope.tenant.tenant_id, scope.collection.collection_id, settled)
        self._signals.notify(scope.tenant.tenant_id)
        return result


def _writing(
    checked: CheckedDocuments | CheckedChanges, vectors: "NDArray[np.float32] | None", mode: UpsertMode
) -> Callable[[DocumentWriter], tuple[list[str], int]]:
    """Return the function that writes documents.

    It returns the ids of those written, and how many of them have no vector.
    """
    if isinstance(checked, CheckedChanges):
        changes = checked.changes(vectors)

        def change(writer: DocumentWriter) -> tuple[list[str], int]:
            places, without_vector = writer.change(changes)
            return [changes.ids[place] for place in places], without_vector

        return change
    batch = checked.batch(vectors)
    if mode is UpsertMode.UPSERT:

        def upsert(writer: DocumentWriter) -> tuple[list[str], int]:
            writer.upsert(batch)
            return list(batch.ids), len(batch.without_vector)

        return upsert

    def insert(writer: DocumentWriter) -> tuple[list[str], int]:
        places = writer.insert(batch, skip=mode is UpsertMode.SKIP)
        without_vector = len(set(batch.without_vector).intersection(places))
        return [batch.ids[place] for place in places], without_vector

    return insert
