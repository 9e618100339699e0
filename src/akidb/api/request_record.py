"""What is known of a request from the moment it comes in until its answer is logged."""

from typing import Any

import msgspec

from akidb.api import headers as request_headers
from akidb.api.headers import Headers

_KEY = "akidb"


ABORTED = 499
"""Logged and counted (as nginx does) when the client left before there was an answer; never sent."""


class RequestRecord(msgspec.Struct):
    """A request and its answer, seen from outside."""

    headers: Headers
    request_id: str
    trace_id: str | None
    is_local: bool
    """Whether it came through the Unix socket, and so from whoever runs the server."""
    status: int = ABORTED
    code: str | None = None
    """Of the error that was answered."""


def begin(scope: Any) -> RequestRecord:
    """Note the exchange in its scope."""
    headers = dict(scope["headers"])
    server = scope.get("server")
    exchange = RequestRecord(
        headers,
        request_headers.request_id(headers),
        request_headers.trace_id(headers),
        is_local=server is not None and server[1] is None,
    )
    scope.setdefault("state", {})[_KEY] = exchange
    return exchange


def record_of(scope: Any) -> RequestRecord:
    """The exchange that a scope belongs to."""
    exchange: RequestRecord = scope["state"][_KEY]
    return exchange
