"""Executes one request: reads body, query and condition, runs in a worker thread, sends the response."""

from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import Any

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse

from akidb.api import bodies, queries
from akidb.api import headers as request_headers
from akidb.api.paths import places_of
from akidb.api.request_record import record_of
from akidb.api.routing import App, Call, Later, Nothing, Route
from akidb.api.streams import Stream
from akidb.domain.entities import Collection, Database, Tenant, User
from akidb.observe.context import RequestContext, bound, current
from akidb.operations import Work
from akidb.ports import wire

LARGE_BODY_BYTES = 256 * 1024
"""Decoding a longer body is heavy work by itself."""

Endpoint = Callable[[Request[Any, Any, Any]], Awaitable[ASGIResponse]]


def endpoint_of(app: App, route: Route) -> Endpoint:
    """Return the function that Litestar calls for a route."""
    takes_body = route.body is not None

    async def serve_inline(request: Request[Any, Any, Any]) -> ASGIResponse:
        return _carry_out(app, route, request, b"")

    async def serve(request: Request[Any, Any, Any]) -> ASGIResponse:
        with app.workers.admitted():
            headers = record_of(request.scope).headers
            body = await bodies.read(headers, request.receive, wanted=takes_body)
            work = Work.HEAVY if len(body) > LARGE_BODY_BYTES else route.work
            name = _name(route, request)
            answer = await app.workers.run(partial(_begin, app, route, request, body, work), work, name)
            if isinstance(answer, Later):
                return await app.workers.run(answer.perform, answer.work, name)
            return answer

    async def serve_stream(request: Request[Any, Any, Any]) -> ASGIResponse:
        stream = Stream(app.workers, request, status=route.status)
        ends: dict[str, Any] = {}
        if route.takes_stream:
            stream.check_type()
            ends["source"] = stream
        if route.gives_stream:
            ends["sink"] = stream
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
            work = Work.QUICK
            handle = partial(_handle, app, route, request, b"", work)
            wait = await app.workers.run(handle, work, _name(route, request))
        return _answer(route, await app.long_polls.answer(request, wait))

    if route.operation is not None and route.operation.waits:
        return serve_waiting
    return serve_inline if route.inline else serve


def _name(route: Route, request: Request[Any, Any, Any]) -> str:
    """Return whose slots a request takes: its tenant's, or those of its route."""
    return places_of(request.scope).get("tenant", route.path)


def _begin(
    app: App, route: Route, request: Request[Any, Any, Any], body: bytes, work: Work
) -> ASGIResponse | Later:
    """Carry a request out, unless it turns out to need a slot for another kind of work."""
    value = _handle(app, route, request, body, work)
    if isinstance(value, Later):
        return Later(value.work, lambda: _answer(route, value.perform()))
    return _answer(route, value)


def _carry_out(
    app: App, route: Route, request: Request[Any, Any, Any], body: bytes, **ends: Any
) -> ASGIResponse:
    work = route.work if route.operation is None else route.operation.work
    return _answer(route, _handle(app, route, request, body, work, **ends))


def _handle(
    app: App, route: Route, request: Request[Any, Any, Any], body: bytes, work: Work, **ends: Any
) -> Any:
    scope = request.scope
    record = record_of(scope)
    call = Call(app, places_of(scope), is_local=record.is_local, work=work)
    row = route.operation
    in_query = () if row is None or row.in_body else row.said
    fields = queries.read(scope["query_string"], None if row is None else row.request, in_query)
    said = None if route.body is None else bodies.decode(body, route.body, optional=route.body_optional)
    with bound(_context(scope, route)):
        if row is None:
            return route.handler(call) if said is None or route.body is Nothing else route.handler(call, said)
        if said is not None:
            fields = msgspec.structs.asdict(said)
        if row.is_conditional:
            fields["if_version"] = request_headers.wanted_version(record.headers)
        value = route.handler(call, fields, **ends)
        if isinstance(value, Later):
            return Later(value.work, partial(copy_context().run, value.perform))
        return value


def _context(scope: Any, route: Route) -> RequestContext:
    record = record_of(scope)
    client = scope.get("client")
    return RequestContext(
        request_id=record.request_id,
        is_local=record.is_local,
        trace_id=current().trace_id,
        idempotency_key=request_headers.idempotency_key(record.headers) if route.takes_key else None,
        ip_address=client[0] if client else None,
        user_agent=request_headers.user_agent(record.headers),
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
