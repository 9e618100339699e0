"""Validation of document batches and vectors.

Every fault is an InvalidArgument with the path of the field, as in `documents[3].vector`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb.domain.batches import check_changes, check_fields
from akidb.domain.documents import DocumentLike
from akidb.domain.entities import MAX_DIMENSION, MIN_DIMENSION, Collection, Metric
from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import DocumentId, IdGenerator
from akidb.domain.vectors import MAX_NORM, OUT_OF_RANGE, check_numbers, fits_float, vector_fault
from akidb.observe.right_of_way import give_way, giving_way
from akidb.ports.documents import DocumentBatch, DocumentChanges
from akidb.services.plain_batches import plain_batch

Matrix = NDArray[np.float32]

NUMBERS_AT_ONCE = 16_384
"""Numbers that are converted before other threads may run."""
SMALLEST, LARGEST = 1e-30, 1e35
SMALL_SQUARE, LARGE_SQUARE = np.float32(SMALLEST), np.float32(LARGEST)
"""Between these a squared norm in float32 shows that the exact one is valid."""
_FLOAT32 = np.dtype(np.float32)


class CheckedDocuments(NamedTuple):
    """Validated documents; with a model, texts without a vector are still to be embedded."""

    ids: list[str]
    texts: list[str | None]
    metadata: list[bytes]
    given: Matrix
    """The given vectors. Shape `(m, dimension)`."""
    given_at: list[int]
    """Indexes of the documents with a vector."""
    missing_at: list[int]
    """Indexes of the documents whose text is to be embedded."""
    without_at: list[int]
    """Indexes of the documents that have no vector."""
    made_at: list[int]
    """Indexes of the documents whose id was generated."""

    def batch(self, embedded: Matrix | None) -> DocumentBatch:
        """Return the full batch; `embedded` are the vectors of the texts to embed."""
        count, dimension = len(self.ids), self.given.shape[1]
        vectors = self.given
        if embedded is not None:
            vectors = np.empty((count, dimension), dtype=np.float32)
            vectors[self.given_at] = self.given
            vectors[self.missing_at] = embedded
            vectors = np.delete(vectors, self.without_at, axis=0) if self.without_at else vectors
        sizes = [
            _utf8_size(id) + (0 if text is None else _utf8_size(text)) + len(metadata) + 4 * dimension
            for id, text, metadata in zip(giving_way(self.ids), self.texts, self.metadata, strict=True)
        ]
        for place in self.without_at:
            sizes[place] -= 4 * dimension
        texts = [metadata.decode() for metadata in self.metadata]
        matrix = np.ascontiguousarray(vectors, "<f4")
        return DocumentBatch(self.ids, self.texts, texts, sizes, matrix, self.without_at)


class CheckedChanges(NamedTuple):
    """Validated changes of documents; new texts without a vector are still to be embedded."""

    ids: list[str]
    texts: list[str | None]
    metadata: list[bytes | None]
    given: Matrix
    """The given vectors. Shape `(m, dimension)`."""
    given_at: list[int]
    missing_at: list[int]
    made_at: list[int]

    def changes(self, embedded: Matrix | None) -> DocumentChanges:
        """Return all changes; `embedded` are the vectors of the new texts without one."""
        vectors = self.given if embedded is None else np.concatenate([self.given, embedded])
        return DocumentChanges(
            self.ids,
            self.texts,
            [None if metadata is None else metadata.decode() for metadata in self.metadata],
            np.ascontiguousarray(vectors, "<f4"),
            {place: row for row, place in enumerate([*self.given_at, *self.missing_at])},
        )


def _utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def check_documents(
    documents: Sequence[DocumentLike], collection: Collection, ids: IdGenerator
) -> CheckedDocuments:
    """Validate a batch for a collection; documents without an id get one."""
    plain = _check_plain(documents, collection, ids)
    if plain is not None:
        return plain
    nothing = np.empty((0, collection.dimension or 0), np.float32)
    found = CheckedDocuments([], [], [], nothing, [], [], [], [])
    vectors: list[object] = []
    places: dict[str, int] = {}
    for place, document in enumerate(giving_way(documents)):
        given, text, vector, metadata = check_fields(document, place)
        if given is None:
            id = str(ids.new(DocumentId))
            found.made_at.append(place)
        else:
            id = given
        _require_new(id, place, places)
        if vector is not None:
            vectors.append(vector)
            found.given_at.append(place)
        elif text is not None and collection.embedding_model is not None:
            found.missing_at.append(place)
        else:
            found.without_at.append(place)
        found.ids.append(id)
        found.texts.append(text)
        found.metadata.append(metadata)
    names = [f"documents[{place}].vector" for place in found.given_at]
    return found._replace(given=check_vectors(vectors, collection.dimension, collection.metric, names))


def _check_plain(
    documents: Sequence[DocumentLike], collection: Collection, ids: IdGenerator
) -> CheckedDocuments | None:
    """Return the documents if all are obviously valid, and all have a vector or none has."""
    plain = plain_batch(documents)
    if plain is None:
        return None
    places, vectors = list(range(len(plain.ids))), plain.vectors
    is_array = isinstance(vectors, np.ndarray)
    are_given = is_array or not any(vector is None for vector in vectors)
    embeds = collection.embedding_model is not None
    if are_given:
        matrix = _plain_matrix(vectors, collection)
    elif None in plain.texts or any(vector is not None for vector in vectors):
        return None
    else:
        matrix = np.empty((0, collection.dimension or 0), np.float32)
    if matrix is None:
        return None
    made_at = [place for place, id in enumerate(plain.ids) if id is None]
    named = [str(ids.new(DocumentId)) if id is None else id for id in plain.ids]
    given_at = places if are_given else []
    missing_at = places if not are_given and embeds else []
    without_at = places if not are_given and not embeds else []
    return CheckedDocuments(
        named, plain.texts, plain.metadata, matrix, given_at, missing_at, without_at, made_at
    )


def _plain_matrix(vectors: Sequence[Any] | NDArray[Any], collection: Collection) -> Matrix | None:
    """Return valid vectors as a matrix, otherwise None."""
    dimension, metric = collection.dimension, collection.metric
    if isinstance(vectors, np.ndarray):
        own = vectors.shape[1]
        fits = MIN_DIMENSION <= own <= MAX_DIMENSION if dimension is None else own == dimension
        if vectors.dtype.kind not in "fiu" or not fits:
            return None
        with np.errstate(over="ignore"):
            matrix = np.ascontiguousarray(vectors, np.float32)
        return None if faulty_row(matrix, metric) is not None else matrix
    try:
        return check_vectors(vectors, dimension, metric, ("vector",) * len(vectors))
    except InvalidArgument:
        return None


def check_document_changes(documents: Sequence[DocumentLike], collection: Collection) -> CheckedChanges:
    """Validate changes of documents of a collection. A text alone keeps the vector if there is no model."""
    found = CheckedChanges([], [], [], np.empty((0, collection.dimension or 0), np.float32), [], [], [])
    vectors: list[object] = []
    places: dict[str, int] = {}
    for place, document in enumerate(giving_way(documents)):
        id, text, vector, metadata = check_changes(document, place)
        _require_new(id, place, places)
        if vector is not None:
            vectors.append(vector)
            found.given_at.append(place)
        elif text is not None and collection.embedding_model is not None:
            found.missing_at.append(place)
        found.ids.append(id)
        found.texts.append(text)
        found.metadata.append(metadata)
    names = [f"documents[{place}].vector" for place in found.given_at]
    return found._replace(given=check_vectors(vectors, collection.dimension, collection.metric, names))


def _require_new(id: str, place: int, places: dict[str, int]) -> None:
    if places.setdefault(id, place) != place:
        raise InvalidArgument(f"documents[{place}].id", f"is also the id of documents[{places[id]}]")


def check_vectors(
    vectors: Sequence[object], dimension: int | None, metric: Metric, names: Sequence[str]
) -> Matrix:
    """Return the vectors as a matrix of shape `(n, dimension)`; `names` are their paths.

    Without a dimension, it is that of the first vector. Refuses other dimensions, non-numbers, NaN, infinity,
    norms above 1e18, and zero vectors with cosine.
    """
    if not len(vectors):
        return np.empty((0, dimension or 0), dtype=np.float32)
    if dimension is None:
        dimension = _dimension_of(vectors[0], names[0])
    matrix = np.empty((len(vectors), dimension), dtype=np.float32)
    step = max(1, NUMBERS_AT_ONCE // dimension)
    with np.errstate(over="ignore", invalid="ignore"):
        for at in range(0, len(vectors), step):
            give_way()
            some, their = vectors[at : at + step], names[at : at + step]
            rows = [_row(vector, dimension, name) for vector, name in zip(some, their, strict=True)]
            try:
                matrix[at : at + step] = rows
            except OverflowError:  # an integer too large for a float
                first = next(at for at, row in enumerate(rows) if not fits_float(row))
                raise InvalidArgument(their[first], OUT_OF_RANGE) from None
    refuse_faulty(matrix, metric, names)
    return matrix


def refuse_faulty(matrix: Matrix, metric: Metric, names: Sequence[str]) -> None:
    """Raise InvalidArgument for the first row of a matrix that cannot be scored."""
    at = faulty_row(matrix, metric)
    if at is not None:
        raise InvalidArgument(names[at], vector_fault(matrix[at]))


def faulty_row(matrix: Matrix, metric: Metric) -> int | None:
    """Return the index of the first row that cannot be scored, or None."""
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        rough = np.einsum("ij,ij->i", matrix, matrix)
        if ((rough > SMALL_SQUARE) & (rough < LARGE_SQUARE)).all():
            return None
        wide = matrix.astype(np.float64)
        squares = np.einsum("ij,ij->i", wide, wide)
    faulty = ~(squares <= MAX_NORM**2)
    if metric is Metric.COSINE:
        faulty |= squares == 0
    return int(np.argmax(faulty)) if faulty.any() else None


def require_dimension(checked: CheckedDocuments | CheckedChanges, dimension: int | None) -> None:
    """Raise InvalidArgument if the vectors have another dimension, settled since they were checked."""
    own = checked.given.shape[1]
    if checked.given_at and dimension not in {None, own}:
        raise wrong_length(f"documents[{checked.given_at[0]}].vector", dimension, own)


def check_vector(vector: object, dimension: int | None, metric: Metric) -> Matrix:
    """Return the query vector, shape `(dimension,)`."""
    if (
        isinstance(vector, np.ndarray)
        and vector.dtype is _FLOAT32  # as it usually is; comparing takes longer than the rest
        and vector.shape == (dimension,)
        and SMALLEST < float(vector.dot(vector)) < LARGEST
    ):
        return vector.copy()
    row: Matrix = check_vectors([vector], dimension, metric, ["vector"])[0]
    return row


def _row(vector: object, dimension: int, name: str) -> Sequence[float] | NDArray[Any]:
    numbers = check_numbers(vector, name)
    if len(numbers) != dimension:
        raise wrong_length(name, dimension, len(numbers))
    return numbers


def _dimension_of(vector: object, name: str) -> int:
    """Return the length of the first vector of a collection."""
    found = len(check_numbers(vector, name))
    if not MIN_DIMENSION <= found <= MAX_DIMENSION:
        reason = f"must have {MIN_DIMENSION} to {MAX_DIMENSION} dimensions, has {found}"
        raise InvalidArgument(name, reason)
    return found


def wrong_length(name: str, dimension: int | None, found: int) -> InvalidArgument:
    """Return the error for a vector of another dimension than that of its collection."""
    return InvalidArgument(name, f"must have {dimension} dimensions, has {found}")
