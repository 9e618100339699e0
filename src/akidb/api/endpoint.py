"""Executes one request: reads body, query and condition, runs in a worker thread, sends the response."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from contextvars import copy_context
from functools import partial
from typing import Any

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse

from akidb.api import bodies, queries
from akidb.api import headers as request_headers
from akidb.api.bodies import Body
from akidb.api.exchange import exchange_of
from akidb.api.paths import places_of
from akidb.api.request_record import record_of
from akidb.api.room import Share
from akidb.api.routing import App, Call, Later, Nothing, Route
from akidb.api.streams import BYTES, Sent, Stream
from akidb.domain.entities import Collection, Database, Tenant, User
from akidb.domain.errors import Unavailable
from akidb.domain.lifecycle import require
from akidb.observe.context import RequestContext, bound, current
from akidb.operations import Work
from akidb.operations.tenants import GetTenant
from akidb.ports import arrow, wire

LARGE_BODY_BYTES = 64 * 1024
"""Decoding a longer body is heavy work by itself."""

Endpoint = Callable[[Request[Any, Any, Any]], Awaitable[ASGIResponse]]


def endpoint_of(app: App, route: Route) -> Endpoint:
    """Return the function that Litestar calls for a route."""
    takes_body = route.body is not None

    async def serve_inline(request: Request[Any, Any, Any]) -> ASGIResponse:
        return _carry_out(app, route, request, b"")

    async def serve(request: Request[Any, Any, Any]) -> ASGIResponse:
        _check_open(request)
        exchange = exchange_of(request.scope)
        with app.bodies.share(exchange, lambda: exchange.body_rate) as share:
            body = await _body(app, request, share, wanted=takes_body, or_arrow=route.arrow is not None)
            work = Work.HEAVY if len(body) > LARGE_BODY_BYTES else route.work
            name = _name(route, request)
            try:
                with app.workers.admitted():
                    begun = await app.workers.run(
                        partial(_begin, app, route, request, body, work), work, name
                    )
                    if isinstance(begun, Later):
                        answer: ASGIResponse = await app.workers.run(begun.perform, begun.work, name)
                    else:
                        answer = begun
            finally:
                bodies.give_back(body)
        return await _passed_on(app, route, request, answer)

    async def serve_stream(request: Request[Any, Any, Any]) -> ASGIResponse:
        _check_open(request)
        if record_of(request.scope).method == "HEAD":
            return await _head_of_stream(app, route, request)
        stream = Stream(app.workers, request, status=route.status)
        ends: dict[str, Any] = {}
        if route.takes_stream:
            stream.check_type()
            ends["source"] = stream
        else:
            await _body(app, request, None, wanted=False)
        if route.gives_stream:
            ends["sink"] = stream
        async with _stream_place(app, route, request, stream):
            work = partial(_carry_out, app, route, request, b"", **ends)
            return await stream.run(work, gives=route.gives_stream)

    if route.takes_stream or route.gives_stream:
        return serve_stream

    async def serve_aside(request: Request[Any, Any, Any]) -> ASGIResponse:
        _check_open(request)
        question = (route.path, request.scope["query_string"])
        handle = partial(_handle, app, route, request, b"", route.work)
        return _answer(route, await app.workers.run_aside(question, handle))

    if route.aside:
        return serve_aside

    async def serve_waiting(request: Request[Any, Any, Any]) -> ASGIResponse:
        _check_open(request)
        await _body(app, request, None, wanted=False)
        with app.workers.admitted():
            handle = partial(_handle, app, route, request, b"", Work.QUICK)
            wait = await app.workers.run(handle, Work.QUICK, _name(route, request))
        page = await app.long_polls.answer(request, wait)
        answer = await app.workers.run(partial(_answer, route, page), Work.QUICK, _name(route, request))
        return await _passed_on(app, route, request, answer)

    if route.operation is not None and route.operation.waits:
        return serve_waiting
    return serve_inline if route.inline else serve


def _check_open(request: Request[Any, Any, Any]) -> None:
    """Raise Unavailable if the request arrived during shutdown."""
    if exchange_of(request.scope).is_late:
        raise Unavailable("the server is shutting down")


async def _head_of_stream(app: App, route: Route, request: Request[Any, Any, Any]) -> ASGIResponse:
    """Answer a HEAD for an archive, which is not made for it. Raises what would keep it from being made."""
    await _body(app, request, None, wanted=False)
    with app.workers.admitted():
        check = partial(_check_stream, app, route, request)
        await app.workers.run(check, Work.QUICK, _name(route, request))
    headers = [(b"content-type", BYTES.encode())]
    await request.send({"type": "http.response.start", "status": route.status, "headers": headers})
    await request.send({"type": "http.response.body", "body": b"", "more_body": False})
    return Sent()


def _check_stream(app: App, route: Route, request: Request[Any, Any, Any]) -> None:
    row, places = route.operation, places_of(request.scope)
    assert row is not None
    queries.read(request.scope["query_string"], row.request, row.said)
    if "tenant" not in places:
        return
    with bound(_context(request.scope, route)):
        tenant = app.operations.perform(GetTenant(tenant=places["tenant"]))
    if row.needs is not None:
        require(row.needs, tenant.status)


def _stream_place(
    app: App, route: Route, request: Request[Any, Any, Any], stream: Stream
) -> AbstractAsyncContextManager[None]:
    places = app.local_streams if record_of(request.scope).is_local else app.streams
    most = app.limits.uploads if route.takes_stream else app.limits.streams_each
    return places.place(_name(route, request), most, exchange_of(request.scope), stream.rate)


def _name(route: Route, request: Request[Any, Any, Any]) -> str:
    """Return whose slots a request takes: its tenant's, or those of its route."""
    return places_of(request.scope).get("tenant", route.path)


