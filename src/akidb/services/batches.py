"""Checks what is to be written or asked: documents, their vectors, ids, selections.

Every fault is an InvalidArgument that names the place, as in `documents[3].vector`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb.domain.documents import (
    MAX_BATCH_DOCUMENTS,
    MAX_ID_BYTES,
    MAX_TEXT_BYTES,
    DocumentInput,
    DocumentLike,
)
from akidb.domain.entities import Collection, Metric
from akidb.domain.errors import InvalidArgument
from akidb.domain.filters import Filter
from akidb.domain.ids import DocumentId, IdGenerator
from akidb.domain.json import canonical_object
from akidb.domain.names import check_text
from akidb.ports.documents import DocumentBatch, Selection

MAX_NORM = 1e18
"""Of a vector; the product of two longer ones would not fit a float32."""

_FIELDS = frozenset(DocumentInput.__struct_fields__)
_NUMBERS = frozenset({int, float})

Matrix = NDArray[np.float32]


class CheckedDocuments(NamedTuple):
    """Documents whose every field was checked; texts without a vector are still to be embedded."""

    ids: list[str]
    texts: list[str | None]
    metadata: list[bytes]
    given: Matrix
    """The vectors that were given. Shape `(m, dimension)`."""
    given_at: list[int]
    """Which documents those belong to."""
    missing_at: list[int]
    """Which documents have a text alone."""

    def batch(self, embedded: Matrix | None) -> DocumentBatch:
        """All of them, with the vectors of those that have a text alone."""
        count, dimension = len(self.ids), self.given.shape[1]
        vectors = self.given
        if embedded is not None:
            vectors = np.empty((count, dimension), dtype=np.float32)
            vectors[self.given_at] = self.given
            vectors[self.missing_at] = embedded
        sizes = [
            _utf8_size(id) + (0 if text is None else _utf8_size(text)) + len(metadata) + 4 * dimension
            for id, text, metadata in zip(self.ids, self.texts, self.metadata, strict=True)
        ]
        texts = [metadata.decode() for metadata in self.metadata]
        return DocumentBatch(self.ids, self.texts, texts, sizes, np.ascontiguousarray(vectors, "<f4"))


def _utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def check_documents(
    documents: Sequence[DocumentLike], collection: Collection, ids: IdGenerator
) -> CheckedDocuments:
    """Check a batch for a collection; documents without an id get one."""
    check_batch(documents)
    found = CheckedDocuments([], [], [], np.empty((0, collection.dimension), np.float32), [], [])
    vectors: list[object] = []
    places: dict[str, int] = {}
    for place, document in enumerate(documents):
        given, text, vector, metadata = check_fields(document, place)
        id = str(ids.new(DocumentId)) if given is None else given
        if places.setdefault(id, place) != place:
            raise InvalidArgument(f"documents[{place}].id", f"is also that of documents[{places[id]}]")
        if vector is not None:
            vectors.append(vector)
            found.given_at.append(place)
        elif collection.embedding_model is None:
            raise InvalidArgument(
                f"documents[{place}].vector", "is needed: the collection has no embedding model"
            )
        else:
            found.missing_at.append(place)
        found.ids.append(id)
        found.texts.append(text)
        found.metadata.append(metadata)
    names = [f"documents[{place}].vector" for place in found.given_at]
    return found._replace(given=check_vectors(vectors, collection.dimension, collection.metric, names))


def check_batch(documents: object) -> None:
    """Refuse what is no list of 1 to 10,000."""
    if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Sequence):
        raise InvalidArgument("documents", "must be a list of documents")
    if not 1 <= len(documents) <= MAX_BATCH_DOCUMENTS:
        raise InvalidArgument("documents", f"must hold 1 to {MAX_BATCH_DOCUMENTS} documents")


def check_fields(document: object, place: int) -> tuple[str | None, str | None, object, bytes]:
    """The id, text, vector and canonical metadata of one document, as far as its collection plays no part.

    The vector is given as it is, for `check_numbers`.
    """
    id, text, vector, metadata = _fields(document, place)
    if id is not None and not _is_plain(id, MAX_ID_BYTES):
        check_id(id, f"documents[{place}].id")
    if text is not None:
        if not _is_plain(text, MAX_TEXT_BYTES):
            check_text(text, f"documents[{place}].text", maximum_bytes=MAX_TEXT_BYTES)
    elif vector is None:
        raise InvalidArgument(f"documents[{place}]", "needs a text, a vector, or both")
    return id, text, vector, _metadata(metadata, place)


def _is_plain(value: object, maximum_bytes: int) -> bool:
    """Whether this is so plainly a good text that the full check, with the path it takes, can be spared."""
    return type(value) is str and value.isascii() and 1 <= len(value) <= maximum_bytes and "\x00" not in value


def check_id(value: object, field: str) -> str:
    """The id of a document: 1-512 bytes of UTF-8."""
    checked = check_text(value, field, maximum_bytes=MAX_ID_BYTES)
    if not checked:
        raise InvalidArgument(field, "must not be empty")
    return checked


def check_vectors(vectors: Sequence[object], dimension: int, metric: Metric, names: Sequence[str]) -> Matrix:
    """Vectors as a matrix of shape `(n, dimension)`; `names` are their paths.

    Refused: another dimension, what is no number, NaN, infinity, a norm above 1e18, and with cosine zero.
    """
    if not vectors:
        return np.empty((0, dimension), dtype=np.float32)
    rows = [_row(vector, dimension, name) for vector, name in zip(vectors, names, strict=True)]
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            matrix = np.array(rows, dtype=np.float32)
        except OverflowError:  # a whole number that no float holds
            at = next(at for at, row in enumerate(rows) if not _fits_float(row))
            raise InvalidArgument(names[at], "must not hold numbers that a float32 does not hold") from None
    refuse_faulty(matrix, metric, names)
    return matrix


def refuse_faulty(matrix: Matrix, metric: Metric, names: Sequence[str]) -> None:
    """Raise InvalidArgument for the first row of a matrix that no search could score."""
    wide = matrix.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        squares = np.einsum("ij,ij->i", wide, wide)
    faulty = ~(squares <= MAX_NORM**2)
    if metric is Metric.COSINE:
        faulty |= squares == 0
    if faulty.any():
        at = int(np.argmax(faulty))
        raise InvalidArgument(names[at], vector_fault(matrix[at]))


def check_vector(vector: object, dimension: int, metric: Metric) -> Matrix:
    """The vector of a question. Shape `(dimension,)`."""
    row: Matrix = check_vectors([vector], dimension, metric, ["vector"])[0]
    return row


def check_selection(ids: Sequence[str] | None, filter: Mapping[str, Any] | None) -> Selection:
    """Either ids or a filter that is not empty."""
    if (ids is None) == (filter is None):
        raise InvalidArgument("ids", "either ids or a filter is needed, and not both")
    if filter is not None:
        parsed = Filter.parse(filter)
        if parsed.is_empty:
            raise InvalidArgument("filter", "must not be empty here: it would choose every document")
        return Selection(filter=parsed)
    return Selection(ids=check_ids(ids))


def check_ids(ids: object) -> list[str]:
    """A list of ids, each once."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Sequence):
        raise InvalidArgument("ids", "must be a list of ids")
    if not 1 <= len(ids) <= MAX_BATCH_DOCUMENTS:
        raise InvalidArgument("ids", f"must hold 1 to {MAX_BATCH_DOCUMENTS} ids")
    return list(dict.fromkeys(check_id(id, f"ids[{place}]") for place, id in enumerate(ids)))


