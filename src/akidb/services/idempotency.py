"""Idempotency keys: a repeated request gets the response of the first one."""

import hashlib
from typing import Any

from akidb.observe import context
from akidb.operations.declare import Operation, Request
from akidb.ports import wire
from akidb.ports.answers import RequestKey


def request_key(row: Operation, request: Request[Any], *, also: object = None) -> RequestKey | None:
    """Return the key of the current request, or None if it has no idempotency key.

    Two requests are the same if their path parameters and their arguments are equal; `also` is further
    content to compare, such as the digest of an archive.
    """
    key = context.current().idempotency_key
    if key is None:
        return None
    # Hashed: names in the path or in the key must not be stored beyond the lifetime of the entity.
    path = (str(getattr(request, place)) for place in row.places)
    named = "\0".join([key, *path]).encode(errors="backslashreplace")
    arguments = [row.given(request), getattr(request, "if_version", None), also]
    fingerprint = hashlib.sha256(wire.encode_ordered(arguments)).digest()
    return RequestKey(row.name, hashlib.sha256(named).hexdigest(), fingerprint)
