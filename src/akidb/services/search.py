"""Search over the documents of a collection, within the tenant's limits."""

from collections.abc import Collection as AbstractCollection
from collections.abc import Sequence
from functools import partial

from akidb.domain.documents import (
    MAX_BATCH_MATCHES,
    MAX_CANDIDATES,
    MAX_TOP_K,
    SearchMode,
    SearchResult,
    size_in_answer,
)
from akidb.domain.entities import Collection, Scope, limit_of
from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.domain.index_state import EMPTY, IndexState
from akidb.observe.right_of_way import giving_way
from akidb.operations import documents as ask
from akidb.operations.collections import GetIndex, RebuildIndex
from akidb.ports.columns import MetadataColumns
from akidb.ports.documents import DocumentReader
from akidb.ports.keywords import KeywordIndexes
from akidb.ports.limits import AnswerTooLarge
from akidb.ports.search import VectorIndex
from akidb.services.answer_limits import AnswerLimits, given_filter
from akidb.services.batches import check_vector, check_vectors
from akidb.services.choosing import (
    Chosen,
    Look,
    Position,
    Question,
    Rows,
    Wanted,
    choose,
    graph_settings,
    nothing,
    result_of,
)
from akidb.services.dispatch import on_collection
from akidb.services.embeddings import EmbeddingService
from akidb.services.search_pages import Pages
from akidb.services.store_access import StoreAccess
from akidb.services.word_search import WordSearch

SEARCH_ATTEMPTS = 5
"""Maximum search attempts when rows change between the index lookup and the fetch."""

Asked = ask.SearchDocuments | ask.SearchBatch


