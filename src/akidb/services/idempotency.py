"""Idempotency keys: a repeated request gets the response of the first one."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from akidb.domain.columns import DocumentColumns
from akidb.domain.documents import UpsertMode, UpsertResult
from akidb.domain.ids import DocumentId
from akidb.observe import context
from akidb.observe.right_of_way import giving_way
from akidb.operations.declare import Operation, Request
from akidb.ports import wire
from akidb.ports.answers import KEPT_FOR, RequestKey, damaged_answer
from akidb.ports.clock import Clock

T = TypeVar("T")
_IDS = b"\x01"
_IDS_AND_TRUNCATED = b"\x02"
_SOME = b"\x03"
_WITHOUT_VECTOR = b"\x04"
_NUMBER = Struct(">I")
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
    except (ValueError, StructError, msgspec.MsgspecError, RecursionError):
        raise damaged_answer(key) from None


class KeptIds:
    """The response to an upsert, of which only the generated ids are stored: the request has the others.

    16 bytes for each, after a byte that no JSON begins with. If documents were truncated, another byte, their
    number, how many are named, and the index of each of those come first. Where some documents need not be
    written, all that follows another byte and a bit for each document, set if it was. If documents have no
    vector, another byte and their number come before everything else.
    """

    def __init__(self, ids: Sequence[str], made_at: Sequence[int], mode: UpsertMode) -> None:
        """Take the ids of this request, which are those of the first one but for the generated ids.

        `made_at` are the places of those.
        """
        self._ids = ids
        self._made_at = made_at
        self._writes_some = mode in (UpsertMode.SKIP, UpsertMode.UPDATE)
        self._bit_bytes = (len(ids) + 7) // 8

    def encode(self, answer: UpsertResult) -> bytes:
        made = (DocumentId.parse(self._ids[place]).raw for place in self._made_at)
        if answer.truncated:
            place_of = {id: place for place, id in enumerate(self._ids)}
            places = [_PLACE.pack(place_of[id]) for id in answer.truncated_ids]
            stored = b"".join(
                [_IDS_AND_TRUNCATED, _COUNT.pack(answer.truncated, len(places)), *places, *made]
            )
        else:
            stored = b"".join([_IDS, *made])
        if self._writes_some:
            stored = _SOME + self._bits(answer.ids) + stored
        if answer.without_vector:
            stored = _WITHOUT_VECTOR + _NUMBER.pack(answer.without_vector) + stored
        return stored

    def _bits(self, written: Sequence[str]) -> bytes:
        known = frozenset(written)
        bits = "".join("1" if id in known else "0" for id in reversed(self._ids))
        return int(bits, 2).to_bytes(self._bit_bytes, "little")

    def decode(self, stored: bytes) -> UpsertResult:
        if not stored.startswith(_WITHOUT_VECTOR):
            return self._decode(stored)
        (number,) = _NUMBER.unpack_from(stored, 1)
        return replace(self._decode(stored[1 + _NUMBER.size :]), without_vector=number)

    def _decode(self, stored: bytes) -> UpsertResult:
        if self._writes_some and stored.startswith(_SOME):
            end = 1 + self._bit_bytes
            bits = int.from_bytes(stored[1:end], "little")
            written = [place for place in range(len(self._ids)) if bits >> place & 1]
            return self._decode_all(stored[end:], written)
        if not stored.startswith((_IDS, _IDS_AND_TRUNCATED)):  # stored by an older version
            return wire.decode(stored, UpsertResult)
        return self._decode_all(stored, range(len(self._ids)))

    def _decode_all(self, stored: bytes, written: Sequence[int]) -> UpsertResult:
        truncated, places, end = 0, [], 1
        if stored.startswith(_IDS_AND_TRUNCATED):
            truncated, named = _COUNT.unpack_from(stored, 1)
            end = 1 + _COUNT.size + _PLACE.size * named
            places = [place for (place,) in _PLACE.iter_unpack(stored[1 + _COUNT.size : end])]
        ids = list(self._ids)
        for at, place in enumerate(self._made_at):
            ids[place] = str(DocumentId(stored[end + 16 * at : end + 16 * (at + 1)]))
        return UpsertResult(
            upserted=len(written),
            ids=[ids[place] for place in written],
            truncated=truncated,
            truncated_ids=[ids[place] for place in places],
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
    if given.get("mode") is UpsertMode.UPSERT:  # as it was before there were modes
        del given["mode"]
    if not isinstance(documents, list | DocumentColumns):
        return hashlib.sha256(wire.encode_ordered(arguments)).digest()
    digest = hashlib.sha256(b'[{"documents":[')
    before = b""
    for document in giving_way(documents):
        digest.update(before + wire.encode_ordered(document))
        before = b","
    others = {name: value for name, value in given.items() if name != "documents"}
    after = b"," + wire.encode_ordered(others)[1:-1] if others else b""
    digest.update(b"]" + after + b"}," + wire.encode_ordered(rest)[1:])
    return digest.digest()
