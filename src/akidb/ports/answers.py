"""Stored responses to requests with an idempotency key, in both kinds of store."""

from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from akidb.domain.errors import Damaged
from akidb.domain.ids import TenantId

KEPT_FOR = timedelta(hours=24)


class RequestKey(msgspec.Struct, frozen=True):
    """The identity of a request."""

    scope: str
    """The operation."""
    key: str
    """A digest of the caller's key and of the requested path: it reveals no name."""
    fingerprint: bytes
    """SHA-256 of all its arguments."""


def damaged_answer(request: RequestKey) -> Damaged:
    """Return the error for a stored response that cannot be read."""
    return Damaged.row("stored response", f"{request.scope}/{request.key}", tenant_id=None, field=None)


class Answers(Protocol):
    """Responses, stored in the same store and transaction as the effect of the request."""

    def find(self, request: RequestKey, now: datetime) -> bytes | None:
        """Return the previous response, if it is not older than a day.

        Raises IdempotencyMismatch if the key was used with other arguments, Damaged if it cannot be read.
        """

    def has_expired(self, now: datetime) -> bool:
        """Return whether there are responses that are older than a day."""

    def forget_expired(self, now: datetime) -> None:
        """Delete the responses that are older than a day."""

    def add(
        self,
        request: RequestKey,
        answer: bytes,
        tenant_id: TenantId | None,
        now: datetime,
        by: datetime | None = None,
    ) -> None:
        """Store a response, and delete those that are older than a day by the time `by`, else `now`.

        Raises QuotaExceeded if the tenant's responses would take too many bytes.
        """
