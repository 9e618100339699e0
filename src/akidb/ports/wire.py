"""The JSON form of entities, documents and answers, shared by the server, the client and the stores."""

from typing import Any, TypeVar

import msgspec

from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import EntityId

T = TypeVar("T")


def enc_hook(value: Any) -> Any:
    """Give msgspec a plain value for an ID or an array."""
    if isinstance(value, EntityId):
        return str(value)
    if hasattr(value, "tolist"):  # an array; asking for the type would import NumPy
        return value.tolist()
    if isinstance(value, frozenset):
        return sorted(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


def dec_hook(kind: type, value: Any) -> Any:
    """Make an ID from its text. Raises ValueError, which msgspec reports with the path."""
    if issubclass(kind, EntityId):
        try:
            return kind.parse(value)
        except InvalidArgument as error:
            raise ValueError(error.reason) from None
    raise NotImplementedError(f"{kind.__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=enc_hook)
_ordered = msgspec.json.Encoder(enc_hook=enc_hook, order="deterministic")


def encode(value: Any) -> bytes:
    """JSON of any entity, page or answer."""
    return _encoder.encode(value)


def encode_ordered(value: Any) -> bytes:
    """The same JSON for equal values, in whatever order the keys of their objects are."""
    return _ordered.encode(value)


def decode(body: bytes, kind: type[T]) -> T:
    """Read back what `encode` wrote, but a vector stays a list.

    Raises msgspec.ValidationError for anything else.
    """
    return msgspec.json.decode(body, type=kind, dec_hook=dec_hook)
