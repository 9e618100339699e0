"""Idempotency keys: a repeated request gets the response of the first one."""

import hashlib
from datetime import datetime
from struct import Struct
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from akidb.domain.documents import UpsertResult
from akidb.domain.ids import DocumentId
from akidb.observe import context
from akidb.observe.right_of_way import giving_way
from akidb.operations.declare import Operation, Request
from akidb.ports import wire
from akidb.ports.answers import KEPT_FOR, RequestKey, damaged_answer
from akidb.ports.clock import Clock
from akidb.services.batches import CheckedDocuments

T = TypeVar("T")
_IDS = b"\x01"
_IDS_AND_TRUNCATED = b"\x02"
_COUNT = Struct(">IH")
_PLACE = Struct(">H")


class Kept(Protocol[T]):
    """The stored form of a response."""

    def encode(self, answer: T) -> bytes:
        """Return what is stored."""

    def decode(self, stored: bytes) -> T:
        """Return the response."""


class KeptValue(Generic[T]):
    """A response that is stored as it is sent."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind

    def encode(self, answer: T) -> bytes:
        return wire.encode(answer)

    def decode(self, stored: bytes) -> T:
        return wire.decode(stored, self._kind)


def recalled(kept: Kept[T], stored: bytes, key: RequestKey) -> T:
    """Return a stored response. Raises Damaged if it cannot be read."""
    try:
        return kept.decode(stored)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise damaged_answer(key) from None


class KeptIds:
    """The response to an upsert, of which only the generated ids are stored: the request has the others.

    16 bytes for each, after a byte that no JSON begins with. If documents were truncated, another byte, their
    number, how many are named, and the index of each of those come first.
    """

    def __init__(self, checked: CheckedDocuments) -> None:
        """Take the documents of this request, which are those of the first one but for the generated ids."""
        self._checked = checked

    def encode(self, answer: UpsertResult) -> bytes:
        made = (DocumentId.parse(answer.ids[place]).raw for place in self._checked.made_at)
        if not answer.truncated:
            return b"".join([_IDS, *made])
        place_of = {id: place for place, id in enumerate(answer.ids)}
        places = [_PLACE.pack(place_of[id]) for id in answer.truncated_ids]
        return b"".join([_IDS_AND_TRUNCATED, _COUNT.pack(answer.truncated, len(places)), *places, *made])

    def decode(self, stored: bytes) -> UpsertResult:
        if not stored.startswith((_IDS, _IDS_AND_TRUNCATED)):  # stored by an older version
            return wire.decode(stored, UpsertResult)
        truncated, places, end = 0, [], 1
        if stored.startswith(_IDS_AND_TRUNCATED):
            truncated, named = _COUNT.unpack_from(stored, 1)
            end = 1 + _COUNT.size + _PLACE.size * named
            places = [place for (place,) in _PLACE.iter_unpack(stored[1 + _COUNT.size : end])]
        ids = list(self._checked.ids)
        for at, place in enumerate(self._checked.made_at):
            ids[place] = str(DocumentId(stored[end + 16 * at : end + 16 * (at + 1)]))
        return UpsertResult(
            upserted=len(ids), ids=ids, truncated=truncated, truncated_ids=[ids[place] for place in places]
        )


def expiry(clock: Clock) -> datetime:
    """Return the time to judge stored responses by: now, or earlier while the clock is not believed."""
    return clock.before(KEPT_FOR) + KEPT_FOR


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
    return RequestKey(row.name, hashlib.sha256(named).hexdigest(), _digest(arguments))


def _digest(arguments: list[Any]) -> bytes:
    """Return the SHA-256 of the JSON of the arguments. Documents are encoded one at a time."""
    given, *rest = arguments
    documents = given.get("documents")
    if not isinstance(documents, list) or len(given) != 1:
        return hashlib.sha256(wire.encode_ordered(arguments)).digest()
    digest = hashlib.sha256(b'[{"documents":[')
    before = b""
    for document in giving_way(documents):
        digest.update(before + wire.encode_ordered(document))
        before = b","
    digest.update(b"]}," + wire.encode_ordered(rest)[1:])
    return digest.digest()
