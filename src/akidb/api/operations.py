"""Routes generated from the table of operations: requests from path, query or body, and headers."""

from collections.abc import Callable
from functools import partial
from typing import Any

from akidb.api.long_poll import Wait
from akidb.api.routing import JSON, Call, Later, Nothing, Route
from akidb.api.streams import BYTES
from akidb.operations import OPERATIONS, Operation, Work

BY_HAND = frozenset({"embedding", "model"})
"""Features whose routes follow OpenAI's API (`akidb.api.openai`)."""


def routes() -> list[Route]:
    """Return the routes of each operation that is not local-only."""
    found = []
    for row in OPERATIONS.values():
        if row.local or row.feature in BY_HAND:
            continue
        found.append(_route(row, row.method, row.path, row.verb, in_body=row.in_body))
        if row.body_path:
            found.append(_route(row, "POST", row.body_path, f"{row.verb}_post", in_body=True))
    return found


def _route(row: Operation, method: str, path: str, name: str, *, in_body: bool) -> Route:
    gives_bytes = row.gives == "bytes"
    return Route(
        method=method,
        path=path,
        tag=row.feature,
        name=name,
        summary=row.summary.removesuffix("."),
        description=row.description,
        handler=_handler(row),
        answer=bytes if gives_bytes else row.sent,
        status=row.status,
        operation=row,
        body=(row.shape if row.said else Nothing) if in_body else None,
        body_schema=(row.schema if row.said else Nothing) if in_body else None,
        takes_key=row.changes,
        work=row.work,
        media_type=BYTES if gives_bytes else JSON,
        raises=row.raises,
    )


def _handler(row: Operation) -> Callable[..., Any]:
    def handle(call: Call, fields: dict[str, Any], **ends: Any) -> Any:
        request = row.request(**call.places, **fields)
        work = row.work_of(request)
        if row.waits:
            watch = call.operations.watch(request)
            return Wait(watch, float(request.wait_seconds), work)  # type: ignore[attr-defined] # of each that waits
        perform = partial(_perform, row, call, request, ends)
        # A large body is heavy work by itself, whatever it asks for.
        has_slot = work is call.work or (call.work is Work.HEAVY and work is not Work.PASSWORD)
        return perform() if has_slot else Later(work, perform)

    return handle


def _perform(row: Operation, call: Call, request: Any, ends: dict[str, Any]) -> Any:
    answer = call.operations.perform(request, **ends)
    return answer if row.member is None else row.sent(answer)
