"""Converts a server's error response to the exception that the services raised there."""

import math

import msgspec

from akidb.client.http.transport import Answer
from akidb.domain import errors
from akidb.domain.errors import AkiDBError, Internal, InvalidArgument, Unavailable

_CLASSES: dict[str, type[AkiDBError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, AkiDBError) and kind is not AkiDBError
}
# The members of RFC 9457, and `error`, which OpenAI clients read.
_STANDARD = frozenset({"type", "title", "status", "detail", "instance", "code", "request_id", "error"})
_GATEWAY_STATUSES = frozenset({502, 503, 504})


def error_of(answer: Answer, server: str) -> AkiDBError:
    """Return the exception for a problem document, with the same message and fields."""
    try:
        problem = msgspec.json.decode(answer.body, type=dict[str, object])
    except msgspec.DecodeError:
        problem = {}
    code, message = problem.get("code"), str(problem.get("detail", ""))
    if code == "payload_too_large":  # there is no such limit in process
        return InvalidArgument("body", message)
    if code in {"head_too_large", "uri_too_long"}:
        return InvalidArgument("request", message)
    if code == "request_timeout":
        return Unavailable(message)
    kind = _CLASSES.get(code) if isinstance(code, str) else None
    if kind is None:
        said = f"{server} sent an unexpected response with status {answer.status}"
        return Unavailable(said) if answer.status in _GATEWAY_STATUSES else Internal(said)
    # Bypass the class's own __init__, which would rebuild the message from the fields.
    error = kind.__new__(kind)
    AkiDBError.__init__(error, message, **{k: v for k, v in problem.items() if k not in _STANDARD})
    if isinstance(error, errors.RateLimited | errors.Overloaded):
        error.retry_after_seconds = _seconds(answer.headers.get("Retry-After"))
    return error


def _seconds(text: str | None) -> float:
    try:
        seconds = float(text or 1)
    except ValueError:
        return 1.0
    return seconds if math.isfinite(seconds) and seconds >= 0 else 1.0
