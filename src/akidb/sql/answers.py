"""Remembered answers in a SQL table, the same in both kinds of store."""

from datetime import datetime

import sqlalchemy as sa

from akidb.domain.errors import IdempotencyMismatch
from akidb.domain.ids import TenantId
from akidb.ports.answers import KEPT_FOR, RequestKey


class SqlAnswers:
    """`akidb.ports.answers.Answers` on a table with these columns; `tenant_id` is optional there."""

    def __init__(self, connection: sa.Connection, table: sa.Table) -> None:
        self._connection = connection
        self._table = table

    def find(self, request: RequestKey, now: datetime) -> bytes | None:
        """The answer given before, if the arguments are the same."""
        t = self._table
        row = self._connection.execute(
            sa.select(t.c.fingerprint, t.c.answer).where(
                t.c.scope == request.scope, t.c.key == request.key, t.c.created_at >= now - KEPT_FOR
            )
        ).one_or_none()
        if row is None:
            return None
        if row.fingerprint != request.fingerprint:
            raise IdempotencyMismatch
        return bytes(row.answer)

    def add(self, request: RequestKey, answer: bytes, tenant_id: TenantId | None, now: datetime) -> None:
        """Remember an answer, and forget the old ones."""
        t = self._table
        self._connection.execute(sa.delete(t).where(t.c.created_at < now - KEPT_FOR))
        values = {
            "scope": request.scope,
            "key": request.key,
            "fingerprint": request.fingerprint,
            "answer": answer,
            "created_at": now,
        }
        if "tenant_id" in t.c:
            values["tenant_id"] = tenant_id
        self._connection.execute(sa.insert(t).values(values))
