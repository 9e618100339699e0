"""Idempotency keys: what makes two requests the same, and answering the second like the first."""

import hashlib
from typing import Any

from akidb.ports import context, wire
from akidb.ports.answers import RequestKey


def request_key(operation: str, path: tuple[object, ...], arguments: Any) -> RequestKey | None:
    """The key of the request being served, None when it bears none.

    `path` is what the caller named, `arguments` all that it asked.
    """
    key = context.current().idempotency_key
    if key is None:
        return None
    # What is named wrongly is refused later, but looked up before: it must be text that a store can take.
    scope = "/".join([operation, *map(str, path)]).encode(errors="backslashreplace").decode()
    return RequestKey(scope, key, hashlib.sha256(wire.encode(arguments)).digest())
