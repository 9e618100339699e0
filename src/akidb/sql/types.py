"""Column types that carry the domain's values: typed IDs, UTC instants, JSON objects, enumerations."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Dialect, LargeBinary, Text
from sqlalchemy.types import TypeDecorator

from akidb.domain.ids import EntityId
from akidb.domain.json import canonical


class Id(TypeDecorator[EntityId]):
    """A typed ID as 16 bytes. Binding an ID of another entity is a TypeError."""

    impl = LargeBinary(16)
    cache_ok = True

    def __init__(self, kind: type[EntityId]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: EntityId | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        """Unwrap the ID."""
        if value is None:
            return None
        if type(value) is not self.kind:
            raise TypeError(f"{self.kind.__name__} wanted, not {type(value).__name__}")
        return value.raw

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> EntityId | None:  # noqa: ARG002
        """Wrap the bytes."""
        return None if value is None else self.kind(bytes(value))


def format_instant(value: datetime) -> str:
    """The one fixed-width form of a time: `2026-01-31T09:15:00.123456Z`."""
    utc = value.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond:06d}Z"


class Instant(TypeDecorator[datetime]):
    """An aware UTC time as text of fixed width, so that it sorts as it reads."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write the fixed-width form."""
        return None if value is None else format_instant(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read it back."""
        return None if value is None else datetime.fromisoformat(value)


class JsonObject(TypeDecorator[dict[str, Any]]):
    """A JSON object in its canonical form."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: dict[str, Any] | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write the canonical form."""
        return None if value is None else canonical(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> dict[str, Any] | None:  # noqa: ARG002
        """Read it back."""
        return None if value is None else msgspec.json.decode(value, type=dict[str, Any])


class Enumerated(TypeDecorator[StrEnum]):
    """One of the words of an enumeration."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write the word."""
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:  # noqa: ARG002
        """Read it back."""
        return None if value is None else self.kind(value)
