"""Searches of a collection, and the state of its index."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from akidb.client.handles.base import Bound, IncludeLike, parts
from akidb.client.questions import texts_or_vectors
from akidb.client.results import Matches
from akidb.domain.documents import (
    DEFAULT_INCLUDE,
    SearchMode,
)
from akidb.domain.errors import InvalidArgument
from akidb.domain.index_state import IndexState
from akidb.domain.names import check_word
from akidb.operations import collections
from akidb.operations import documents as docs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from akidb.client.questions import Queries


class Searching(Bound):
    """What the handle of a collection has for searches."""

    __slots__ = ("_where",)
    _where: dict[str, Any]

    def index(self) -> IndexState:
        """Return the state of the index of vectors: what is in memory and in segments, and their recall."""
        return self._perform(collections.GetIndex(**self._where))

    def rebuild_index(self) -> IndexState:
        """Make the index of vectors anew from the documents, and return its state.

        Segments are built in the background.
        """
        return self._perform(collections.RebuildIndex(**self._where))

    def search(
        self,
        query: "str | Sequence[float] | NDArray[np.float32] | None" = None,
        *,
        id: str | None = None,
        top_k: int = 10,
        filter: Mapping[str, Any] | None = None,
        score_threshold: float | None = None,
        group_by: str | None = None,
        group_size: int = 1,
        ef_search: int | None = None,
        recall: float | None = None,
        explain: bool = False,
        include: IncludeLike = DEFAULT_INCLUDE,
        mode: SearchMode | Literal["vector", "keyword", "hybrid"] = SearchMode.VECTOR,
        vector: "Sequence[float] | NDArray[np.float32] | None" = None,
        weights: Mapping[str, float] | None = None,
        highlights: bool = False,
        cursor: str | None = None,
    ) -> Matches:
        """Return the `top_k` documents that score highest against a text or a vector, best first.

        A text query requires a collection with an embedding model. The score is the cosine similarity, the
        dot product, or the negated Euclidean distance. Matches below `score_threshold` are omitted.

        With `id` instead, return the documents whose vectors are most like the one of that document,
        without itself. Raises NotFound if it does not exist.

        With `mode="keyword"` the documents are found by the words of the text; the score is BM25. With
        `"hybrid"` both rankings are joined, with `weights` such as `{"vector": 1, "keyword": 2}`; the
        `vector` of the text can be given. `highlights` adds the part of each text with these words.

        With `group_by`, a field of the metadata, return the best `group_size` documents of each of `top_k`
        groups with the same text, number or boolean; one with a list belongs to the group of each item.
        `.groups` of the result has them by group.

        Large collections are searched in graphs, which find `recall` of the best matches by measurement
        (0.95 by default; 1 compares all vectors), or keep `ef_search` candidates. `explain` adds `steps` to
        the `statistics`. `cursor`, the `next_cursor` of the previous page, continues after its last match.
        """
        text = query if isinstance(query, str) else None
        if text is None and vector is not None:
            raise InvalidArgument("query", "must be a text if vector is given")
        result = self._perform(
            docs.SearchDocuments(
                **self._where,
                text=text,
                vector=vector if isinstance(query, str) else query,
                id=id,
                mode=check_word(SearchMode, mode, "mode"),
                top_k=top_k,
                filter=filter,
                score_threshold=score_threshold,
                group_by=group_by,
                group_size=group_size,
                ef_search=ef_search,
                recall=recall,
                explain=explain,
                weights=weights,
                highlights=highlights,
                include=parts(include),
                cursor=cursor,
            )
        )
        return Matches(result.matches, result.statistics, result.next_cursor)

    def search_many(
        self,
        queries: "Queries | None" = None,
        *,
        ids: Sequence[str] | None = None,
        top_k: int = 10,
        filter: Mapping[str, Any] | None = None,
        score_threshold: float | None = None,
        group_by: str | None = None,
        group_size: int = 1,
        ef_search: int | None = None,
        recall: float | None = None,
        include: IncludeLike = DEFAULT_INCLUDE,
    ) -> list[Matches]:
        """Answer up to 200 searches in one call, from one snapshot; return the matches of each.

        `queries` are texts, which are embedded as one batch, or vectors: a list, or an array of shape
        `(n, dimension)`. With `ids` instead, each search is for the documents most like that one. The other
        arguments are those of `search`, for each of them. Each counts towards the tenant's rate limit.
        """
        texts, vectors = texts_or_vectors(queries)
        results = self._perform(
            docs.SearchBatch(
                **self._where,
                texts=texts,
                vectors=vectors,
                ids=ids,
                top_k=top_k,
                filter=filter,
                score_threshold=score_threshold,
                group_by=group_by,
                group_size=group_size,
                ef_search=ef_search,
                recall=recall,
                include=parts(include),
            )
        )
        return [Matches(result.matches, result.statistics, result.next_cursor) for result in results]
