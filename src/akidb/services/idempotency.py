"""Idempotency keys: what makes two requests the same, so that the second gets the answer of the first."""

import hashlib
from typing import Any

from akidb.observe import context
from akidb.operations.declare import Operation, Request
from akidb.ports import wire
from akidb.ports.answers import RequestKey


def request_key(row: Operation, request: Request[Any], *, also: object = None) -> RequestKey | None:
    """The key of the request being served, None when it bears none.

    Two requests are the same when they name the same things in their path and say the same; `also` is what
    else they must agree in, such as the digest of an archive.
    """
    key = context.current().idempotency_key
    if key is None:
        return None
    # The names in the path, and whatever the caller made a key of, must not outlive what they name.
    path = (str(getattr(request, place)) for place in row.places)
    named = "\0".join([key, *path]).encode(errors="backslashreplace")
    arguments = [row.given(request), getattr(request, "if_version", None), also]
    fingerprint = hashlib.sha256(wire.encode_ordered(arguments)).digest()
    return RequestKey(row.name, hashlib.sha256(named).hexdigest(), fingerprint)
