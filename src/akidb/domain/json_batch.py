"""Decodes a large batch of documents one document at a time.

The decoder holds the interpreter's lock for a whole call. On 64 MiB at once no other thread would run
meanwhile, not even the one that answers health checks.
"""

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, TypeVar

import msgspec

from akidb.domain.documents import MAX_BATCH_DOCUMENTS, DocumentInput
from akidb.domain.errors import InvalidArgument
from akidb.domain.json import decode_strict, has_surrogates, malformed, without_surrogates
from akidb.domain.json_weight import (
    MAX_DOCUMENT_VALUES,
    MAX_VALUES,
    Between,
    Body,
    at_once,
    check_batch_weight,
    check_pieces,
    check_values,
    collector_paused,
    count,
)

LARGE_BYTES: Final = 64 * 1024
"""Bodies above this size take long to decode; a batch is decoded in pieces."""
LONG_CALL_BYTES: Final = 2**20
"""The decoder reads more than this one call at a time."""
MAX_DOCUMENT_BYTES: Final = 16 * 2**20
"""A document as JSON: text and metadata of 1 MiB each, every character escaped, and the longest vector."""
MAX_WORD_BYTES: Final = 1024
"""Another field of a batch as JSON."""
_T = TypeVar("_T")
_METADATA: Final[Any] = dict[str, Any] | None


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    documents: list[msgspec.Raw]
    mode: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_batch_decoder = msgspec.json.Decoder(_Batch)


_one_at_a_time = threading.Lock()


def _turn(body: Body) -> AbstractContextManager[object]:
    """Return a lock for one long call of the decoder at a time.

    A thread that waits for the interpreter, such as the one of the event loop, would otherwise wait for a
    call of each thread that decodes.
    """
    return _one_at_a_time if len(body) > LONG_CALL_BYTES else nullcontext()


def decode_bounded(body: Body, shape: type[_T], between: Between = at_once) -> _T:
    """Decode a body like `decode_strict`, but not if its values would take too much memory or time.

    `between` is called before each document of a large batch, and while values are counted.

    Raises InvalidArgument, also for more than 1,000,000 values; a batch of documents may have more.
    """
    check_pieces(body)
    with collector_paused(body):
        if len(body) <= LARGE_BYTES or not _is_batch(shape):
            check_values(body, "body", MAX_VALUES, between)
            with _turn(body):
                return decode_strict(body, shape)
        return _decode_batch(body, shape, between)


def _is_batch(shape: type[Any]) -> bool:
    return getattr(shape, "__struct_fields__", ()) == _Batch.__struct_fields__


def _decode_batch(body: Body, shape: type[_T], between: Between) -> _T:
    check_batch_weight(body, between)
    try:
        with _turn(body):
            found = _batch_decoder.decode(body)
    except (msgspec.ValidationError, RecursionError):
        return decode_strict(body, shape)  # which reports it
    except msgspec.DecodeError as error:
        if has_surrogates(body):
            _refuse_surrogates(body)
        raise malformed(error) from None
    except UnicodeDecodeError:
        raise InvalidArgument("body", "must be UTF-8") from None
    raws, mode = found.documents, found.mode
    if len(raws) > MAX_BATCH_DOCUMENTS:
        raise InvalidArgument("documents", f"must contain 1 to {MAX_BATCH_DOCUMENTS} documents")
    colons, documents = 1, []
    try:
        for place, raw in enumerate(map(bytes, raws)):
            between()
            documents.append(_decode_document(raw, place))
            colons += raw.count(b":")
    finally:
        raws.clear()  # the traceback of an error would keep them
    others: dict[str, Any] = {}
    if mode is not msgspec.UNSET:
        colons += 1 + bytes(mode).count(b":")
        others["mode"] = _decode_word(bytes(mode), "mode")
    if count(body, b":", between) != colons:
        raise InvalidArgument("documents" if mode is msgspec.UNSET else "body", "duplicate key")
    return shape(documents=documents, **others)  # type: ignore[call-arg]  # as `_is_batch` says


def _decode_word(raw: bytes, field: str) -> Any:
    if len(raw) > MAX_WORD_BYTES:
        raise InvalidArgument(field, f"must be at most {MAX_WORD_BYTES} bytes as JSON")
    return _decode_within(field, raw, Any)


def _decode_within(field: str, raw: bytes, shape: type[_T]) -> _T:
    """Decode the value of a field of the body."""
    try:
        return decode_strict(raw, shape)
    except InvalidArgument as error:
        is_whole = error.field.startswith("body") and error.reason != "unknown field"
        path = field + error.field.removeprefix("body") if is_whole else f"{field}.{error.field}"
        raise InvalidArgument(path, error.reason) from None


def decode_metadata(raw: bytes, place: int) -> dict[str, Any] | None:
    """Decode the metadata of a document, which is JSON by itself.

    The weight of all of them together has been checked. Raises InvalidArgument with the path of the fault.
    """
    field = f"documents[{place}].metadata"
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise InvalidArgument(field, f"must be at most {MAX_DOCUMENT_BYTES} bytes as JSON")
    check_values(raw, field, MAX_DOCUMENT_VALUES)
    found: dict[str, Any] | None = _decode_within(field, raw, _METADATA)
    return found


def _refuse_surrogates(body: Body) -> None:
    """Raise InvalidArgument for the first lone surrogate, if the batch is otherwise well-formed."""
    decodable = without_surrogates(body)
    try:
        found = _batch_decoder.decode(decodable)
    except (msgspec.DecodeError, RecursionError):
        return
    raws = found.documents
    at = decodable.index(b"[")  # that of the documents, or before it
    for place, raw in enumerate(map(bytes, raws[:MAX_BATCH_DOCUMENTS])):
        at = decodable.index(raw, at)
        sent = bytes(body[at : at + len(raw)])
        if sent != raw:
            _decode_document(sent, place)
        at += len(raw)
    if found.mode is not msgspec.UNSET:
        raise InvalidArgument("mode", "must not contain a lone surrogate")


def _decode_document(raw: bytes, place: int) -> DocumentInput:
    field = f"documents[{place}]"
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise InvalidArgument(field, f"must be at most {MAX_DOCUMENT_BYTES} bytes as JSON")
    check_values(raw, field, MAX_DOCUMENT_VALUES)
    return _decode_within(field, raw, DocumentInput)