class SearchService:
    """Implements the searches of `akidb.operations.documents`."""

    def __init__(
        self,
        *,
        stores: StoreAccess,
        index: VectorIndex,
        keywords: KeywordIndexes,
        columns: MetadataColumns,
        embeddings: EmbeddingService,
        limits: AnswerLimits,
    ) -> None:
        self._stores = stores
        self._index = index
        self._embeddings = embeddings
        self._limits = limits
        self._words = WordSearch(stores, index, keywords, columns, limits)

    @on_collection(ask.SearchDocuments)
    def search(self, scope: Scope, asked: ask.SearchDocuments) -> SearchResult:
        if asked.mode == SearchMode.KEYWORD:
            return self._words.search(scope, asked, None)
        if asked.vector is not None:
            vector = check_vector(asked.vector, scope.collection.dimension, scope.collection.metric)
            question = Question(vector, field="vector")
        elif asked.text is not None:
            (question,) = self._embedded(scope.collection, [asked.text], "vector")
        else:
            question = Question(id=asked.id)
        if asked.mode == SearchMode.HYBRID:
            return self._words.search(scope, asked, question)
        if asked.cursor is not None and asked.group_by is not None:
            raise InvalidArgument("cursor", "cannot be given with group_by: groups have one page")
        (found,) = self._answer(scope, asked, [question], asked.cursor)
        return found

    @on_collection(GetIndex)
    def index(self, scope: Scope, asked: GetIndex) -> IndexState:  # noqa: ARG002 - no fields
        return self._index_state(scope)

    @on_collection(RebuildIndex)
    def rebuild_index(self, scope: Scope, asked: RebuildIndex) -> IndexState:  # noqa: ARG002 - no fields
        tenant = scope.tenant
        with self._stores.existing(tenant.tenant_id) as store:
            if store is not None:
                with store.read(scope.collection.collection_id) as reader:
                    self._index.rebuild(
                        tenant.tenant_id,
                        store.store_id,
                        limit_of(tenant.memory_quota_bytes),
                        reader,
                        graph_settings(scope.collection),
                    )
        return self._index_state(scope)

    def _index_state(self, scope: Scope) -> IndexState:
        tenant_id = scope.tenant.tenant_id
        with self._stores.existing(tenant_id) as store:
            if store is None:
                return EMPTY
            with store.latest(scope.collection.collection_id) as reader:
                return self._index.state(tenant_id, store.store_id, reader.control)

    @on_collection(ask.SearchBatch)
    def search_batch(self, scope: Scope, asked: ask.SearchBatch) -> list[SearchResult]:
        return self._answer(scope, asked, self._questions(scope.collection, asked), None)

    def _questions(self, collection: Collection, asked: ask.SearchBatch) -> list[Question]:
        if asked.texts is not None:
            return self._embedded(collection, asked.texts, "vectors")
        if asked.vectors is not None:
            names = [f"vectors[{place}]" for place in range(len(asked.vectors))]
            matrix = check_vectors(asked.vectors, collection.dimension, collection.metric, names)
            return [Question(row, field=name) for row, name in zip(matrix, names, strict=True)]
        return [Question(id=id, field=f"ids[{place}]") for place, id in enumerate(asked.ids or ())]

    def _embedded(self, collection: Collection, texts: Sequence[str], instead: str) -> list[Question]:
        if collection.embedding_model is None:
            raise InvalidArgument(instead, "is needed: the collection has no embedding model")
        found = self._embeddings.embed_for(collection, texts, "query")
        return [
            Question(vector, truncated=truncated)
            for vector, truncated in zip(found.vectors, found.truncated, strict=True)
        ]

    def _answer(
        self, scope: Scope, asked: Asked, questions: Sequence[Question], cursor: str | None
    ) -> list[SearchResult]:
        """Query the index for all questions, then fetch the rows; retry if a row changed in between.

        The index may contain rows newer than this reader's snapshot.
        """
        tenant, filter = scope.tenant, given_filter(asked.filter)
        pages = partial(Pages, scope.collection, asked, filter)
        after = None if cursor is None else pages(questions[0]).position(cursor)
        wanted = _wanted(asked, len(questions), after)
        deadline = self._limits.deadline(filter)
        answers: list[SearchResult] = []
        for attempt in range(SEARCH_ATTEMPTS):
            # The last attempt reads the snapshot itself, in case rows change constantly.
            quota = 0 if attempt == SEARCH_ATTEMPTS - 1 else limit_of(tenant.memory_quota_bytes)
            with self._stores.existing(tenant.tenant_id) as store:
                if store is None:
                    return [nothing(question) for question in questions]
                with store.latest(scope.collection.collection_id) as reader:
                    _require_same_dimension(scope.collection, reader)
                    look = Look(
                        *(self._index, tenant.tenant_id, store.store_id, quota, reader),
                        graph_settings(scope.collection),
                        *(filter, asked.score_threshold, asked.ef_search, deadline),
                        asked.recall,
                        type(asked) is ask.SearchDocuments and asked.explain,
                    )
                    chosen = [choose(look, question, wanted) for question in giving_way(questions)]
                    rows = self._fetched(reader, chosen, asked.include)
            if len(chosen) > 1 or asked.group_by is not None:
                self._check_size(chosen, rows)
            answers, are_current = [], True
            for found, question in zip(chosen, questions, strict=True):
                cursor = None if found.last is None else pages(question).cursor(found.last)
                answer, is_current = result_of(found, rows, cursor)
                answers.append(answer)
                are_current = are_current and is_current
            if are_current:
                break
        return answers

    def _fetched(
        self, reader: DocumentReader, chosen: Sequence[Chosen], include: AbstractCollection[str]
    ) -> Rows:
        keys = [hit.document_key for found in chosen for hit in found.hits]
        if len(chosen) > 1 or chosen[0].groups is not None:
            keys = list(dict.fromkeys(keys))
        try:
            return reader.fetch(keys, include, most_bytes=self._limits.max_bytes)
        except AnswerTooLarge:
            raise self._too_large() from None

    def _too_large(self) -> InvalidArgument:
        return self._limits.refusal("top_k", "a smaller top_k")

    def _check_size(self, chosen: Sequence[Chosen], rows: Rows) -> None:
        """Raise InvalidArgument if the documents, some of them in several answers, take too much."""
        sizes = {
            key: 0 if document is None else size_in_answer(document) for key, (_, document) in rows.items()
        }
        size = sum(sizes.get(hit.document_key, 0) for found in chosen for hit in found.hits)
        if size > self._limits.max_bytes:
            raise self._too_large()


def _require_same_dimension(collection: Collection, reader: DocumentReader) -> None:
    """Raise Unavailable if the store has another dimension than the metadata, which decide what is valid."""
    own = reader.control.dimension
    if own != collection.dimension and own is not None and collection.dimension is not None:
        raise Unavailable(
            f"collection {collection.collection_id} has another dimension in its store than in the metadata;"
            " run `akidb doctor --repair`"
        )


def _wanted(asked: Asked, questions: int, after: Position | None) -> Wanted:
    """Raises InvalidArgument for more matches than one answer may have."""
    if asked.group_by is None and asked.group_size != 1:
        raise InvalidArgument("group_size", "is of no use without group_by")
    most = min(MAX_TOP_K, MAX_BATCH_MATCHES // questions)
    if asked.top_k * asked.group_size > most:
        limit = f"must be at most {most // asked.group_size}"
        what = f" for {questions} questions" if questions > 1 else ""
        groups = f" of {asked.group_size} matches" if asked.group_size > 1 else ""
        raise InvalidArgument("top_k", f"{limit}{groups}{what}")
    rows = max(MAX_CANDIDATES // questions, asked.top_k + 2)
    return Wanted(asked.top_k, asked.group_by, asked.group_size, after, rows)
