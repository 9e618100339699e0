"""The JSON form of entities, documents and responses, shared by the server, the client and the stores."""

from typing import Any, TypeVar

import msgspec

from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import EntityId

T = TypeVar("T")


def enc_hook(value: Any) -> Any:
    """Convert an ID or an array to a plain value for msgspec."""
    if isinstance(value, EntityId):
        return str(value)
    if hasattr(value, "tolist"):  # an array; checking the type would import NumPy
        return value.tolist()
    if isinstance(value, frozenset):
        return sorted(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


def dec_hook(kind: type, value: Any) -> Any:
    """Parse an ID from its text. Raises ValueError, which msgspec reports with the path."""
    if issubclass(kind, EntityId):
        try:
            return kind.parse(value)
        except InvalidArgument as error:
            raise ValueError(error.reason) from None
    raise NotImplementedError(f"{kind.__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=enc_hook)
_ordered = msgspec.json.Encoder(enc_hook=enc_hook, order="deterministic")


def encode(value: Any) -> bytes:
    """Return the JSON of any entity, page or response."""
    return _encoder.encode(value)


def encode_ordered(value: Any) -> bytes:
    """Return the same JSON for equal values, regardless of the order of keys in objects."""
    return _ordered.encode(value)


def decode(body: bytes, kind: type[T]) -> T:
    """Decode the output of `encode`, except that a vector stays a list.

    Raises msgspec.ValidationError for anything else.
    """
    return msgspec.json.decode(body, type=kind, dec_hook=dec_hook)
