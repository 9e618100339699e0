"""Checks of documents and of selections of documents that do not depend on the collection.

Every error is an InvalidArgument with the path, as in `documents[3].text`.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from akidb.domain.columns import DocumentColumns
from akidb.domain.documents import (
    MAX_BATCH_DOCUMENTS,
    MAX_ID_BYTES,
    MAX_TEXT_BYTES,
    DocumentInput,
    DocumentLike,
)
from akidb.domain.errors import InvalidArgument
from akidb.domain.json import canonical_object
from akidb.domain.names import MAX_INTEGER, check_text
from akidb.domain.plain import listed, plain

if TYPE_CHECKING:
    from akidb.domain.filters import Filter

_FIELDS = frozenset(DocumentInput.__struct_fields__)
_NO_METADATA = b"{}"


def check_batch(documents: object, field: str = "documents") -> Sequence[DocumentLike]:
    """Check a list of 1 to 10,000 documents, but not the documents themselves."""
    given: Sequence[DocumentLike]
    if isinstance(documents, DocumentColumns):
        given = documents
    else:
        given = listed(documents, field, "documents", MAX_BATCH_DOCUMENTS)
    if not 1 <= len(given) <= MAX_BATCH_DOCUMENTS:
        raise InvalidArgument(field, f"must contain 1 to {MAX_BATCH_DOCUMENTS} documents")
    return given


def check_fields(document: object, place: int) -> tuple[str | None, str | None, object, bytes]:
    """Check one document and return its id, text, vector and canonical metadata.

    The vector is returned unchecked, for `akidb.domain.vectors`.
    """
    id, text, vector, metadata = _fields(document, place)
    if id is not None and not _is_plain(id, MAX_ID_BYTES):
        id = check_id(id, f"documents[{place}].id")
    if text is not None and not _is_plain(text, MAX_TEXT_BYTES):
        text = check_text(text, f"documents[{place}].text", maximum_bytes=MAX_TEXT_BYTES)
    checked = _metadata(metadata, place)
    if text is None and vector is None and checked == _NO_METADATA:
        raise InvalidArgument(f"documents[{place}]", "needs a text, a vector or metadata")
    return id, text, vector, checked


def check_changes(document: object, place: int) -> tuple[str, str | None, object, bytes | None]:
    """Check the change of one document like `check_fields`: the id is required, absent parts stay None."""
    id, text, vector, metadata = _fields(document, place)
    if id is None:
        raise InvalidArgument(f"documents[{place}].id", "is needed to update a document")
    check_id(id, f"documents[{place}].id")
    if text is not None:
        check_text(text, f"documents[{place}].text", maximum_bytes=MAX_TEXT_BYTES)
    if text is None and vector is None and metadata is None:
        raise InvalidArgument(f"documents[{place}]", "needs a text, a vector or metadata to change")
    return id, text, vector, None if metadata is None else _metadata(metadata, place)


def _is_plain(value: object, maximum_bytes: int) -> bool:
    """Return whether a value is obviously valid text, so that the full check and its path are not needed."""
    return type(value) is str and value.isascii() and 1 <= len(value) <= maximum_bytes and "\x00" not in value


def check_id(value: object, field: str) -> str:
    """Check the id of a document: 1-512 bytes of UTF-8."""
    checked = check_text(value, field, maximum_bytes=MAX_ID_BYTES)
    if not checked:
        raise InvalidArgument(field, "must not be empty")
    return checked


def check_ids(ids: object, field: str = "ids") -> list[str]:
    """Check a list of ids and return it without duplicates."""
    given = listed(ids, field, "ids", MAX_BATCH_DOCUMENTS)
    if not 1 <= len(given) <= MAX_BATCH_DOCUMENTS:
        raise InvalidArgument(field, f"must contain 1 to {MAX_BATCH_DOCUMENTS} ids")
    return list(dict.fromkeys(check_id(id, f"{field}[{place}]") for place, id in enumerate(given)))


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
        return _NO_METADATA
    return canonical_object(value, f"documents[{place}].metadata")


def check_filter(value: object, field: str) -> "Filter":
    """Check a filter, parsed or as JSON."""
    from akidb.domain.filters import Filter

    return Filter.checked(value, field)


def check_selector(value: object, field: str) -> "Filter":
    """Check a filter that must not be empty, since that would select every document."""
    parsed = check_filter(value, field)
    if parsed.is_empty:
        raise InvalidArgument(field, "must not be empty here: it would select every document")
    return parsed


def check_number(value: object, field: str) -> float:
    """Check a finite number that scores can be compared with."""
    value = plain(value)
    if type(value) is int and abs(value) <= MAX_INTEGER:
        return value
    if type(value) is float and isfinite(value):
        return value
    raise InvalidArgument(field, "must be a finite number")
