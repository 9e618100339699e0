"""Opaque pagination cursors, each bound to the list that it was created for."""

import base64
import hashlib
from typing import TypeVar

import msgspec

from akidb.domain.errors import InvalidArgument

T = TypeVar("T")

_DIGEST_BYTES = 8
_MAX_CHARACTERS = 8192
"""The longest position is an id of 512 characters that JSON escapes."""


def encode(position: object, *binding: object) -> str:
    """Return the cursor of `position`, a JSON value, in the list that `binding` describes."""
    return _join(msgspec.json.encode(position), binding)


def decode(cursor: str, kind: type[T], *binding: object) -> T:
    """Return the position in a cursor.

    Raises InvalidArgument(`cursor`) for a cursor of another list, and for an altered or malformed one.
    """
    try:
        body = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_")
        position = body[_DIGEST_BYTES:]
        if cursor == _join(position, binding):
            return msgspec.json.decode(position, type=kind)
    except (TypeError, ValueError, msgspec.MsgspecError):
        pass
    raise InvalidArgument("cursor", "is not a cursor of this list")


def check_cursor(value: object, field: str) -> str:
    """Check that a value may be a cursor; `decode` checks the rest."""
    if not isinstance(value, str) or not value.isascii() or len(value) > _MAX_CHARACTERS:
        raise InvalidArgument(field, "is not a cursor of this list")
    return value


def _join(position: bytes, binding: tuple[object, ...]) -> str:
    # The digest detects mistakes, not attacks: even a forged cursor cannot leave its list.
    described = repr([position, *map(str, binding)]).encode()
    body = hashlib.sha256(described).digest()[:_DIGEST_BYTES] + position
    return base64.urlsafe_b64encode(body).decode().rstrip("=")
