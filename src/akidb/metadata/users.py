"""Users in SQL. The password hash is written with the row, but only `find_with_hash` reads it."""

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from akidb.domain import cursors
from akidb.domain.documents import Page
from akidb.domain.entities import User
from akidb.domain.errors import AlreadyExists, NotFound, PreconditionFailed
from akidb.domain.ids import TenantId, UserId
from akidb.domain.names import email_key
from akidb.metadata import versioned_rows as rows
from akidb.metadata.tables import users
from akidb.sql.errors import violated
from akidb.sql.prepared import Prepared, Readable


class _Hash(msgspec.Struct):
    """The column that is not a field of `User`."""

    password_hash: str


_SELECT = sa.select(*(users.c[name] for name in User.__struct_fields__)).where(
    users.c.tenant_id == sa.bindparam("tenant_id")
)
_BY = {by: users.c[by] == sa.bindparam("ref") for by in ("user_id", "email_key")}
_FIND = {by: Prepared(_SELECT.where(matches), User) for by, matches in _BY.items()}
_FIND_WITH_HASH = {
    by: Prepared(_SELECT.where(matches).add_columns(users.c.password_hash), User, _Hash)
    for by, matches in _BY.items()
}
_PAGE = Prepared(
    _SELECT.where(users.c.email_key > sa.bindparam("after"))
    .order_by(users.c.email_key)
    .limit(sa.bindparam("rows")),
    User,
)
_COUNT = Prepared(
    sa.select(sa.func.count()).select_from(users).where(users.c.tenant_id == sa.bindparam("tenant_id"))
)
_INSERT = Prepared(
    sa.insert(users).values({column.name: sa.bindparam(column.name, type_=column.type) for column in users.c})
)
_UNIQUE = ("users_email_key", "users.tenant_id, users.email_key")
"""The one unique constraint that a caller can violate, as PostgreSQL and SQLite name it."""


class SqlUserRepository:
    """`akidb.ports.metadata.UserRepository`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def create(self, user: User, password_hash: str) -> None:
        try:
            _INSERT.run(self._connection, {**_values(user), "password_hash": password_hash})
        except sa.exc.IntegrityError as error:
            raise _clash(user, error) or error from error

    def find(self, tenant_id: TenantId, user: UserId | str) -> User | None:
        by, ref = _reference(user)
        found: User | None = _FIND[by].first(self._connection, tenant_id=tenant_id, ref=ref)
        return found

    def get(self, tenant_id: TenantId, user: UserId | str) -> User:
        found = self.find(tenant_id, user)
        if found is None:
            raise NotFound("user", user)
        return found

    def list(
        self, tenant_id: TenantId, *, limit: int, cursor: str | None, most_bytes: int | None = None
    ) -> Page[User]:
        binding = ("users", tenant_id)
        after = "" if cursor is None else cursors.decode(cursor, str, *binding)

        def read(number: int) -> Readable:
            return _PAGE.readable(
                self._connection, tenant_id=tenant_id, after=after, rows=number, most_bytes=most_bytes
            )

        return rows.readable_page(read, limit, lambda user: cursors.encode(email_key(user.email), *binding))

    def count(self, tenant_id: TenantId) -> int:
        found: int = _COUNT.first(self._connection, tenant_id=tenant_id)[0]
        return found

    def find_with_hash(self, tenant_id: TenantId, user: UserId | str) -> tuple[User, str] | None:
        by, ref = _reference(user)
        row = _FIND_WITH_HASH[by].first(self._connection, tenant_id=tenant_id, ref=ref)
        return None if row is None else (row[0], row[1].password_hash)

    def update(self, user: User, *, password_hash: str | None = None) -> None:
        values = _values(user)
        if password_hash is not None:
            values["password_hash"] = password_hash
        try:
            result = self._connection.execute(
                sa.update(users).where(*_version(user, user.version - 1)).values(values)
            )
        except sa.exc.IntegrityError as error:
            damaged = rows.damaged("user", user.user_id, user.tenant_id, error)
            raise _clash(user, error) or damaged from None
        if result.rowcount != 1:
            self._raise_stale(user, user.version - 1)

    def delete(self, user: User, now: datetime) -> None:
        """Delete the user and the remembered answers about it; clear `created_by` of users it created."""
        self._forget(user.tenant_id, user.user_id, now)
        if self._connection.execute(sa.delete(users).where(*_version(user, user.version))).rowcount != 1:
            self._raise_stale(user, user.version)

    def remove(self, tenant_id: TenantId, user_id: UserId, now: datetime) -> None:
        self._forget(tenant_id, user_id, now)
        self._connection.execute(
            sa.delete(users).where(users.c.tenant_id == tenant_id, users.c.user_id == user_id)
        )

    def _forget(self, tenant_id: TenantId, user_id: UserId, now: datetime) -> None:
        rows.forget_answers(self._connection, tenant_id, user_id)
        # Not ON DELETE SET NULL: SQLite would also null the tenant ID of the composite foreign key.
        self._connection.execute(
            sa.update(users)
            .where(users.c.tenant_id == tenant_id, users.c.created_by == user_id)
            .values(created_by=None, version=users.c.version + 1, updated_at=_later(now))
        )

    def _raise_stale(self, user: User, expected: int) -> None:
        raise PreconditionFailed("user", expected, self.get(user.tenant_id, user.user_id).version)


def _reference(user: UserId | str) -> tuple[str, UserId | str]:
    """Return the column to find a user by, and its value."""
    return ("user_id", user) if isinstance(user, UserId) else ("email_key", email_key(user))


def _values(user: User) -> dict[str, Any]:
    return {**msgspec.structs.asdict(user), "email_key": email_key(user.email)}


def _version(user: User, version: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions that match the row of a user at this version."""
    return (
        users.c.tenant_id == user.tenant_id,
        users.c.user_id == user.user_id,
        users.c.version == version,
    )


def _later(now: datetime) -> sa.ColumnElement[datetime]:
    """Return the time of a change, never before the last one."""
    at = sa.bindparam(None, now, type_=users.c.updated_at.type)
    return sa.case((users.c.updated_at > at, users.c.updated_at), else_=at)


def _clash(user: User, error: sa.exc.IntegrityError) -> AlreadyExists | None:
    """Return AlreadyExists for a taken email, None for another violation."""
    return AlreadyExists("user", "email", user.email) if violated(error) in _UNIQUE else None
