"""The record of a request, from its arrival until its response is logged."""

from typing import Any

import msgspec

from akidb.api import headers as request_headers
from akidb.api.headers import Headers

_KEY = "akidb"


ABORTED = 499
"""Logged and counted, as in nginx, if the client disconnected before the response; never sent."""


class RequestRecord(msgspec.Struct):
    """Metadata of a request and its response."""

    headers: Headers
    request_id: str
    trace_id: str | None
    method: str
    """As it was sent: the router sees a HEAD as the GET that it asks about."""
    is_local: bool
    """Whether it arrived on the Unix socket, hence from the operator of the server."""
    status: int = ABORTED
    code: str | None = None
    """The code of an error response."""


def begin(scope: Any) -> RequestRecord:
    """Create the record of a request and store it in its scope."""
    headers = dict(scope["headers"])
    server = scope.get("server")
    exchange = RequestRecord(
        headers,
        request_headers.request_id(headers),
        request_headers.trace_id(headers),
        scope["method"],
        is_local=server is not None and server[1] is None,
    )
    scope.setdefault("state", {})[_KEY] = exchange
    return exchange


def record_of(scope: Any) -> RequestRecord:
    """Return the record of the request with this scope."""
    exchange: RequestRecord = scope["state"][_KEY]
    return exchange
