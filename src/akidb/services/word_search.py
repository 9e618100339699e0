"""Search by the words of a text, alone or joined with a search by vectors."""

from contextlib import ExitStack

from msgspec.structs import replace

from akidb.domain.documents import Include, SearchResult, SearchStatistics
from akidb.domain.entities import Scope, limit_of
from akidb.domain.fusion import SIDES, candidates, fused
from akidb.domain.keywords import Term, terms_of
from akidb.operations import documents as ask
from akidb.ports.columns import MetadataColumns
from akidb.ports.documents import DocumentReader
from akidb.ports.keywords import KeywordHit, KeywordIndexes
from akidb.ports.limits import AnswerTooLarge
from akidb.ports.search import Hit, VectorIndex
from akidb.services.answer_limits import AnswerLimits, given_filter
from akidb.services.choosing import (
    Chosen,
    Look,
    Question,
    Rows,
    Wanted,
    choose,
    graph_settings,
    result_of,
)
from akidb.services.keyword_search import KeywordQuery, KeywordSearch
from akidb.services.store_access import StoreAccess

ATTEMPTS = 5
"""Maximum attempts of a hybrid search when rows change between the index of vectors and the fetch."""


class WordSearch:
    """Answers searches of the modes `keyword` and `hybrid`."""

    def __init__(
        self,
        stores: StoreAccess,
        index: VectorIndex,
        keywords: KeywordIndexes,
        columns: MetadataColumns,
        limits: AnswerLimits,
    ) -> None:
        self._stores = stores
        self._index = index
        self._keywords = keywords
        self._keyword_search = KeywordSearch(keywords, columns)
        self._limits = limits

    def search(self, scope: Scope, asked: ask.SearchDocuments, question: Question | None) -> SearchResult:
        """Search by the words of the text, and by the vector of `question` if it is given."""
        terms = terms_of(asked.text or "")
        answer = SearchResult(
            matches=[], statistics=SearchStatistics(plan=str(asked.mode), scanned=0, allowed=0)
        )
        filter = given_filter(asked.filter)
        number = asked.top_k if question is None else candidates(asked.top_k)
        query = KeywordQuery(terms, number, filter, self._limits.deadline(filter))
        for attempt in range(ATTEMPTS):
            # The last attempt reads the vectors of the snapshot itself, in case rows change constantly.
            quota = 0 if attempt == ATTEMPTS - 1 else limit_of(scope.tenant.memory_quota_bytes)
            with self._stores.existing(scope.tenant.tenant_id) as store:
                if store is None:
                    break
                with ExitStack() as reading:
                    reader, found = self._keyword_search.search(store, scope, query, reading)
                    if question is not None:
                        look = Look(
                            *(self._index, scope.tenant.tenant_id, store.store_id, quota, reader),
                            graph_settings(scope.collection),
                            *(filter, None, asked.ef_search, query.deadline),
                            asked.recall,
                            asked.explain,
                        )
                        found = _joined(choose(look, question, Wanted(number)), found, asked)
                    chosen = _above(found, asked.score_threshold)
                    rows = self._fetched(reader, chosen, asked)
            answer, is_current = result_of(chosen, rows)
            if is_current:
                break
        if question is not None and question.truncated:
            answer = replace(answer, statistics=replace(answer.statistics, query_truncated=True))
        return self._highlighted(answer, terms, asked) if asked.highlights else answer

    def _fetched(self, reader: DocumentReader, chosen: Chosen, asked: ask.SearchDocuments) -> Rows:
        include = {*asked.include, Include.TEXT} if asked.highlights else asked.include
        keys = [hit.document_key for hit in chosen.hits]
        try:
            return reader.fetch(keys, include, most_bytes=self._limits.max_bytes)
        except AnswerTooLarge:
            raise self._limits.refusal("top_k", "a smaller top_k") from None

    def _highlighted(
        self, answer: SearchResult, terms: list[Term], asked: ask.SearchDocuments
    ) -> SearchResult:
        """Return the answer with highlights, and with texts only if they are included."""
        found = self._keywords.highlights(terms, [match.text or "" for match in answer.matches])
        keeps_text = Include.TEXT in asked.include
        matches = [
            replace(match, highlight=highlight, text=match.text if keeps_text else None)
            for match, highlight in zip(answer.matches, found, strict=True)
        ]
        return replace(answer, matches=matches)


def _above(found: Chosen, least: float | None) -> Chosen:
    """Leave out the rows with a lower score than `least`."""
    return found if least is None else replace(found, hits=[hit for hit in found.hits if hit.score >= least])


def _joined(by_vector: Chosen, by_words: Chosen, asked: ask.SearchDocuments) -> Chosen:
    """Join two rankings to one, with the scores of reciprocal rank fusion."""
    known: dict[str, Hit | KeywordHit] = {hit.id: hit for hit in by_words.hits}
    for hit in by_vector.hits:  # the index may have a newer state than the reader: then it is not current
        other = known.get(hit.id)
        if other is None or hit.sequence > other.sequence:
            known[hit.id] = hit
    weights = [1.0 if asked.weights is None else asked.weights[side] for side in SIDES]
    sides = [[hit.id for hit in each.hits] for each in (by_vector, by_words)]
    ranked = fused(zip(weights, sides, strict=True))[: asked.top_k]
    damaged = max(by_vector.statistics.damaged, by_words.statistics.damaged)
    return Chosen(
        [Hit(known[id].document_key, known[id].sequence, id, score) for id, score in ranked],
        replace(by_vector.statistics, plan="hybrid", damaged=damaged),
    )