def _fields(document: object, place: int) -> tuple[Any, Any, Any, Any]:
    if isinstance(document, DocumentInput):
        return document.id, document.text, document.vector, document.metadata
    if type(document) is not dict and not isinstance(document, Mapping):
        raise InvalidArgument(f"documents[{place}]", "must be an object")
    if not document.keys() <= _FIELDS:
        unknown = min(str(key) for key in document.keys() - _FIELDS)
        raise InvalidArgument(f"documents[{place}].{unknown}", "is not a field of a document")
    get = document.get
    return get("id"), get("text"), get("vector"), get("metadata")


def _metadata(value: object, place: int) -> bytes:
    if value is None:
        return b"{}"
    return canonical_object(value, f"documents[{place}].metadata")


def check_numbers(vector: object, name: str) -> Sequence[float] | NDArray[Any]:
    """The vector itself, if it is one-dimensional and of real numbers; `name` is its path."""
    if isinstance(vector, np.ndarray):
        if vector.dtype.kind not in "fiu":
            raise InvalidArgument(name, f"must hold numbers, not {vector.dtype}")
        if vector.ndim != 1:
            raise InvalidArgument(name, f"must have one dimension, not {vector.ndim}")
        return vector
    if isinstance(vector, str | bytes) or not isinstance(vector, Sequence):
        raise InvalidArgument(name, "must be a list of numbers")
    if not set(map(type, vector)) <= _NUMBERS:
        for at, value in enumerate(vector):
            if type(value) not in _NUMBERS and not isinstance(value, np.floating | np.integer):
                raise InvalidArgument(f"{name}[{at}]", "must be a number")
    return vector


def _fits_float(numbers: Sequence[float] | NDArray[Any]) -> bool:
    try:
        np.array(numbers, dtype=np.float32)
    except OverflowError:
        return False
    return True


def _row(vector: object, dimension: int, name: str) -> Sequence[float] | NDArray[Any]:
    numbers = check_numbers(vector, name)
    if len(numbers) != dimension:
        raise InvalidArgument(name, f"must have {dimension} dimensions, has {len(numbers)}")
    return numbers


def vector_fault(row: Matrix) -> str:
    """What is wrong with a vector of shape `(dimension,)` that was refused."""
    if np.isnan(row).any():
        return "must not hold NaN"
    if np.isinf(row).any():
        return "must not hold infinity, or numbers that a float32 does not hold"
    if not row.any():
        return "must not be zero with the metric cosine"
    return f"must not be longer than {MAX_NORM:g}"
