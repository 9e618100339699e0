"""Column types for domain values: typed IDs, UTC instants, JSON objects, enumerations.

Conversions from the database are source, so that a function converts a whole page of rows without calls.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from akidb.domain.entities import UNLIMITED, limit_of
from akidb.domain.ids import EntityId
from akidb.domain.json import canonical

Converter = Callable[[Any], Any]


class Conversion(NamedTuple):
    """How a value from the database is converted, unless it is None."""

    source: str
    """An expression of `{value}` and `{known}`. It raises, or the type of the value is checked before."""
    known: Any

    def function(self) -> Converter:
        """Return it as a function."""
        source = self.source.format(value="value", known="known")
        made: Converter = eval(  # noqa: S307 - source of this module
            f"lambda value: None if value is None else {source}", {"known": self.known}
        )
        return made


class Id(UserDefinedType[EntityId]):
    """A typed ID: 16 bytes on SQLite, `uuid` on PostgreSQL. Binding an ID of another type is a TypeError."""

    cache_ok = True

    def __init__(self, kind: type[EntityId]) -> None:
        self.kind = kind

    def bind_processor(self, dialect: sa.Dialect) -> Converter:
        """Convert the ID to bytes or hex text."""
        kind = self.kind
        as_text = dialect.name == "postgresql"

        def unwrap(value: EntityId | None) -> bytes | str | None:
            if value is None:
                return None
            if type(value) is not kind:
                raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")
            return value.raw.hex() if as_text else value.raw

        return unwrap

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Converter:  # noqa: ARG002
        """Convert the bytes to an ID."""
        return self.conversion(dialect).function()

    def conversion(self, dialect: sa.Dialect) -> Conversion:  # noqa: ARG002
        """Return the conversion from the database value."""
        return Conversion("{known}({value})", self.kind)


def format_instant(value: datetime) -> str:
    """Return the fixed-width form of a time, such as `2026-01-31T09:15:00.123456Z`."""
    in_utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return in_utc.isoformat(timespec="microseconds")[:26] + "Z"


class Instant(UserDefinedType[datetime]):
    """An aware UTC time: `timestamptz`, or on SQLite fixed-width text, which sorts by time."""

    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Converter | None:
        """Convert to the fixed-width form."""
        if dialect.name == "postgresql":
            return None
        return lambda value: None if value is None else format_instant(value)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Converter | None:  # noqa: ARG002
        """Convert from the database value."""
        found = self.conversion(dialect)
        return None if found is None else found.function()

    def conversion(self, dialect: sa.Dialect) -> Conversion | None:
        """Return the conversion from the database value."""
        if dialect.name == "postgresql":
            return None
        return Conversion("{known}({value})", datetime.fromisoformat)


class JsonObject(UserDefinedType[dict[str, Any]]):
    """A JSON object in canonical form."""

    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Converter:  # noqa: ARG002
        """Convert to the canonical form."""
        return lambda value: None if value is None else canonical(value).decode()

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Converter:  # noqa: ARG002
        """Convert from the database value."""
        return self.conversion(dialect).function()

    def conversion(self, dialect: sa.Dialect) -> Conversion:  # noqa: ARG002
        """Return the conversion from the database value."""
        return Conversion("{known}({value})", msgspec.json.Decoder(dict[str, Any]).decode)


def bounded(minimum: int, maximum: int) -> dict[str, tuple[int, int]]:
    """Return the `info` of a column of integers with these inclusive bounds, checked when a row is read."""
    return {"bounds": (minimum, maximum)}


class Quota(UserDefinedType[int]):
    """A limit; None is stored as the largest integer, so that statements can compare it."""

    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Converter:  # noqa: ARG002
        """Convert None to the largest integer."""
        return limit_of

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Converter:  # noqa: ARG002
        """Convert the largest integer to None."""
        return self.conversion(dialect).function()

    def conversion(self, dialect: sa.Dialect) -> Conversion:  # noqa: ARG002
        """Return the conversion from the database value."""
        return Conversion("(None if {value} == {known} else {value})", UNLIMITED)


class Enumerated(UserDefinedType[StrEnum]):
    """A member of an enumeration, stored as text."""

    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        self.kind = kind

    def bind_processor(self, dialect: sa.Dialect) -> Converter:  # noqa: ARG002
        """Convert to text. A member of another enumeration is a KeyError."""
        words: dict[str | None, str | None] = {word.value: word.value for word in self.kind}
        words[None] = None
        return words.__getitem__

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Converter:  # noqa: ARG002
        """Convert from the database value."""
        return self.conversion(dialect).function()

    def conversion(self, dialect: sa.Dialect) -> Conversion:  # noqa: ARG002
        """Return the conversion from the database value."""
        return Conversion("{known}[{value}]", {word.value: word for word in self.kind})
