"""What an error looks like over HTTP: the one table from class to status, and the bodies.

Bodies are RFC 9457 problems. The routes that OpenAI's clients use add the `error` object that those
read. Nothing of a foreign exception but its occurrence leaves the server.
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
    """The route is there, but not for this method."""

    code = "method_not_allowed"
    title = "Method not allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not allowed here, only {allowed}")
        self.allowed = allowed


class RequestTimeout(AkiDBError):
    """The client stopped sending before its body was complete."""

    code = "request_timeout"
    title = "Request timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing of the body came for {seconds:g} seconds")


class PayloadTooLarge(AkiDBError):
    """The body is larger than a body may be."""

    code = "payload_too_large"
    title = "Payload too large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"a body may be at most {limit_bytes} bytes", limit_bytes=limit_bytes)


class UnsupportedMediaType(AkiDBError):
    """The body is not JSON, or does not say so."""

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
        UnsupportedMediaType: 415,
        errors.IdempotencyMismatch: 422,
        errors.RateLimited: 429,
        errors.Internal: 500,
        errors.Overloaded: 503,
        errors.Unavailable: 503,
    }
)
"""The status of each error. A subclass without a row of its own has that of its base."""


def status_of(error: AkiDBError) -> int:
    """The HTTP status that an error is answered with."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def headers_of(error: AkiDBError) -> list[tuple[str, str]]:
    """The headers that belong to an error's answer."""
    if isinstance(error, errors.RateLimited | errors.Overloaded):
        return [("retry-after", str(max(1, math.ceil(error.retry_after_seconds))))]
    if isinstance(error, MethodNotAllowed):
        return [("allow", error.allowed)]
    if isinstance(error, RequestTimeout):
        return [("connection", "close")]  # what still comes belongs to no request
    return []


def body_of(error: AkiDBError, request_id: str, path: str) -> tuple[str, bytes]:
    """The media type and the body that an error is answered with on this path."""
    status = status_of(error)
    problem: dict[str, Any] = {
        "type": f"urn:akidb:error:{error.code}",
        "title": error.title,
        "status": status,
        "detail": error.message,
        "code": error.code,
        **error.fields,
        "request_id": request_id,
    }
    if not path.startswith(OPENAI_PATHS):
        return PROBLEM_TYPE, msgspec.json.encode(problem)
    problem["error"] = {
        "message": error.message,
        "type": "server_error" if status >= 500 else "invalid_request_error",
        "param": error.fields.get("field"),
        "code": error.code,
    }
    return "application/json", msgspec.json.encode(problem)
