"""The outermost ASGI layer, around every request and response.

It assigns the request ID, blocks requests from other sites, counts and logs. It is independent of the routes.
"""

import logging
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from litestar.types import ASGIApp, HTTPScope, Receive, Send

from akidb.api import errors
from akidb.api import request_record as exchange
from akidb.api.headers import origin_fault, repetition_fault
from akidb.api.metrics import NO_ROUTE, Metrics
from akidb.api.paths import path_fault
from akidb.api.request_record import ABORTED, RequestRecord
from akidb.domain.errors import AkiDBError
from akidb.observe.context import RequestContext, WorkSubject, bound
from akidb.observe.logs import logger

if TYPE_CHECKING:
    from akidb.api.tracing import ServerTracing

__all__ = ["ABORTED", "Middleware"]

_logger = logger("akidb.api.access")
PAGES = frozenset({"/", "/docs"})
"""Pages for people: links of other sites may lead there. The first redirects to the second."""
_STANDING_HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]


class Middleware:
    """The layer around the router."""

    def __init__(self, router: ASGIApp, metrics: Metrics, tracing: "ServerTracing | None" = None) -> None:
        self._router = router
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI). The server passes only HTTP scopes."""
        request = exchange.begin(scope)
        with (
            WorkSubject(),
            self._traced(scope, request) as trace_id,
            bound(RequestContext(request_id=request.request_id, trace_id=trace_id)),
        ):
            await self._serve(request, scope, receive, send)

    def _traced(self, scope: HTTPScope, request: RequestRecord) -> AbstractContextManager[str | None]:
        return nullcontext(request.trace_id) if self._tracing is None else self._tracing.span(scope, request)

    async def _serve(self, request: RequestRecord, scope: HTTPScope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        # The router matches the path as it was sent.
        path = scope["path"] = scope["raw_path"].decode("ascii", "backslashreplace")
        # The connection leaves out the body of a response to HEAD.
        routed: Any = {**scope, "method": "GET"} if request.method == "HEAD" else scope

        async def send_marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                marks = [*_STANDING_HEADERS, (b"x-request-id", request.request_id.encode("ascii"))]
                message["headers"] = [*message["headers"], *marks]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            if refusal := _refusal(scope, request):
                request.code = refusal.code
                await _send_error(refusal, request.request_id, path, send_marked)
            else:
                await self._router(routed, receive, send_marked)
        finally:
            seconds = time.perf_counter() - started
            self._metrics.in_flight.dec()
            route = str(routed.get("path_template", NO_ROUTE))
            self._metrics.count(scope["method"], route, request.status, seconds)
            _log(scope, request, route, seconds)


def _refusal(scope: Any, request: RequestRecord) -> AkiDBError | None:
    if not request.is_local and (
        fault := origin_fault(scope["headers"], is_page=scope["method"] == "GET" and scope["path"] in PAGES)
    ):
        return fault
    if len(request.headers) != len(scope["headers"]) and (fault := repetition_fault(scope["headers"])):
        return fault
    return path_fault(scope["raw_path"])


async def _send_error(error: AkiDBError, request_id: str, path: str, send: Any) -> None:
    media_type, body = errors.body_of(error, request_id, path)
    headers = [
        *((name.encode(), value.encode()) for name, value in errors.headers_of(error)),
        (b"content-type", media_type.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": errors.status_of(error), "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _log(scope: Any, request: RequestRecord, route: str, seconds: float) -> None:
    """Log one line, without the path, which contains tenants' names."""
    if not _logger.isEnabledFor(logging.INFO):
        return
    client = scope.get("client")
    fields = {
        "method": scope["method"],
        "route": route,
        "status": request.status,
        "duration_ms": round(seconds * 1000, 3),
        "client": client[0] if client else "unix",
    }
    if request.code is not None:
        fields["code"] = request.code
    _logger.info("request", extra={"fields": fields})
