"""The mapping of errors to HTTP statuses, and the format of error bodies."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from akidb.api import errors as api_errors
from akidb.api.errors import STATUS, MethodNotAllowed, body_of, headers_of, status_of
from akidb.deployment.owner import DirectoryHeld
from akidb.domain import errors
from akidb.domain.errors import AkiDBError
from akidb.operations.tenants import GetTenant

from .conftest import problem
from .running import Threaded, carry_out, client, threaded

_SPECIFIED = {
    "not_found": 404,
    "request_timeout": 408,
    "head_too_large": 431,
    "already_exists": 409,
    "invalid_argument": 400,
    "invalid_state": 409,
    "quota_exceeded": 403,
    "rate_limited": 429,
    "overloaded": 503,
    "unauthenticated": 401,
    "permission_denied": 403,
    "precondition_failed": 412,
    "idempotency_mismatch": 422,
    "unavailable": 503,
    "storage_full": 507,
    "damaged": 500,
    "timeout": 504,
    "internal": 500,
    "method_not_allowed": 405,
    "payload_too_large": 413,
    "uri_too_long": 414,
    "unsupported_media_type": 415,
}


def _classes(module: Any) -> set[type[AkiDBError]]:
    return {
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, AkiDBError) and kind is not AkiDBError
    }


def test_every_error_class_has_status() -> None:
    assert set(STATUS) == _classes(errors) | _classes(api_errors)
    assert {kind.code: status for kind, status in STATUS.items()} == _SPECIFIED


def test_subclass_has_status_of_its_base() -> None:
    assert status_of(DirectoryHeld.__new__(DirectoryHeld)) == 503
    assert status_of(AkiDBError("of no kind")) == 500


@pytest.mark.parametrize(("seconds", "header"), [(0.001, "1"), (1.0, "1"), (1.2, "2")])
def test_retry_after_is_whole_seconds_and_at_least_one(seconds: float, header: str) -> None:
    for error in (errors.RateLimited(5, seconds), errors.Overloaded("request", seconds)):
        assert headers_of(error) == [("retry-after", header)]
    assert headers_of(errors.Unavailable("gone")) == []
    assert headers_of(errors.RateLimited(0, seconds)) == []  # waiting does not help
    assert headers_of(MethodNotAllowed("PUT", "GET, POST")) == [("allow", "GET, POST")]


def test_error_fields_do_not_shadow_problem_members() -> None:
    samples: list[AkiDBError] = [
        errors.NotFound("tenant", "x"),
        errors.AlreadyExists("tenant", "slug", "x"),
        errors.InvalidArgument("name", "wrong"),
        errors.InvalidState("tenant", "active", "purge", ["suspended"]),
        errors.QuotaExceeded("storage", 1, 2, 3),
        errors.RateLimited(1, 1),
        errors.Overloaded("request"),
        errors.PermissionDenied("write"),
        errors.PreconditionFailed("tenant", 1, 2),
        api_errors.PayloadTooLarge(5),
        api_errors.UnsupportedMediaType("Content-Type", "application/json"),
    ]
    for error in samples:
        assert not set(error.fields) & {"type", "title", "status", "detail", "code", "request_id", "error"}


def test_openai_error_body_has_problem_and_openai_members() -> None:
    media_type, body = body_of(errors.InvalidArgument("input", "wrong"), "r", "/v1/embeddings")
    assert media_type == "application/json"
    assert b'"error":{"message":"input: wrong","type":"invalid_request_error","param":"input"' in body
    assert b'"code":"invalid_argument"' in body
    assert b'"type":"server_error"' in body_of(errors.Internal(), "r", "/v1/models/x")[1]


def test_unknown_route_and_wrong_method_return_problems(http: httpx.Client) -> None:
    problem(http.get("/v1/nothing"), 404, "not_found", entity="route", id="/v1/nothing")
    for method in ("PUT", "DELETE", "TRACE", "PROPFIND"):
        answer = http.request(method, "/v1/tenants")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    problem(http.put("/v1/tenants"), 405, "method_not_allowed")
    assert http.options("/v1/tenants").headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.fixture
def threaded_server(tmp_path: Path) -> Iterator[Threaded]:
    with threaded(tmp_path / "data") as running:
        yield running


def test_unexpected_exception_is_logged_and_hidden_from_client(
    threaded_server: Threaded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the password is 12345")

    carry_out(monkeypatch, threaded_server, {GetTenant: fail})
    with client(threaded_server.url) as http, caplog.at_level(logging.ERROR, "akidb.api"):
        answer = http.get("/v1/tenants/x", headers={"x-request-id": "broken-1"})
    found = problem(answer, 500, "internal")
    assert set(found) == {"type", "title", "status", "detail", "code", "request_id"}
    assert "12345" not in answer.text
    [record] = caplog.records
    assert vars(record)["request_id"] == "broken-1"
    assert record.exc_info is not None
    assert "12345" in str(record.exc_info[1])
