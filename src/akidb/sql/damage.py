"""Rows with values that the schema forbids: how they are noticed, and the error that names one.

SQLite checks types and constraints when a row is written. A flipped byte in a file, or a program that
switches the checks off, leaves other values: text that is not UTF-8, a number where text belongs, an unknown
state. The error names the row by its IDs, never by its content.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import msgspec
import sqlalchemy as sa

from akidb.domain.errors import Damaged
from akidb.sql.types import Enumerated, Id, Instant, JsonObject, Quota

FAULTS = (ValueError, KeyError, TypeError, RecursionError, msgspec.MsgspecError)
"""Errors that row conversions raise for invalid values."""

Converter = Callable[[Any], Any]


class Undecodable(bytes):
    """Text of a damaged row, which is not UTF-8."""


def decoded(data: bytes) -> str | Undecodable:
    """Return text of SQLite that may not be UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Undecodable(data)


class Allowed(NamedTuple):
    """The types and numbers that the values of a column may have."""

    kind: type | None
    """None: any that the database returns."""
    nullable: bool
    bounds: tuple[int, int] | None = None
    """The least and the greatest of its integers, if they have bounds."""

    def has(self, value: Any) -> bool:
        """Return whether the column may have a value."""
        if value is None:
            return self.nullable
        if self.kind is not None and type(value) is not self.kind:
            return False
        return self.bounds is None or self.bounds[0] <= value <= self.bounds[1]


class RowCheck:
    """The values that the columns of a statement may have, and the error for a row that breaks them."""

    def __init__(
        self,
        columns: Sequence[sa.ColumnElement[Any]],
        converters: Sequence[Converter | None],
        dialect: sa.Dialect,
        *,
        joined: bool,
    ) -> None:
        """Take the selected columns; those of an outer join (`joined`) may be null."""
        self._columns = columns
        self._converters = converters
        self.allowed = [_allowed(column, dialect, joined=joined) for column in columns]

    def refuse(self, at: int, value: Any) -> NoReturn:
        """Raise ValueError for a value of another type, or beyond the bounds."""
        raise ValueError(f"{self._columns[at].key} cannot be such a {type(value).__name__}")

    def damage(self, row: Sequence[Any], parameters: Mapping[str, Any]) -> Damaged:
        """Return the error for a row that cannot be converted; `parameters` may name it where it does not."""
        culprit = next(
            (column for at, column in enumerate(self._columns) if not self._is_sound(at, row[at])), None
        )
        table = getattr(culprit, "table", None)
        if table is None:
            table = next((t for c in self._columns if (t := getattr(c, "table", None)) is not None), None)
        known = {
            column.name: row[at]
            for at, column in enumerate(self._columns)
            if isinstance(column, sa.Column) and column.table is table and self._is_sound(at, row[at])
        }
        name = "row" if table is None else str(table.name)
        keys = [] if table is None else [column.name for column in table.primary_key.columns]
        id = "/".join(shown_key(known.get(key, parameters.get(key))) for key in keys)
        tenant = known.get("tenant_id", parameters.get("tenant_id"))
        return damaged_row(
            name, id or None, None if tenant is None else shown_key(tenant), getattr(culprit, "name", None)
        )

    def _is_sound(self, at: int, value: Any) -> bool:
        if not self.allowed[at].has(value):
            return False
        converter = self._converters[at]
        try:
            if converter is not None:
                converter(value)
        except FAULTS:
            return False
        return True


def damaged_row(table: str, id: str | None, tenant_id: str | None, field: str | None) -> Damaged:
    """Return the error for a row of a table; `id` and `tenant_id` are None if they cannot be read."""
    return Damaged.row(_ENTITIES.get(table, table), id, tenant_id=tenant_id, field=field)


_ENTITIES = {
    "tenants": "tenant",
    "databases": "database",
    "collections": "collection",
    "users": "user",
    "audit_entries": "audit entry",
    "tenant_stores": "registered store",
    "outbox": "outbox entry",
    "purged": "purged ID",
    "remembered_answers": "stored response",
    "answer_totals": "total of stored responses",
    "legacy_manifests": "1.x manifest",
    "metadata_feeds": "change feed",
    "metadata_changes": "recorded change",
}
"""What a row of a table is called in errors."""

STORED: Mapping[type, type] = {
    Id: bytes,
    Instant: str,
    JsonObject: str,
    Enumerated: str,
    Quota: int,
    sa.Text: str,
    sa.Integer: int,
    sa.BigInteger: int,
    sa.SmallInteger: int,
    sa.LargeBinary: bytes,
}
"""The types of values in SQLite, by column type."""


def _allowed(column: Any, dialect: sa.Dialect, *, joined: bool) -> Allowed:
    if not isinstance(column, sa.Column):
        return Allowed(None, nullable=True)
    # PostgreSQL returns no other types than those of its columns.
    stored = STORED.get(type(column.type)) if dialect.name == "sqlite" else None
    return Allowed(stored, bool(column.nullable or joined), column.info.get("bounds"))


def shown_key(value: Any) -> str:
    """Format a part of a key, as the driver returns it or as a parameter; IDs in their usual form."""
    raw = getattr(value, "raw", value)
    if isinstance(raw, bytes) and len(raw) == 16:
        h = raw.hex()
        return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
    return "?" if raw is None or isinstance(raw, bytes) else str(raw)
