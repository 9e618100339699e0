"""Errors of the specification: class, code, fields and message."""

import inspect

import pytest

from akidb.domain import errors
from akidb.domain.errors import (
    AkiDBError,
    AlreadyExists,
    Damaged,
    IdempotencyMismatch,
    Internal,
    InvalidArgument,
    InvalidState,
    NotFound,
    OperationTimeout,
    Overloaded,
    PermissionDenied,
    PreconditionFailed,
    QuotaExceeded,
    RateLimited,
    StorageFull,
    Unauthenticated,
    Unavailable,
)

DAMAGED = (
    "document 'a' (row 7) of collection c-1 is damaged;"
    " write it again, delete it, or restore it from a backup"
)

# The table of the specification: class, code, fields. Each with the words that it says of itself.
TABLE: list[tuple[AkiDBError, str, dict[str, object], str]] = [
    (
        NotFound("tenant", "aki-labs"),
        "not_found",
        {"entity": "tenant", "id": "aki-labs"},
        "tenant 'aki-labs' does not exist",
    ),
    (
        AlreadyExists("tenant", "slug", "aki-labs"),
        "already_exists",
        {"entity": "tenant", "field": "slug", "value": "aki-labs"},
        "tenant with slug 'aki-labs' already exists",
    ),
    (
        InvalidArgument("documents[3].vector", "must not contain NaN"),
        "invalid_argument",
        {"field": "documents[3].vector", "reason": "must not contain NaN"},
        "documents[3].vector: must not contain NaN",
    ),
    (
        InvalidState("tenant", "suspended", "document_write", ["metadata_read"]),
        "invalid_state",
        {
            "entity": "tenant",
            "state": "suspended",
            "operation": "document_write",
            "allowed": ["metadata_read"],
        },
        "document_write is not allowed while the tenant is suspended (allowed: metadata_read)",
    ),
    (
        QuotaExceeded("storage_quota_bytes", 100, 90, 11),
        "quota_exceeded",
        {"quota": "storage_quota_bytes", "limit": 100, "used": 90, "requested": 11},
        "storage_quota_bytes is 100: 90 used, 11 more requested",
    ),
    (RateLimited(200, 0.5), "rate_limited", {"limit": 200}, "more than 200 operations per second"),
    (
        OperationTimeout("filter", 2.5),
        "timeout",
        {"field": "filter", "timeout_seconds": 2.5},
        (
            "filter: not all documents could be compared with it within 2.5 seconds;"
            " use fewer conditions, or a smaller collection"
        ),
    ),
    (Overloaded("metadata.db"), "overloaded", {"queue": "metadata.db"}, "the metadata.db queue is full"),
    (Unauthenticated(), "unauthenticated", {}, "a valid credential is needed"),
    (
        PermissionDenied("tenant.create"),
        "permission_denied",
        {"action": "tenant.create"},
        "tenant.create is not permitted",
    ),
    (
        PreconditionFailed("tenant", 1, 2),
        "precondition_failed",
        {"entity": "tenant", "expected": 1, "actual": 2},
        "the tenant is at version 2, not 1",
    ),
    (
        IdempotencyMismatch(),
        "idempotency_mismatch",
        {},
        "this Idempotency-Key was used with another request",
    ),
    (Unavailable("metadata.db is closed"), "unavailable", {}, "metadata.db is closed"),
    (StorageFull("metadata.db: full"), "storage_full", {}, "metadata.db: full"),
    (
        Damaged("a", 7, "c-1"),
        "damaged",
        {"document_id": "a", "document_key": 7, "collection_id": "c-1"},
        DAMAGED,
    ),
    (Internal(), "internal", {}, "internal error"),
]


@pytest.mark.parametrize(("error", "code", "fields", "message"), TABLE, ids=[row[1] for row in TABLE])
def test_error_code_and_fields_match_specification(
    error: AkiDBError, code: str, fields: dict[str, object], message: str
) -> None:
    assert error.code == code
    assert error.fields == fields
    assert error.message == message
    assert str(error) == message


def test_every_error_class_is_in_table_once() -> None:
    defined = {
        value
        for _, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, AkiDBError) and value is not AkiDBError
    }
    assert defined == {type(row[0]) for row in TABLE}
    assert len({row[1] for row in TABLE}) == len(TABLE)


def test_every_error_class_has_unique_title() -> None:
    titles = {type(row[0]).title for row in TABLE}
    assert len(titles) == len(TABLE)


def test_invalid_argument_has_path_and_reason() -> None:
    error = InvalidArgument("filter.$and[1].year.$gte", "must be a number")
    assert (error.field, error.reason) == ("filter.$and[1].year.$gte", "must be a number")


def test_invalid_state_without_allowed_states_names_none() -> None:
    assert InvalidState("tenant", "decommissioned", "a move to active", ()).message == (
        "a move to active is not allowed while the tenant is decommissioned"
    )


def test_transient_errors_have_retry_after() -> None:
    assert RateLimited(10, 0.25).retry_after_seconds == 0.25
    assert RateLimited(0, 1).message == "no operations are allowed: qps_quota is 0"
    assert Overloaded("metadata.db").retry_after_seconds == 1.0
    assert Overloaded("embedding", 2.5).retry_after_seconds == 2.5
