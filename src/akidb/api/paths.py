"""Paths of requests. They are matched as they were sent, and only a parameter's value is decoded.

So `%2f` is part of a value, never a separator, and `/v1/%62ackup` is not `/v1/backup`: a proxy that permits
or denies paths and this server cannot read the same bytes as two different routes.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from akidb.domain.errors import AkiDBError, InvalidArgument, NotFound

# Printable ASCII without the percent sign, and without a backslash, which browsers read as a slash.
_PLAIN = bytes(set(range(0x21, 0x7F)) - set(b"%\\"))
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")


def path_fault(raw: bytes) -> AkiDBError | None:
    """Return an error for a path that no route can have, or None."""
    others = raw.translate(None, _PLAIN)
    if not raw.startswith(b"/") or len(others) != (len(_ESCAPE.findall(raw)) if others else 0):
        return InvalidArgument("path", "must be percent-encoded")
    if b"//" in raw or (raw.endswith(b"/") and raw != b"/"):
        # The router would read `/tenants//databases`, with an empty tenant, as the tenant `databases`.
        return NotFound("route", raw.decode())
    if others:
        try:
            unquote_to_bytes(raw).decode()
        except UnicodeDecodeError:
            return InvalidArgument("path", "must be percent-encoded UTF-8")
    return None


def places_of(scope: Any) -> Mapping[str, str]:
    """Return the path parameters of a routed request, decoded once."""
    places: Mapping[str, str] = scope["path_params"]
    if b"%" not in scope["raw_path"]:
        return places
    return {name: unquote(value, errors="strict") for name, value in places.items()}
