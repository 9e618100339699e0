"""Every domain error survives a round trip over HTTP."""

from email.message import Message
from http.client import HTTPMessage

import pytest

import akidb
from akidb.api.errors import body_of, headers_of, status_of
from akidb.client.http.problems import error_of
from akidb.client.http.transport import Answer

ERRORS = [
    akidb.NotFound("tenant", "aki-labs"),
    akidb.AlreadyExists("tenant", "slug", "aki-labs"),
    akidb.InvalidArgument("documents[3].vector", "must not contain NaN"),
    akidb.InvalidState("tenant", "suspended", "document_write", ["audit_read"]),
    akidb.QuotaExceeded("storage_quota_bytes", 10, 9, 2),
    akidb.RateLimited(5, 3.0),
    akidb.Overloaded("request", 2.0),
    akidb.OperationTimeout("filter", 2.5),
    akidb.Unauthenticated(),
    akidb.PermissionDenied("tenant.create"),
    akidb.PreconditionFailed("tenant", 1, 2),
    akidb.IdempotencyMismatch(),
    akidb.Unavailable("the store is being restored"),
    akidb.StorageFull("the disk is full"),
    akidb.Damaged("a", 7, "c-1"),
    akidb.Internal(),
]


def test_all_public_errors_are_covered() -> None:
    published = {getattr(akidb, name) for name in akidb.__all__}
    kinds = {kind for kind in published if isinstance(kind, type) and issubclass(kind, akidb.AkiDBError)}
    # A migration works on files where the data is, and never over HTTP.
    in_process = {akidb.FaultyManifests, akidb.ManifestConflicts}
    assert {type(error) for error in ERRORS} == kinds - {akidb.AkiDBError} - in_process


@pytest.mark.parametrize("path", ["/v1/tenants", "/v1/embeddings"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_error_round_trips_over_http(error: akidb.AkiDBError, path: str) -> None:
    headers = HTTPMessage()
    for name, value in headers_of(error):
        Message.add_header(headers, name, value)
    _, body = body_of(error, "request-1", path)
    back = error_of(Answer(status_of(error), headers, body), "http://localhost")
    assert type(back) is type(error)
    assert (back.code, back.message, back.fields) == (error.code, error.message, error.fields)
    assert back.args == error.args
    assert getattr(back, "retry_after_seconds", None) == getattr(error, "retry_after_seconds", None)
