"""Opaque cursors: where a list goes on, bound to the list that it was made for."""

import base64
import binascii
import hashlib
from typing import TypeVar

import msgspec

from akidb.domain.errors import InvalidArgument

T = TypeVar("T")

_BINDING_BYTES = 8


def encode(position: object, *binding: object) -> str:
    """Make the cursor of `position`, a JSON value, within the list that `binding` describes."""
    body = _digest(binding) + msgspec.json.encode(position)
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def decode(cursor: str, kind: type[T], *binding: object) -> T:
    """The position in a cursor.

    Raises InvalidArgument(`cursor`) for a cursor of another list, or for none at all.
    """
    try:
        body = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        if body[:_BINDING_BYTES] == _digest(binding):
            return msgspec.json.decode(body[_BINDING_BYTES:], type=kind)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        pass
    raise InvalidArgument("cursor", "is not a cursor of this list")


def _digest(binding: tuple[object, ...]) -> bytes:
    return hashlib.sha256(repr([str(part) for part in binding]).encode()).digest()[:_BINDING_BYTES]