def _begin(
    app: App, route: Route, request: Request[Any, Any, Any], body: Body, work: Work
) -> ASGIResponse | Later:
    """Carry a request out, unless it turns out to need a slot for another kind of work."""
    value = _handle(app, route, request, body, work)
    if isinstance(value, Later):
        return Later(value.work, lambda: _answer(route, value.perform()))
    return _answer(route, value)


async def _body(
    app: App,
    request: Request[Any, Any, Any],
    share: Share | None,
    *,
    wanted: bool,
    or_arrow: bool = False,
) -> Body:
    headers = record_of(request.scope).headers
    return await bodies.read(headers, request.receive, share, app.limits, wanted=wanted, or_arrow=or_arrow)


async def _passed_on(
    app: App, route: Route, request: Request[Any, Any, Any], answer: ASGIResponse
) -> ASGIResponse:
    """Return a short response; send a long one, whose bytes are counted until the client has taken them.

    Raises Overloaded if they do not fit, unless the operation changed something.
    """
    size = len(answer.body)
    if size <= app.limits.free_bytes:
        return answer
    scope = request.scope
    exchange = exchange_of(scope)
    with app.answers.share(exchange, lambda: exchange.answer_rate) as share:
        app.answers.take_at_once(share, size, must=route.takes_key)
        await answer(scope, request.receive, request.send)
    return Sent()


def _carry_out(
    app: App, route: Route, request: Request[Any, Any, Any], body: Body, **ends: Any
) -> ASGIResponse:
    work = route.work if route.operation is None else route.operation.work
    return _answer(route, _handle(app, route, request, body, work, **ends))


def _handle(
    app: App, route: Route, request: Request[Any, Any, Any], body: Body, work: Work, **ends: Any
) -> Any:
    scope = request.scope
    record = record_of(scope)
    call = Call(app, places_of(scope), is_local=record.is_local, work=work)
    row, takes_body = route.operation, route.body is not None
    in_query = () if row is None or takes_body else row.said
    in_arrow = route.arrow if request_headers.is_arrow(record.headers) else None
    if row is not None and in_arrow is not None:
        in_query = tuple(name for name in row.said if name != in_arrow)
    fields = queries.read(scope["query_string"], None if row is None else row.request, in_query)
    said = None
    if in_arrow is not None:
        fields[in_arrow] = arrow.decode(body)
    elif route.body is not None:
        said = bodies.decode(body, route.body, optional=route.body_optional)
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
