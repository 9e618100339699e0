"""The cursors of the pages of one search: they continue the same question with the same filter."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any
from zlib import crc32

import msgspec

from akidb.domain.entities import Collection
from akidb.domain.errors import InvalidArgument
from akidb.domain.filters import Filter
from akidb.services.choosing import Position, Question

_CHECK_BYTES = 4
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Position).decode


class Pages:
    """Makes and reads the cursors of a question. `top_k` and `include` may differ by page.

    Every search that has a further page makes one, so its checksum, which detects mistakes, is a quick one.
    """

    __slots__ = ("_asked", "_collection", "_filter", "_question")

    def __init__(self, collection: Collection, asked: Any, filter: Filter | None, question: Question) -> None:
        self._collection = collection
        self._asked = asked
        self._filter = filter
        self._question = question

    def cursor(self, position: Position) -> str:
        """Return the cursor of the page after a position."""
        return self._joined(_encode(position))

    def position(self, cursor: str) -> Position:
        """Return the position in a cursor. Raises InvalidArgument for one of another search."""
        try:
            position = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[_CHECK_BYTES:]
            if cursor == self._joined(position):
                return _decode(position)
        except (ValueError, msgspec.MsgspecError):
            pass
        raise InvalidArgument("cursor", "is not a cursor of this search")

    def _joined(self, position: bytes) -> str:
        question = self._question
        asked = str(question.id).encode() if question.vector is None else question.vector.data
        check = crc32(asked, crc32(self._collection.collection_id.raw, crc32(position)))
        if self._filter is not None:
            check = crc32(self._filter.canonical, check)
        if self._asked.score_threshold is not None:
            check = crc32(repr(float(self._asked.score_threshold)).encode(), check)
        return urlsafe_b64encode(check.to_bytes(_CHECK_BYTES) + position).decode().rstrip("=")
