"""Carries one request out: body, query and condition in, one hop to a worker thread, the answer out."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from litestar import Request
from litestar.response.base import ASGIResponse

from akidb.api import bodies, queries
from akidb.api import headers as request_headers
from akidb.api.request_record import record_of
from akidb.api.routing import Call, Nothing, Route
from akidb.api.streams import Stream
from akidb.domain.entities import Collection, Database, Tenant, User
from akidb.observe.context import RequestContext, bound, current
from akidb.ports import wire

if TYPE_CHECKING:
    from akidb.api.app import Application

Endpoint = Callable[[Request[Any, Any, Any]], Awaitable[ASGIResponse]]


def endpoint_of(app: "Application", route: Route) -> Endpoint:
    """The function that Litestar calls for a route."""
    takes_body = route.body is not None

    async def serve_inline(request: Request[Any, Any, Any]) -> ASGIResponse:
        return _carry_out(app, route, request, b"")

    async def serve(request: Request[Any, Any, Any]) -> ASGIResponse:
        with app.workers.admitted():
            headers = record_of(request.scope).headers
            body = await bodies.read(headers, request.receive, wanted=takes_body)
            work = partial(_carry_out, app, route, request, body)
            if route.slow:
                return await app.workers.run_slow(work, request.scope["path_params"].get("tenant", ""))
            return await app.workers.run(work)

    async def serve_stream(request: Request[Any, Any, Any]) -> ASGIResponse:
        stream = Stream(app.workers, request, status=route.status)
        ends: dict[str, Any] = {}
        if route.takes_stream:
            stream.check_type()
            ends["source"] = stream
        if route.gives_stream:
            ends["target"] = stream
        with app.workers.admitted():
            work = partial(_carry_out, app, route, request, b"", **ends)
            return await stream.run(work, gives=route.gives_stream)

    if route.takes_stream or route.gives_stream:
        return serve_stream

    async def serve_aside(request: Request[Any, Any, Any]) -> ASGIResponse:
        return await app.workers.run_aside(partial(_carry_out, app, route, request, b""))

    if route.aside:
        return serve_aside

    async def serve_waiting(request: Request[Any, Any, Any]) -> ASGIResponse:
        with app.workers.admitted():
            await bodies.read(record_of(request.scope).headers, request.receive, wanted=False)
            wait = await app.workers.run(partial(_handle, app, route, request, b""))
        return _answer(route, await app.waiting.answer(request, wait))

    if route.waits:
        return serve_waiting
    return serve_inline if route.inline else serve


def _carry_out(
    app: "Application", route: Route, request: Request[Any, Any, Any], body: bytes, **streams: Any
) -> ASGIResponse:
    return _answer(route, _handle(app, route, request, body, **streams))


def _handle(
    app: "Application", route: Route, request: Request[Any, Any, Any], body: bytes, **streams: Any
) -> Any:
    scope = request.scope
    exchange = record_of(scope)
    headers = exchange.headers
    arguments: dict[str, Any] = streams
    query = queries.read(scope["query_string"], route.query or Nothing)
    if route.query is not None:
        arguments["query"] = query
    if route.body is not None:
        decoded = bodies.decode(body, route.body, optional=route.body_optional)
        if route.body is not Nothing:
            arguments["body"] = decoded
    if route.conditional:
        arguments["if_version"] = request_headers.wanted_version(headers)
    with bound(_context(scope, route)):
        return route.handler(Call(app, scope["path_params"], is_local=exchange.is_local), **arguments)


def _context(scope: Any, route: Route) -> RequestContext:
    exchange = record_of(scope)
    client = scope.get("client")
    return RequestContext(
        request_id=exchange.request_id,
        trace_id=current().trace_id,
        idempotency_key=request_headers.idempotency_key(exchange.headers) if route.takes_key else None,
        ip_address=client[0] if client else None,
        user_agent=request_headers.user_agent(exchange.headers),
    )


def _answer(route: Route, value: Any) -> ASGIResponse:
    if value is None:
        return ASGIResponse(status_code=route.status)
    if isinstance(value, bytes):
        return ASGIResponse(body=value, media_type=route.media_type, status_code=route.status)
    headers: list[tuple[str, str]] = []
    if isinstance(value, Tenant | Database | Collection | User):
        headers.append(("etag", f'"{value.version}"'))
        if route.status == 201:
            headers.append(("location", _location(value)))
    return ASGIResponse(body=wire.encode(value), headers=headers, status_code=route.status)


def _location(entity: Tenant | Database | Collection | User) -> str:
    path = f"/v1/tenants/{entity.tenant_id}"
    if isinstance(entity, Tenant):
        return path
    if isinstance(entity, User):
        return f"{path}/users/{entity.user_id}"
    path += f"/databases/{entity.database_id}"
    return path if isinstance(entity, Database) else f"{path}/collections/{entity.collection_id}"
