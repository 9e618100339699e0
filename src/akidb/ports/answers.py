"""What is remembered of a request that bore an idempotency key, in both kinds of store."""

from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from akidb.domain.ids import TenantId

KEPT_FOR = timedelta(hours=24)


class RequestKey(msgspec.Struct, frozen=True):
    """What makes two requests the same one."""

    scope: str
    """The operation."""
    key: str
    """A digest of what the caller chose and of the path that was asked of: it tells no name."""
    fingerprint: bytes
    """SHA-256 of all its arguments."""


class Answers(Protocol):
    """Answers kept in the store, and in the transaction, of the effect that they belong to."""

    def find(self, request: RequestKey, now: datetime) -> bytes | None:
        """The answer given before, not older than a day.

        Raises IdempotencyMismatch when the key was used with other arguments.
        """
        ...

    def add(self, request: RequestKey, answer: bytes, tenant_id: TenantId | None, now: datetime) -> None:
        """Remember an answer, and forget those that are older than a day."""
        ...
