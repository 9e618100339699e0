"""Column types that carry the domain's values: typed IDs, UTC instants, JSON objects, enumerations.

Each gives its conversions as plain functions, which run for every value of every row.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from akidb.domain.ids import EntityId
from akidb.domain.json import canonical

Converter = Callable[[Any], Any]


class Id(UserDefinedType[EntityId]):
    """A typed ID: 16 bytes on SQLite, `uuid` on PostgreSQL. Binding that of another entity is a TypeError."""

    cache_ok = True

    def __init__(self, kind: type[EntityId]) -> None:
        self.kind = kind

    def bind_processor(self, dialect: sa.Dialect) -> Converter:
        """Unwrap the ID."""
        kind = self.kind
        as_text = dialect.name == "postgresql"

        def unwrap(value: EntityId | None) -> bytes | str | None:
            if value is None:
                return None
            if type(value) is not kind:
                raise TypeError(f"{kind.__name__} wanted, not {type(value).__name__}")
            return value.raw.hex() if as_text else value.raw

        return unwrap

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Converter:  # noqa: ARG002
        """Wrap the bytes."""
        kind = self.kind
        return lambda value: None if value is None else kind(value)


def format_instant(value: datetime) -> str:
    """The one fixed-width form of a time: `2026-01-31T09:15:00.123456Z`."""
    in_utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return in_utc.isoformat(timespec="microseconds")[:26] + "Z"


class Instant(UserDefinedType[datetime]):
    """An aware UTC time: `timestamptz`, or on SQLite text of fixed width, which sorts as it reads."""

    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Converter | None:
        """Write the fixed-width form."""
        if dialect.name == "postgresql":
            return None
        return lambda value: None if value is None else format_instant(value)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Converter | None:  # noqa: ARG002
        """Read it back."""
        if dialect.name == "postgresql":
            return None
        read = datetime.fromisoformat
        return lambda value: None if value is None else read(value)


class JsonObject(UserDefinedType[dict[str, Any]]):
    """A JSON object in its canonical form."""

    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Converter:  # noqa: ARG002
        """Write the canonical form."""
        return lambda value: None if value is None else canonical(value).decode()

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Converter:  # noqa: ARG002
        """Read it back."""
        return msgspec.json.Decoder(dict[str, Any]).decode


class Enumerated(UserDefinedType[StrEnum]):
    """One of the words of an enumeration."""

    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        self.kind = kind

    def bind_processor(self, dialect: sa.Dialect) -> Converter:  # noqa: ARG002
        """Write the word. One of another enumeration is a KeyError."""
        words: dict[str | None, str | None] = {word.value: word.value for word in self.kind}
        words[None] = None
        return words.__getitem__

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Converter:  # noqa: ARG002
        """Read it back."""
        words: dict[str | None, StrEnum | None] = {word.value: word for word in self.kind}
        words[None] = None
        return words.__getitem__
