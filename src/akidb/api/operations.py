"""Routes generated from the table of operations: requests from path, query or body, and headers."""

from collections.abc import Callable
from typing import Any

from akidb.api.long_poll import Wait
from akidb.api.routing import JSON, Call, Nothing, Route
from akidb.api.streams import BYTES
from akidb.operations import OPERATIONS, Operation

BY_HAND = frozenset({"embedding", "model"})
"""Features whose routes follow OpenAI's API (`akidb.api.openai`)."""


def routes() -> list[Route]:
    """Return a route for each operation that is not local-only."""
    rows = (row for row in OPERATIONS.values() if not row.local and row.feature not in BY_HAND)
    return [_route(row) for row in rows]


def _route(row: Operation) -> Route:
    gives_bytes = row.gives == "bytes"
    return Route(
        method=row.method,
        path=row.path,
        tag=row.feature,
        name=row.verb,
        summary=row.summary.removesuffix("."),
        description=row.description,
        handler=_handler(row),
        answer=bytes if gives_bytes else row.sent,
        status=row.status,
        operation=row,
        body=(row.shape if row.said else Nothing) if row.in_body else None,
        body_schema=(row.schema if row.said else Nothing) if row.in_body else None,
        takes_key=row.changes,
        slow=row.slow,
        media_type=BYTES if gives_bytes else JSON,
        raises=row.raises,
    )


def _handler(row: Operation) -> Callable[..., Any]:
    def handle(call: Call, fields: dict[str, Any], **ends: Any) -> Any:
        request = row.request(**call.places, **fields)
        if row.waits:
            watch = call.operations.watch(request)
            return Wait(watch, float(request.wait_seconds))  # type: ignore[attr-defined] # of each that waits
        answer = call.operations.perform(request, **ends)
        return answer if row.member is None else row.sent(answer)

    return handle
