"""The quick check of a batch: whole columns at a time, where every value is obviously valid.

It finds no faults. What it does not take, `akidb.services.batches` checks document by document.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from math import isfinite
from types import NoneType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb.domain.columns import FIELD_OF, DocumentColumns
from akidb.domain.documents import MAX_ID_BYTES, MAX_TEXT_BYTES, DocumentInput, DocumentLike
from akidb.domain.errors import InvalidArgument
from akidb.domain.json import MAX_INTEGER, MAX_OBJECT_BYTES, MIN_INTEGER, canonical, canonical_object
from akidb.observe.right_of_way import give_way

ROWS_AT_ONCE = 256
JOINED_CHARACTERS = 2**20
PLAIN_LEVELS = 8
_DOCUMENT_FIELDS = frozenset(FIELD_OF.values())
_JSON = frozenset({str, int, float, bool, NoneType, list, dict})
_TEXT = frozenset({str})
_TEXT_OR_NONE = frozenset({str, NoneType})
_OBJECT = frozenset({dict})
_OBJECT_OR_NONE = frozenset({dict, NoneType})


class PlainBatch(NamedTuple):
    """Valid columns."""

    ids: list[str | None]
    texts: list[str | None]
    metadata: list[bytes]
    """Canonical JSON."""
    vectors: Sequence[Any] | NDArray[Any]
    """Unchecked: an array of shape `(n, m)`, or a value for each document, None if it has no vector."""


def plain_batch(documents: Sequence[DocumentLike]) -> PlainBatch | None:
    """Return the columns of a batch, or None if a value is invalid or unusual."""
    found = PlainBatch([], [], [], [])
    vectors: list[Any] = []
    for at in range(0, len(documents), ROWS_AT_ONCE):
        give_way()
        some = documents[at : at + ROWS_AT_ONCE]
        columns = (
            _of_columns(some.columns, len(some)) if isinstance(some, DocumentColumns) else _of_rows(some)
        )
        if columns is None:
            return None
        ids, texts, objects, some_vectors = columns
        if not _are_texts(ids, MAX_ID_BYTES, least=1) or not _are_texts(texts, MAX_TEXT_BYTES):
            return None
        metadata = _encoded(objects)
        if metadata is None:
            return None
        found.ids.extend(ids)
        found.texts.extend(texts)
        found.metadata.extend(metadata)
        vectors.extend(some_vectors)
    given = [id for id in found.ids if id is not None]
    if len(set(given)) != len(given):
        return None
    if isinstance(documents, DocumentColumns) and isinstance(documents.columns.get("vectors"), np.ndarray):
        return found._replace(vectors=documents.columns["vectors"])
    return found._replace(vectors=vectors)


_Columns = tuple[Sequence[Any], Sequence[Any], Sequence[Any], Sequence[Any]]
"""Ids, texts, metadata and vectors; None for what is absent."""


def _of_columns(columns: Mapping[str, Any], number: int) -> _Columns:
    absent = (None,) * number
    vectors = columns.get("vectors", absent)
    return (
        columns.get("ids", absent),
        columns.get("texts", absent),
        columns.get("metadatas", absent),
        () if isinstance(vectors, np.ndarray) else vectors,
    )


def _of_rows(rows: Sequence[Any]) -> _Columns | None:
    kinds = set(map(type, rows))
    if kinds == {dict} and all(map(_DOCUMENT_FIELDS.issuperset, rows)):
        return (
            [row.get("id") for row in rows],
            [row.get("text") for row in rows],
            [row.get("metadata") for row in rows],
            [row.get("vector") for row in rows],
        )
    if kinds == {DocumentInput}:
        return (
            [row.id for row in rows],
            [row.text for row in rows],
            [row.metadata for row in rows],
            [row.vector for row in rows],
        )
    return None


def _are_texts(values: Sequence[Any], most_bytes: int, *, least: int = 0) -> bool:
    """Return whether each value is None or text that can be stored, of `least` to `most_bytes` bytes."""
    kinds = set(map(type, values))
    if not kinds <= _TEXT_OR_NONE:
        return False
    texts = values if kinds == _TEXT else [text for text in values if text is not None]
    lengths = list(map(len, texts))
    if lengths and (min(lengths) < least or max(lengths) > most_bytes):
        return False
    if sum(lengths) <= JOINED_CHARACTERS:  # one long text is checked faster than many short ones
        joined = "".join(texts)
        if joined.isascii():
            return "\0" not in joined
    return all(_is_text(text, most_bytes) for text in texts)


def _is_text(text: str, most_bytes: int) -> bool:
    if "\0" in text:
        return False
    try:
        return text.isascii() or len(text.encode()) <= most_bytes
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _encoded(objects: Sequence[Any]) -> list[bytes] | None:
    """Return the canonical JSON of metadata, `{}` for None; None if an object cannot be stored."""
    kinds = set(map(type, objects))
    if not kinds <= _OBJECT_OR_NONE:
        return None
    given = objects if NoneType not in kinds else [value for value in objects if value is not None]
    encoded = _encoded_plain(given)
    if encoded is None:
        try:
            encoded = [canonical_object(value, "metadata") for value in given]
        except InvalidArgument:
            return None
    if len(encoded) == len(objects):
        return encoded
    rest = iter(encoded)
    return [b"{}" if value is None else next(rest) for value in objects]


def _encoded_plain(objects: Sequence[dict[Any, Any]]) -> list[bytes] | None:
    """Return the canonical JSON of objects that need no closer look: few levels, usual values."""
    if not _have_plain_values(objects):
        return None
    try:
        encoded = list(map(canonical, objects))
    except UnicodeEncodeError:  # a lone surrogate
        return None
    if max(map(len, encoded), default=0) > MAX_OBJECT_BYTES:
        return None
    if sum(map(len, encoded)) > JOINED_CHARACTERS:
        return None
    joined = b"".join(encoded)
    return None if b"\\u0000" in joined else encoded


def _have_plain_values(objects: Sequence[dict[Any, Any]]) -> bool:
    """Return whether there are only a few levels of exact JSON types, with finite numbers."""
    values: list[Any] = list(objects)
    for _ in range(PLAIN_LEVELS):
        kinds = set(map(type, values))
        if dict in kinds:
            dicts = values if kinds == _OBJECT else [value for value in values if type(value) is dict]
            if not set(map(type, chain.from_iterable(dicts))) <= _TEXT:
                return False
            inner = list(chain.from_iterable(map(dict.values, dicts)))
        else:
            inner = []
        if list in kinds:
            inner += chain.from_iterable(value for value in values if type(value) is list)
        if not kinds <= _JSON:
            return False
        if int in kinds:
            whole = [value for value in values if type(value) is int]
            if min(whole) < MIN_INTEGER or max(whole) > MAX_INTEGER:
                return False
        if float in kinds and not all(map(isfinite, [value for value in values if type(value) is float])):
            return False
        values = inner
        if not values:
            return True
    return False
