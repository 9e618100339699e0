"""Encodes documents as an Arrow stream, for a server that accepts it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb.domain.batches import check_changes, check_fields
from akidb.domain.columns import DocumentColumns
from akidb.domain.documents import DocumentInput, DocumentLike, UpsertMode
from akidb.domain.errors import InvalidArgument
from akidb.domain.vectors import OUT_OF_RANGE, check_numbers
from akidb.ports import arrow

LEAST_NUMBERS = 2_048
"""Numbers of vectors in a request for which Arrow takes less time than JSON."""


def has_many_numbers(documents: Sequence[DocumentLike]) -> bool:
    """Return whether documents, which need not be valid, have vectors that are long in JSON."""
    first: Any = documents[0]
    if isinstance(first, DocumentInput):
        vector: Any = first.vector
    else:
        vector = first.get("vector") if isinstance(first, Mapping) else None
    return hasattr(vector, "__len__") and len(vector) * len(documents) >= LEAST_NUMBERS


def body_of(documents: Sequence[DocumentLike], mode: UpsertMode) -> bytes:
    """Return documents as the body of a request. Raises InvalidArgument with the path of an invalid value.

    Arrays are sent as float32, lists as float64, so that the server sees the numbers that are in JSON.
    """
    check = check_changes if mode is UpsertMode.UPDATE else check_fields
    columns: dict[str, list[bytes | None]] = {"id": [], "text": [], "metadata": []}
    vectors: list[object] = []
    matrix = documents.columns.get("vectors") if isinstance(documents, DocumentColumns) else None
    for place, document in enumerate(documents):
        id, text, vector, metadata = check(document, place)
        columns["id"].append(None if id is None else id.encode())
        columns["text"].append(None if text is None else text.encode())
        columns["metadata"].append(None if metadata == b"{}" and mode is not UpsertMode.UPDATE else metadata)
        vectors.append(vector)
    given = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    if isinstance(matrix, np.ndarray) and matrix.dtype.kind in "fiu":
        with np.errstate(over="ignore"):
            return arrow.encode(given, list(matrix.astype(np.float32, copy=False)))
    return arrow.encode(given, _arrays(vectors))


def _arrays(vectors: Sequence[object]) -> list[NDArray[Any] | None]:
    """Return vectors as arrays of one type."""
    found: list[NDArray[Any] | None] = []
    are_arrays = all(vector is None or isinstance(vector, np.ndarray) for vector in vectors)
    for place, vector in enumerate(vectors):
        if vector is None:
            found.append(None)
            continue
        numbers = check_numbers(vector, f"documents[{place}].vector")
        try:
            with np.errstate(over="ignore"):
                found.append(np.asarray(numbers, np.float32 if are_arrays else np.float64))
        except OverflowError:
            raise InvalidArgument(f"documents[{place}].vector", OUT_OF_RANGE) from None
    return found
