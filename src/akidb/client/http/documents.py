"""Documents and search over HTTP."""

# ruff: noqa: D102 - the port says what each method does

from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from akidb.client.http import checks
from akidb.client.http.caller import Caller
from akidb.client.http.checks import checked, given
from akidb.client.http.paths import collection_path, page_query
from akidb.client.http.vectors import sendable, sendable_rows
from akidb.domain.documents import (
    DEFAULT_INCLUDE,
    DEFAULT_PAGE_LIMIT,
    Document,
    DocumentLike,
    Include,
    Match,
    Page,
    SearchResult,
    UpsertResult,
)
from akidb.domain.filters import Filter
from akidb.domain.json import check_object
from akidb.ports.operations import CollectionPath
from akidb.services.batches import check_batch, check_fields, check_ids, check_selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

FoundT = TypeVar("FoundT", Document, Match)


class _Documents(msgspec.Struct):
    documents: list[Document]


class _Count(msgspec.Struct):
    count: int


class _Updated(msgspec.Struct):
    updated: int


class _Deleted(msgspec.Struct):
    deleted: int


class HttpDocuments:
    """`akidb.ports.operations.DocumentOperations` of a server."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def upsert(self, path: CollectionPath, documents: Sequence[DocumentLike]) -> UpsertResult:
        check_batch(documents)
        fields = {"documents": _documents(documents)}
        return self._caller.post(UpsertResult, _documents_path(path), fields)

    def get(
        self,
        path: CollectionPath,
        ids: Sequence[str],
        *,
        include: AbstractCollection[Include] = DEFAULT_INCLUDE,
    ) -> list[Document]:
        fields = {"ids": check_ids(ids), "include": sorted(include)}
        found = self._caller.ask(_Documents, f"{_documents_path(path)}/get", fields).documents
        return _with_arrays(found, include)

    def scan(
        self,
        path: CollectionPath,
        *,
        filter: Mapping[str, Any] | None = None,
        include: AbstractCollection[Include] = DEFAULT_INCLUDE,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Document]:
        query = page_query(
            limit,
            cursor,
            filter=None if filter is None else Filter.parse(filter).canonical.decode(),
            include=",".join(sorted(include)),
        )
        page = self._caller.get(Page[Document], _documents_path(path), query)
        return Page(items=_with_arrays(page.items, include), next_cursor=page.next_cursor)

    def count(self, path: CollectionPath, *, filter: Mapping[str, Any] | None = None) -> int:
        fields = given({"filter": _checked(filter)})
        return self._caller.ask(_Count, f"{_documents_path(path)}/count", fields).count

    def update(
        self,
        path: CollectionPath,
        metadata: Mapping[str, Any],
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> int:
        fields = {"metadata": check_object(metadata, "metadata"), **_selection(ids, filter)}
        return self._caller.post(_Updated, f"{_documents_path(path)}/update", fields).updated

    def delete(
        self,
        path: CollectionPath,
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> int:
        fields = _selection(ids, filter)
        return self._caller.post(_Deleted, f"{_documents_path(path)}/delete", fields).deleted

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
        sizes = {"top_k": top_k, **given({"ef_search": ef_search})}
        options = {
            "filter": _checked(filter),
            "score_threshold": score_threshold,
            "vector": None if vector is None else sendable(vector, "vector"),
        }
        fields = {
            **checked(sizes, checks.SEARCH),
            **given(options),
            **checked(given({"text": text}), checks.SEARCH),
            "include": sorted(include),
        }
        result = self._caller.ask(SearchResult, f"{collection_path(*path)}/search", fields)
        return SearchResult(matches=_with_arrays(result.matches, include), statistics=result.statistics)


def _documents_path(path: CollectionPath) -> str:
    return f"{collection_path(*path)}/documents"


def _documents(documents: Sequence[DocumentLike]) -> list[dict[str, object]]:
    """Documents as JSON, checked for what JSON would lose."""
    fields: list[dict[str, object]] = []
    vectors: dict[int, object] = {}
    for place, document in enumerate(documents):
        id, text, vector, metadata = check_fields(document, place)
        given = {"id": id, "text": text, "metadata": msgspec.Raw(metadata)}
        fields.append({name: value for name, value in given.items() if value is not None})
        if vector is not None:
            vectors[place] = vector
    names = [f"documents[{place}].vector" for place in vectors]
    for place, numbers in zip(vectors, sendable_rows(list(vectors.values()), names), strict=True):
        fields[place]["vector"] = numbers
    return fields


def _selection(ids: Sequence[str] | None, filter: Mapping[str, Any] | None) -> dict[str, object]:
    selection = check_selection(ids, filter)
    if selection.filter is not None:
        return {"filter": msgspec.Raw(selection.filter.canonical)}
    return {"ids": selection.ids}


def _checked(filter: Mapping[str, Any] | None) -> msgspec.Raw | None:
    """The filter as JSON, known to be one: JSON alone would lose NaN and keys that are no text."""
    return None if filter is None else msgspec.Raw(Filter.parse(filter).canonical)


def _with_arrays(found: list[FoundT], include: AbstractCollection[Include]) -> list[FoundT]:
    """The same documents, their vectors arrays instead of lists."""
    if Include.VECTOR not in include:
        return found
    return [
        msgspec.structs.replace(
            item, vector=None if item.vector is None else np.array(item.vector, np.float32)
        )
        for item in found
    ]
