"""Assembles the application: operations, routes, workers, and one handler for all errors."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from akidb.api import docs, errors, health, openai, openapi, operations
from akidb.api.bodies import ClientDisconnected
from akidb.api.endpoint import endpoint_of
from akidb.api.errors import MethodNotAllowed
from akidb.api.limits import LIMITS, Limits
from akidb.api.long_poll import LongPolls
from akidb.api.metrics import Metrics
from akidb.api.middleware import ABORTED, Middleware
from akidb.api.request_record import record_of
from akidb.api.room import Room
from akidb.api.routing import JSON, Route
from akidb.api.stream_places import StreamPlaces
from akidb.api.workers import EACH, Workers
from akidb.deployment.local import LocalOperations
from akidb.domain.errors import AkiDBError, Internal, InvalidArgument, NotFound
from akidb.observe import telemetry
from akidb.observe.logs import logger
from akidb.observe.metrics import process_metrics
from akidb.operations import Work
from akidb.ports import arrow
from akidb.settings import Settings

if TYPE_CHECKING:
    from akidb.api.tracing import ServerTracing

ROUTES: tuple[Route, ...] = (*operations.routes(), *openai.routes, *health.routes)
"""All routes of the server."""
HOME = "/"
"""Redirects people to the page `/docs`; not part of the API."""

_logger = logger("akidb.api")


class Application:
    """The ASGI application and the dependencies of its routes."""

    def __init__(self, operations: LocalOperations, settings: Settings, limits: Limits) -> None:
        self.operations = operations
        self.settings = settings
        self.limits = limits
        self.metrics = Metrics()
        self.workers = Workers(
            capacity=settings.max_queued_requests,
            streams=limits.streams + limits.local_streams,
            slow_each=_slow_each(operations, settings),
        )
        self.bodies = Room(limits.all_bodies_bytes, "body", limits)
        self.answers = Room(limits.all_answers_bytes, "response", limits)
        self.streams = StreamPlaces(limits, places=limits.streams)
        self.local_streams = StreamPlaces(limits, places=limits.local_streams)
        self.long_polls = LongPolls(self.workers, limits)
        self._router = Litestar(
            # OPTIONS first: Litestar adds its own to a path without one.
            [
                *map(_options, {HOME, *(route.path for route in ROUTES)}),
                HTTPRouteHandler(HOME, http_method="GET", status_code=200)(_home),
                *(_registered(self, route) for route in ROUTES),
            ],
            exception_handlers={Exception: answer_error},
            openapi_config=None,
            logging_config=None,
            debug=False,  # these two, else Litestar reads them from the environment
            pdb_on_exception=False,
        )
        self._gate = Middleware(self._router, self.metrics, _tracing(settings))
        telemetry.listen(process_metrics())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request (ASGI)."""
        await self._gate(scope, receive, send)

    @cached_property
    def description(self) -> bytes:
        """The OpenAPI document, as JSON."""
        return msgspec.json.encode(openapi.describe(ROUTES))

    @cached_property
    def page(self) -> bytes:
        """The OpenAPI document as an HTML page."""
        return docs.render(openapi.describe(ROUTES))

    @property
    def refusing(self) -> bool:
        """Whether it is shutting down."""
        return self.workers.refusing

    def drain(self) -> None:
        """Refuse new requests; those in progress continue."""
        self.workers.refuse()

    def close(self) -> None:
        """Wait for the threads to end. The caller closes the operations."""
        telemetry.leave(process_metrics())
        self.workers.close()


def create_app(operations: LocalOperations, settings: Settings, limits: Limits = LIMITS) -> Application:
    """Create the application that serves `operations`. The caller closes it, then the operations."""
    return Application(operations, settings, limits)


def _slow_each(operations: LocalOperations, settings: Settings) -> int:
    """Return how many slow operations of one tenant may run: on PostgreSQL each waits with a connection."""
    if operations.directory is not None:
        return EACH[Work.SLOW]
    return max(1, settings.postgresql_pool_size // 2)


def _tracing(settings: Settings) -> "ServerTracing | None":
    if settings.tracing == "off":
        return None
    from akidb.api.tracing import ServerTracing

    return ServerTracing()


def _registered(app: Application, route: Route) -> HTTPRouteHandler:
    # The response sets its own status; Litestar rejects a response body for a declared 204.
    handler = HTTPRouteHandler(
        _typed(route.path),
        http_method=route.method,  # type: ignore[arg-type]
        status_code=200,
        name=route.operation_id,
    )
    return handler(endpoint_of(app, route))


def _options(path: str) -> HTTPRouteHandler:
    """Return the OPTIONS handler of a path; Litestar's own lists only the first method."""
    found = {route.method for route in ROUTES if route.path == path} or {"GET"}
    headers = [("allow", _allowed(found))]
    if any(route.path == path and route.arrow for route in ROUTES):
        headers.append(("accept-post", f"{JSON}, {arrow.MEDIA_TYPE}"))

    async def options() -> ASGIResponse:
        return ASGIResponse(status_code=204, headers=headers)

    return HTTPRouteHandler(_typed(path), http_method="OPTIONS", status_code=200)(options)


async def _home() -> ASGIResponse:
    return ASGIResponse(status_code=307, headers=[("location", "/docs")], media_type="text/plain")


def _allowed(methods: set[str]) -> str:
    """Return the methods of a path that has these, for `Allow`."""
    return ", ".join(sorted({"OPTIONS", *methods, *({"HEAD"} if "GET" in methods else ())}))


def _typed(path: str) -> str:
    """Return the path in Litestar's syntax, with a type for each parameter."""
    return path.replace("}", ":str}")


def answer_error(request: Request[Any, Any, Any], exception: Exception) -> Response[bytes]:
    """Convert an exception to a problem response. Unexpected exceptions are logged, not exposed."""
    if isinstance(exception, ClientDisconnected):
        return Response(b"", status_code=ABORTED)
    exchange = record_of(request.scope)
    error = _translated(request, exception)
    exchange.code = error.code
    if isinstance(error, Internal):
        _logger.error("request failed", exc_info=exception)
    elif error.public != error.message and not exchange.is_local:
        _logger.warning("request failed: %s", error.message)
    path, is_local = request.scope["path"], exchange.is_local
    media_type, body = errors.body_of(error, exchange.request_id, path, is_local=is_local)
    return Response(
        body,
        status_code=errors.status_of(error),
        media_type=media_type,
        headers=dict(errors.headers_of(error)),
    )


def _translated(request: Request[Any, Any, Any], exception: Exception) -> AkiDBError:
    if isinstance(exception, AkiDBError):
        return exception
    if isinstance(exception, NotFoundException):
        return NotFound("route", request.scope["path"])
    if isinstance(exception, MethodNotAllowedException):
        allowed = (exception.headers or {}).get("allow", "").split(", ")
        return MethodNotAllowed(record_of(request.scope).method, _allowed(set(allowed)))
    if isinstance(exception, HTTPException) and exception.status_code < 500:
        return InvalidArgument("request", exception.detail)
    return Internal()
