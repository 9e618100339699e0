"""Errors over HTTP: the table from class to status, and the response bodies.

Bodies are RFC 9457 problems. The OpenAI-compatible routes add the `error` object that OpenAI clients
read. Details of unexpected exceptions never leave the server.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from akidb.domain import errors
from akidb.domain.errors import AkiDBError

PROBLEM_TYPE = "application/problem+json"
OPENAI_PATHS = ("/v1/embeddings", "/v1/models")


class MethodNotAllowed(AkiDBError):
    """The route exists, but not for this method."""

    code = "method_not_allowed"
    title = "Method not allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not allowed here, only {allowed}")
        self.allowed = allowed


class RequestTimeout(AkiDBError):
    """The client sent its request, or read its response, too slowly."""

    code = "request_timeout"
    title = "Request timeout"


class HeadTooLarge(AkiDBError):
    """The request head, its trailers included, exceeds the size limit."""

    code = "head_too_large"
    title = "Request head too large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the head must be at most {limit_bytes} bytes", limit_bytes=limit_bytes)


class TargetTooLong(AkiDBError):
    """The path and query of the request exceed the size limit."""

    code = "uri_too_long"
    title = "URI too long"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the path and query must be at most {limit_bytes} bytes; a POST takes longer filters as a body",
            limit_bytes=limit_bytes,
        )


class PayloadTooLarge(AkiDBError):
    """The body exceeds the size limit."""

    code = "payload_too_large"
    title = "Payload too large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body must be at most {limit_bytes} bytes", limit_bytes=limit_bytes)


class UnsupportedMediaType(AkiDBError):
    """The body is not declared as the required media type."""

    code = "unsupported_media_type"
    title = "Unsupported media type"

    def __init__(self, header: str, wanted: str) -> None:
        super().__init__(f"{header} must be {wanted}", header=header)


STATUS: Mapping[type[AkiDBError], int] = MappingProxyType(
    {
        errors.InvalidArgument: 400,
        errors.Unauthenticated: 401,
        errors.PermissionDenied: 403,
        errors.QuotaExceeded: 403,
        errors.NotFound: 404,
        MethodNotAllowed: 405,
        RequestTimeout: 408,
        errors.AlreadyExists: 409,
        errors.InvalidState: 409,
        errors.PreconditionFailed: 412,
        PayloadTooLarge: 413,
        TargetTooLong: 414,
        UnsupportedMediaType: 415,
        errors.IdempotencyMismatch: 422,
        errors.RateLimited: 429,
        HeadTooLarge: 431,
        errors.Damaged: 500,
        errors.Internal: 500,
        errors.Overloaded: 503,
        errors.Unavailable: 503,
        errors.StorageFull: 507,
        errors.OperationTimeout: 504,
    }
)
"""The status of each error class. A subclass without an entry has that of its base."""


def status_of(error: AkiDBError) -> int:
    """Return the HTTP status of an error."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def headers_of(error: AkiDBError) -> list[tuple[str, str]]:
    """Return the response headers of an error."""
    if isinstance(error, errors.RateLimited) and error.fields["limit"] == 0:
        return []  # waiting does not help
    if isinstance(error, errors.RateLimited | errors.Overloaded):
        return [("retry-after", str(max(1, math.ceil(error.retry_after_seconds))))]
    if isinstance(error, MethodNotAllowed):
        return [("allow", error.allowed)]
    return []


def body_of(error: AkiDBError, request_id: str, path: str, *, is_local: bool = False) -> tuple[str, bytes]:
    """Return the media type and the body of an error response for this path.

    Only a client on the Unix socket receives paths, names of databases and texts of drivers.
    """
    status, said = status_of(error), error.message if is_local else error.public
    problem: dict[str, Any] = {
        "type": f"urn:akidb:error:{error.code}",
        "title": error.title,
        "status": status,
        "detail": said,
        "code": error.code,
        **error.fields,
        "request_id": request_id,
    }
    if not path.startswith(OPENAI_PATHS):
        return PROBLEM_TYPE, msgspec.json.encode(problem)
    problem["error"] = {
        "message": said,
        "type": "server_error" if status >= 500 else "invalid_request_error",
        "param": error.fields.get("field"),
        "code": error.code,
    }
    return "application/json", msgspec.json.encode(problem)
