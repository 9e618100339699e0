"""Idempotency keys: what makes two requests the same, and answering the second like the first."""

import hashlib
from typing import Any

from akidb.observe import context
from akidb.ports import wire
from akidb.ports.answers import RequestKey


def request_key(operation: str, path: tuple[object, ...], arguments: Any) -> RequestKey | None:
    """The key of the request being served, None when it bears none.

    `path` is what the caller named, `arguments` all that it asked.
    """
    key = context.current().idempotency_key
    if key is None:
        return None
    # The names in the path, and whatever the caller made a key of, must not outlive what they name.
    named = "\0".join([key, *map(str, path)]).encode(errors="backslashreplace")
    fingerprint = hashlib.sha256(wire.encode_ordered(arguments)).digest()
    return RequestKey(operation, hashlib.sha256(named).hexdigest(), fingerprint)
