"""Remembered answers in a SQL table, for both kinds of store."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from zlib import crc32

import sqlalchemy as sa

from akidb.domain.errors import IdempotencyMismatch, QuotaExceeded
from akidb.domain.ids import TenantId
from akidb.observe import telemetry
from akidb.ports.answers import KEPT_FOR, RequestKey, damaged_answer
from akidb.ports.conflicts import TransactionConflict
from akidb.sql.errors import is_undecodable

KEY_LOCKS = 0x616B6964
"""First key of the advisory locks on PostgreSQL: `akid` as a number. Single-key locks are distinct."""

ROW_BYTES = 512
"""What an answer takes beside itself: its keys, its fingerprint, and three indexes."""
MIN_LIMIT_BYTES = 2**20
SHARE_OF_QUOTA = 8
"""A tenant's answers may take one in so many bytes of its storage quota, beside its documents."""
QUOTA = "remembered_answers_bytes"

Used = Callable[[TenantId | None], tuple[int, int] | None]
"""Returns the bytes of a tenant's answers and their limit, None if the tenant is unknown."""


def limit_bytes(storage_quota_bytes: int) -> int:
    """Return how many bytes the answers of a tenant with this quota may take."""
    return max(MIN_LIMIT_BYTES, storage_quota_bytes // SHARE_OF_QUOTA)


def _raw(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return a column without conversions, which take wrong types for others."""
    return sa.type_coerce(column, sa.types.NullType).label(column.name)


def _checksum(scope: str, key: str, fingerprint: bytes, answer: bytes) -> int:
    return crc32(answer, crc32(fingerprint, crc32(f"{scope}\0{key}\0".encode())))


def is_sound_answer(
    scope: object, key: object, fingerprint: object, answer: object, checksum: object
) -> bool:
    """Return whether a stored response matches its checksum; those of older versions have none."""
    if not (isinstance(scope, str) and isinstance(key, str)):
        return False
    if not (isinstance(fingerprint, bytes) and isinstance(answer, bytes)):
        return False
    return checksum is None or checksum == _checksum(scope, key, fingerprint, answer)


class SqlAnswers:
    """`akidb.ports.answers.Answers` on a table with these columns.

    `used` returns what the answers of a tenant take, and the limit. `owner` holds the values of the other
    columns, which identify the owner of the answers. With `waits`, `find` waits for a concurrent request with
    the same key, and locks the key until the transaction ends; with a single writer at a time this is always
    so.
    """

    def __init__(
        self,
        connection: sa.Connection,
        table: sa.Table,
        owner: Mapping[str, object] | None = None,
        *,
        used: Used,
        waits: bool = False,
    ) -> None:
        self._connection = connection
        self._table = table
        self._owner = owner
        self._used = used
        self._waits = waits and connection.dialect.name == "postgresql"
        # If several stores share a table, its primary key starts with the column that identifies the store.
        self._own = (
            [] if owner is None else [table.c[n] == v for n, v in owner.items() if table.c[n].primary_key]
        )

    def find(self, request: RequestKey, now: datetime) -> bytes | None:
        """Return the remembered answer, or None. Raises IdempotencyMismatch if the arguments differ."""
        t = self._table
        if self._waits:
            second = crc32(f"{request.scope}\0{request.key}".encode()) - 2**31
            self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(KEY_LOCKS, second)))
        checksum = t.c.checksum if "checksum" in t.c else sa.null()
        statement = sa.select(_raw(t.c.fingerprint), _raw(t.c.answer), checksum.label("checksum")).where(
            *self._own,
            t.c.scope == request.scope,
            t.c.key == request.key,
            t.c.created_at >= now - KEPT_FOR,
        )
        try:
            row = self._connection.execute(statement).one_or_none()
        except sa.exc.DBAPIError as error:
            if error.orig is None or not is_undecodable(error.orig):
                raise
            raise damaged_answer(request) from None
        if row is None:
            return None
        if not (
            isinstance(row.fingerprint, bytes | memoryview) and isinstance(row.answer, bytes | memoryview)
        ):
            raise damaged_answer(request)
        if row.checksum is not None and row.checksum != _checksum(
            request.scope, request.key, bytes(row.fingerprint), bytes(row.answer)
        ):
            raise damaged_answer(request)
        if row.fingerprint != request.fingerprint:
            raise IdempotencyMismatch
        telemetry.count("answers_repeated", "metadata" if self._owner is None else "tenant")
        return bytes(row.answer)

    def has_expired(self, now: datetime) -> bool:
        """Return whether there are expired answers."""
        found = sa.select(sa.literal(1)).select_from(self._table).where(*self._expired(now)).limit(1)
        return self._connection.execute(found).first() is not None

    def forget_expired(self, now: datetime) -> None:
        """Delete expired answers."""
        self._connection.execute(sa.delete(self._table).where(*self._expired(now)))

    def _expired(self, now: datetime) -> list[sa.ColumnElement[bool]]:
        return [*self._own, self._table.c.created_at < now - KEPT_FOR]

    def add(
        self,
        request: RequestKey,
        answer: bytes,
        tenant_id: TenantId | None,
        now: datetime,
        by: datetime | None = None,
    ) -> None:
        """Store an answer, and delete expired ones. Raises QuotaExceeded if the tenant has too many bytes."""
        t = self._table
        self.forget_expired(by or now)
        values: dict[str, object] = {
            "scope": request.scope,
            "key": request.key,
            "fingerprint": request.fingerprint,
            "answer": answer,
            "created_at": now,
        }
        values |= {"tenant_id": tenant_id} if self._owner is None else self._owner
        if "checksum" in t.c:
            values["checksum"] = _checksum(request.scope, request.key, request.fingerprint, answer)
        try:
            self._connection.execute(sa.insert(t).values(values))
        except sa.exc.IntegrityError as error:  # another process was faster with the same key
            raise TransactionConflict("a concurrent request used this Idempotency-Key") from error
        found = None if self._owner is None and tenant_id is None else self._used(tenant_id)
        if found is not None:
            used, limit = found
            if used > limit:
                added = len(answer) + ROW_BYTES
                raise QuotaExceeded(QUOTA, limit, used - added, added)
