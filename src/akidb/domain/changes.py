"""Changes as a reader is given them, and whether it may go on from where it was.

A feed has sequences that rise with each change. It remembers of each thing its last change alone, and
forgets deletions after a while: those up to its tombstone floor. No I/O.
"""

import re
from enum import StrEnum
from math import isfinite
from typing import Any, Generic, TypeVar

import msgspec

from akidb.domain.documents import Vector
from akidb.domain.entities import Collection, Database, Tenant, User
from akidb.domain.errors import AkiDBError, InvalidArgument, PreconditionFailed

MAX_WAIT_SECONDS = 60

FEED_PATTERN = "^([0-9a-f]{32})-(0|[1-9][0-9]{0,18})$"

_TOKEN = re.compile(FEED_PATTERN, re.ASCII)

T = TypeVar("T")


class ChangeType(StrEnum):
    """What happened to a thing last."""

    UPSERT = "upsert"
    DELETE = "delete"


class DocumentChange(msgspec.Struct, kw_only=True, frozen=True, eq=False, omit_defaults=True):
    """A document as it is now, or the id of one that is gone."""

    sequence: int
    type: ChangeType
    id: str
    text: str | None = None
    vector: Vector | None = None
    metadata: dict[str, Any] | None = None


class MetadataChange(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A tenant, database, collection or user as it is now, or the ID of one that is gone for good.

    One that is deleted and may be restored is there, with its `deleted_at`; so is all below it.
    """

    sequence: int
    type: ChangeType
    entity: str
    id: str
    tenant: Tenant | None = None
    database: Database | None = None
    collection: Collection | None = None
    user: User | None = None


class ChangePage(msgspec.Struct, Generic[T], kw_only=True, frozen=True, eq=False):
    """Changes in the order of their sequences."""

    changes: list[T]
    next_since: int
    """Where to go on."""
    feed: str | None
    """Which feed this is and where its reader began, to be given back with `next_since`.

    None while there is no feed yet.
    """
    more: bool
    """Whether there are more already."""
    tombstone_floor: int
    """Deletions up to this sequence are forgotten."""


class FeedSlice(msgspec.Struct, Generic[T], frozen=True):
    """What was read of a feed."""

    changes: list[T]
    last: int | None
    """The last sequence that was looked at when there are more; None when all were."""


class FeedState(msgspec.Struct, frozen=True):
    """How far a feed is."""

    feed_id: bytes
    """Another one after a restore, an import or a copy."""
    sequence: int
    tombstone_floor: int


def begin(state: FeedState, since: int, token: str | None) -> str:
    """Check that a reader who knows all up to `since` may go on, and give the token of its next reads.

    A reader who starts from 0 is told of what there is, and misses nothing if no deletion after its start
    is forgotten before it comes to it: its token says where the feed stood then. Raises PreconditionFailed
    when it has to start again from 0, InvalidArgument(`feed`) for what is no token.
    """
    feed_id, start = (state.feed_id, since) if token is None else _read(token)
    if since == 0:
        return _write(state.feed_id, state.sequence)
    if feed_id != state.feed_id:
        raise _start_again("is of another feed: the store was restored, imported or copied", state, since)
    if since > state.sequence:
        raise _start_again("is beyond the last change", state, since)
    if max(since, start) < state.tombstone_floor:
        raise _start_again("lies before deletions that are forgotten", state, since)
    return _write(state.feed_id, start)


def check_token(value: object, field: str = "feed") -> str:
    """The token of a feed."""
    if isinstance(value, str):
        _read(value)
        return value
    raise InvalidArgument(field, "is not the token of a feed")


def check_wait(value: object, field: str = "wait_seconds") -> float:
    """How long to wait for a change, in seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise InvalidArgument(field, "must be a number of seconds")
    if not 0 <= value <= MAX_WAIT_SECONDS:
        raise InvalidArgument(field, f"must be from 0 to {MAX_WAIT_SECONDS}")
    return float(value)


def lost(since: int) -> PreconditionFailed:
    """The error of a reader that is ahead of a feed that has no change at all."""
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
        raise InvalidArgument("feed", "is not the token of a feed")
    return bytes.fromhex(match[1]), int(match[2])


def _write(feed_id: bytes, start: int) -> str:
    return f"{feed_id.hex()}-{start}"
