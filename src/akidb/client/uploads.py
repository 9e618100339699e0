"""Uploads of any number of documents, in batches that are each one transaction."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from msgspec.structs import replace

from akidb.client.patience import patiently
from akidb.client.results import UploadResult
from akidb.domain.columns import FIELD_OF, DocumentColumns, column, placed
from akidb.domain.documents import (
    MAX_BATCH_DOCUMENTS,
    MAX_TRUNCATED_IDS,
    VECTOR_NUMBER_BYTES,
    DocumentInput,
    DocumentLike,
    UpsertMode,
    UpsertResult,
)
from akidb.domain.errors import AkiDBError, InvalidArgument
from akidb.domain.names import check_integer
from akidb.observe import context

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[Any] | Iterable[Sequence[float] | NDArray[Any] | None] | None
else:
    Vectors = Any  # NumPy is imported only by modules that create vectors

T = TypeVar("T")
Column = Iterable[T] | None
Batch = Sequence[DocumentLike]
ModeLike = UpsertMode | Literal["upsert", "insert", "skip", "update"]

DEFAULT_BATCH_DOCUMENTS = 1_000
BATCH_BYTES = 16 * 2**20
"""About how long a batch may be as JSON, far below the limit of a server's bodies."""


def columns_of(columns: Mapping[str, Any], documents: object) -> dict[str, Any]:
    """Return the columns that are given, as lists or arrays; none if there are documents instead.

    Raises InvalidArgument unless it is either.
    """
    return {name: column(name, values) for name, values in _given(columns, documents).items()}


def lazy_columns_of(columns: Mapping[str, Any], documents: object) -> dict[str, Any]:
    """Return the same of any length: what has no length is an iterator."""
    return {
        name: iter(values)
        if isinstance(values, Iterable) and not isinstance(values, Sized)
        else column(name, values, most=None)
        for name, values in _given(columns, documents).items()
    }


def _given(columns: Mapping[str, Any], documents: object) -> dict[str, Any]:
    given = {name: values for name, values in columns.items() if values is not None}
    if bool(given) == (documents is not None):
        raise InvalidArgument("documents", f"give either documents or columns: {', '.join(FIELD_OF)}")
    return given


def batches(documents: object, columns: Mapping[str, Any], batch_size: int) -> Iterator[Batch]:
    """Yield the documents, or those of the columns, at most `batch_size` at once and not too long.

    They are read when they are needed. Raises InvalidArgument for what is not a list of documents, and for
    columns of different lengths; if all lengths are known, at the first step.
    """
    check_integer(batch_size, "batch_size", 1, MAX_BATCH_DOCUMENTS)
    read: Iterator[Batch]
    if columns:
        read = _of_columns(columns, batch_size)
    elif isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Iterable):
        raise InvalidArgument("documents", "must be an iterable of documents")
    else:
        read = _of_documents(iter(documents), batch_size)
    for batch in read:
        yield from _fitting(batch)


def _of_documents(documents: Iterator[DocumentLike], batch_size: int) -> Iterator[Batch]:
    while batch := list(islice(documents, batch_size)):
        yield batch


def _of_columns(columns: Mapping[str, Any], batch_size: int) -> Iterator[DocumentColumns]:
    known = {name: values for name, values in columns.items() if isinstance(values, Sized)}
    if known:
        DocumentColumns(known)  # which compares their lengths
    for at in count(0, batch_size):
        batch = DocumentColumns(
            {
                name: values[at : at + batch_size]
                if name in known
                else column(name, islice(values, batch_size))
                for name, values in columns.items()
            }
        )
        if not len(batch):
            return
        yield batch


def _fitting(batch: Batch) -> Iterator[Batch]:
    """Yield the batch, in parts if it is long."""
    if len(batch) <= 1 or sum(map(_json_bytes, batch)) <= BATCH_BYTES:
        yield batch
        return
    middle = len(batch) // 2
    yield from _fitting(batch[:middle])
    yield from _fitting(batch[middle:])


def _json_bytes(document: object) -> int:
    """Return about the length of a document as JSON without its metadata; 0 for other objects."""
    text: object
    vector: Any
    if isinstance(document, DocumentInput):
        text, vector = document.text, document.vector
    elif isinstance(document, Mapping):
        text, vector = document.get("text"), document.get("vector")
    else:
        return 0
    size = len(text) if isinstance(text, str) else 0
    return size + VECTOR_NUMBER_BYTES * len(vector) if hasattr(vector, "__len__") else size


def upload(
    parts: Iterable[Batch],
    upsert: Callable[[Batch], UpsertResult],
    columns: Sequence[str],
    progress: Callable[[UploadResult], object] | None,
) -> UploadResult:
    """Upsert all parts, and call `progress` after each.

    An error gets a note, and one of AkiDB the fields `written` and `batch`, which say what had been written.
    Each batch has an idempotency key of its own if the upload has one.
    """
    done = UploadResult(documents=0, batches=0, upserted=0, truncated=0, truncated_ids=[], without_vector=0)
    request = context.current()
    try:
        for part in parts:
            with own_key(request, done.batches):
                result = patiently(partial(upsert, part))
            done = UploadResult(
                documents=done.documents + len(part),
                batches=done.batches + 1,
                upserted=done.upserted + result.upserted,
                truncated=done.truncated + result.truncated,
                truncated_ids=[*done.truncated_ids, *result.truncated_ids][:MAX_TRUNCATED_IDS],
                without_vector=done.without_vector + result.without_vector,
            )
            if progress is not None:
                progress(done)
    except BaseException as error:
        told = placed(error, done.documents, columns) if isinstance(error, InvalidArgument) else error
        if isinstance(told, AkiDBError):
            told.fields |= {"written": done.documents, "batch": done.batches}
        if done.batches:
            told.add_note(
                f"the first {done.documents} documents, in {done.batches} batches, had been written"
            )
        if told is error:
            raise
        raise told from None
    return done


@contextmanager
def own_key(request: context.RequestContext, batch: int) -> Iterator[None]:
    """Give a batch an idempotency key of its own, if the upload has one."""
    if request.idempotency_key is None:
        yield
        return
    key = f"{request.idempotency_key}#{batch}"
    if len(key) > context.MAX_KEY_LENGTH:
        key = hashlib.sha256(key.encode()).hexdigest()
    with context.bound(replace(request, idempotency_key=key)):
        yield
