"""What is checked of an argument before it is sent, in the words of the services.

JSON would carry some wrong values as something else: None as a field left out, bytes as base64. It
is the server that decides whether a name is taken or a state allows it.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from types import MappingProxyType

import msgspec

from akidb.client.names import check_model
from akidb.domain.documents import MAX_TEXT_BYTES, MAX_TOP_K
from akidb.domain.entities import MAX_DIMENSION, MIN_DIMENSION, Metric, UserRole
from akidb.domain.json import check_object
from akidb.domain.lifecycle import DatabaseState, TenantStatus
from akidb.domain.names import (
    check_email,
    check_integer,
    check_label,
    check_name,
    check_password,
    check_slug,
    check_text,
    check_word,
)
from akidb.services.databases import MAX_DESCRIPTION_BYTES
from akidb.services.tenants import MAX_REASON_BYTES

Check = Callable[[object, str], object]
Checks = Mapping[str, Check]


def given(values: Mapping[str, object]) -> dict[str, object]:
    """Those that were given, of values whose default is None."""
    return {name: value for name, value in values.items() if value is not None}


def changed(changes: msgspec.Struct) -> dict[str, object]:
    """The fields that are to be changed; None is a value."""
    fields = ((name, getattr(changes, name)) for name in changes.__struct_fields__)
    return {name: value for name, value in fields if value is not msgspec.UNSET}


def checked(values: Mapping[str, object], checks: Checks) -> dict[str, object]:
    """The same values. Raises InvalidArgument for one that its check refuses."""
    return {name: checks[name](value, name) for name, value in values.items()}


def _whole(minimum: int, maximum: int) -> Check:
    return partial(check_integer, minimum=minimum, maximum=maximum)


def _text(maximum_bytes: int) -> Check:
    return partial(check_text, maximum_bytes=maximum_bytes)


def _word(kind: type[StrEnum]) -> Check:
    return partial(check_word, kind)


def _label_or_none(value: object, field: str) -> object:
    return None if value is None else check_label(value, field)


TENANT: Checks = MappingProxyType(
    {
        "name": check_label,
        "slug": check_slug,
        "external_id": _label_or_none,
        "name_contains": check_label,
        "memory_quota_bytes": check_integer,
        "storage_quota_bytes": check_integer,
        "qps_quota": check_integer,
        "metadata": check_object,
        "status": _word(TenantStatus),
        "reason": _text(MAX_REASON_BYTES),
    }
)
DATABASE: Checks = MappingProxyType(
    {
        "name": check_name,
        "description": _text(MAX_DESCRIPTION_BYTES),
        "state": _word(DatabaseState),
        "schema_version": _whole(1, 2**31 - 1),
    }
)
COLLECTION: Checks = MappingProxyType(
    {
        "name": check_name,
        "hnsw_m": _whole(2, 512),
        "hnsw_ef_construction": _whole(1, 4096),
        "max_document_count": check_integer,
        "metric": _word(Metric),
        "dimension": _whole(MIN_DIMENSION, MAX_DIMENSION),
        "embedding_model": check_model,
    }
)
USER: Checks = MappingProxyType({"email": check_email, "role": _word(UserRole), "password": check_password})
SEARCH: Checks = MappingProxyType(
    {
        "top_k": _whole(1, MAX_TOP_K),
        "ef_search": _whole(1, MAX_TOP_K),
        "text": _text(MAX_TEXT_BYTES),
    }
)
