"""Change feeds: their entries, and the check whether a reader can continue from its position.

Each change gets the next higher sequence of its feed. A feed keeps only the last change of each entity, and
discards old deletions: those up to its tombstone floor. No I/O.
"""

import re
from enum import StrEnum
from math import isfinite
from typing import Any, Generic, TypeVar

import msgspec

from akidb.domain.documents import Vector, same_values
from akidb.domain.entities import Collection, Database, Tenant, User
from akidb.domain.errors import AkiDBError, InvalidArgument, PreconditionFailed
from akidb.domain.plain import plain

MAX_WAIT_SECONDS = 60

FEED_PATTERN = "^([0-9a-f]{32})-(0|[1-9][0-9]{0,18})$"

_TOKEN = re.compile(FEED_PATTERN, re.ASCII)

T = TypeVar("T")


class ChangeType(StrEnum):
    """The last change of a document or entity."""

    UPSERT = "upsert"
    DELETE = "delete"


class DocumentChange(msgspec.Struct, kw_only=True, frozen=True, eq=False, omit_defaults=True):
    """The current state of a document, or the id of a deleted one."""

    sequence: int
    type: ChangeType
    id: str
    text: str | None = None
    vector: Vector | None = None
    metadata: dict[str, Any] | None = None

    __eq__ = same_values

    def __hash__(self) -> int:
        return hash(self.id)


class MetadataChange(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The current state of a tenant, database, collection or user, or the ID of a permanently removed one.

    Deleted entities that can be restored are included, with `deleted_at`; so is everything in them.
    """

    sequence: int
    type: ChangeType
    entity: str
    id: str
    tenant: Tenant | None = None
    database: Database | None = None
    collection: Collection | None = None
    user: User | None = None


class ChangePage(msgspec.Struct, Generic[T], kw_only=True, frozen=True):
    """Changes in the order of their sequence numbers."""

    changes: list[T]
    next_since: int
    """The `since` of the next request."""
    feed: str | None
    """Token of the feed and of the reader's starting point, to be sent with `next_since`.

    None while there is no feed yet.
    """
    more: bool
    """Whether more changes are available now."""
    tombstone_floor: int
    """Deletions up to this sequence are discarded."""


class FeedSlice(msgspec.Struct, Generic[T], frozen=True):
    """A part of a feed."""

    changes: list[T]
    last: int | None
    """The last sequence that was read if there are more changes; None if all were read."""


class FeedState(msgspec.Struct, frozen=True):
    """The current state of a feed."""

    feed_id: bytes
    """Replaced by a restore, an import or a copy."""
    sequence: int
    tombstone_floor: int


def begin(state: FeedState, since: int, token: str | None) -> str:
    """Check that a reader that has read up to `since` can continue, and return the token of its next reads.

    A reader that starts from 0 gets the current state, and misses nothing if no deletion after its start is
    discarded before it reads that far: its token has the sequence of the feed at that time. Raises
    PreconditionFailed if it must start again from 0, InvalidArgument(`feed`) for an invalid token.
    """
    feed_id, start = (state.feed_id, since) if token is None else _read(token)
    if since == 0:
        return _write(state.feed_id, state.sequence)
    if feed_id != state.feed_id:
        raise _start_again("is from another feed: the store was restored, imported or copied", state, since)
    if since > state.sequence:
        raise _start_again("is beyond the last change", state, since)
    if max(since, start) < state.tombstone_floor:
        raise _start_again("is older than discarded deletions", state, since)
    return _write(state.feed_id, start)


def check_token(value: object, field: str = "feed") -> str:
    """Check the token of a feed."""
    if isinstance(value, str):
        _read(value)
        return value
    raise InvalidArgument(field, "is not a feed token")


def check_wait(value: object, field: str = "wait_seconds") -> float:
    """Check a time to wait for a change, in seconds."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise InvalidArgument(field, "must be a number of seconds")
    if not 0 <= value <= MAX_WAIT_SECONDS:
        raise InvalidArgument(field, f"must be from 0 to {MAX_WAIT_SECONDS}")
    return float(value)


def lost(since: int) -> PreconditionFailed:
    """Return the error for a reader that is ahead of a feed without any change."""
    return _start_again("is beyond the last change", FeedState(b"", 0, 0), since)


def _start_again(reason: str, state: FeedState, since: int) -> PreconditionFailed:
    error = PreconditionFailed.__new__(PreconditionFailed)
    AkiDBError.__init__(
        error,
        f"sequence {since} {reason}: start again from 0",
        entity="changes",
        expected=state.tombstone_floor,
        actual=since,
    )
    return error


def _read(token: str) -> tuple[bytes, int]:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidArgument("feed", "is not a feed token")
    return bytes.fromhex(match[1]), int(match[2])


def _write(feed_id: bytes, start: int) -> str:
    return f"{feed_id.hex()}-{start}"
