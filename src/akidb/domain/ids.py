"""Typed UUID v7 identifiers (RFC 9562) and their monotonic generator.

IDs of different kinds of entities never compare equal and are not interchangeable. The only accepted text is
the 36-character lower-case form: braces, `urn:` and full-width digits are refused.
"""

import re
import threading
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from akidb.domain.errors import InvalidArgument

_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_SHAPE = re.compile(_TEXT.pattern, re.ASCII | re.IGNORECASE)

IdT = TypeVar("IdT", bound="EntityId")


class EntityId:
    """The 16-byte ID of an entity. Immutable; ordered by its bytes."""

    __slots__ = ("raw",)
    entity: ClassVar[str] = "entity"
    raw: bytes

    def __init__(self, value: bytes) -> None:
        if type(value) is not bytes or len(value) != 16:
            raise ValueError(f"{type(self).__name__} takes exactly 16 bytes")
        _set_raw(self, value)

    @classmethod
    def parse(cls, text: object, field: str | None = None) -> Self:
        """Parse the 36-character form.

        Raises InvalidArgument(`field`) for anything else.
        """
        if not isinstance(text, str) or not _TEXT.fullmatch(text):
            raise InvalidArgument(field or f"{cls.entity}_id", "is not an ID: 36 characters, lower case")
        return cls(bytes.fromhex(text.replace("-", "")))

    def __str__(self) -> str:
        h = self.raw.hex()
        return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self}')"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)  # which keeps it; the kinds need not differ in it

    def __lt__(self, other: Self) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.raw < other.raw

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.raw,)


# Sets the slot without `__setattr__`, which refuses; looked up once, since every row creates an ID.
_set_raw = EntityId.__dict__["raw"].__set__


class TenantId(EntityId):
    """The ID of a tenant."""

    __slots__ = ()
    entity = "tenant"


class DatabaseId(EntityId):
    """The ID of a database."""

    __slots__ = ()
    entity = "database"


class CollectionId(EntityId):
    """The ID of a collection."""

    __slots__ = ()
    entity = "collection"


class DocumentId(EntityId):
    """The generated ID of a document that was written without one; stored as text."""

    __slots__ = ()
    entity = "document"


class UserId(EntityId):
    """The ID of a user."""

    __slots__ = ()
    entity = "user"


class AuditEntryId(EntityId):
    """The ID of an audit entry."""

    __slots__ = ()
    entity = "audit_entry"


class StoreId(EntityId):
    """The ID of one incarnation of a tenant store; a restore, import or copy creates a new one."""

    __slots__ = ()
    entity = "store"


def is_uuid_shaped(text: str) -> bool:
    """Return whether `text` has the form of a UUID, in upper or lower case."""
    return _SHAPE.fullmatch(text) is not None


class IdGenerator:
    """Generates UUID v7 values that sort by creation within this generator.

    The 74 random bits are redrawn in each millisecond and incremented by a random step within it
    (RFC 9562, section 6.2, method 2), also while the clock is behind the last generated ID.
    """

    def __init__(self, unix_ms: Callable[[], int], random_bits: Callable[[int], int]) -> None:
        self._unix_ms = unix_ms
        self._random_bits = random_bits
        self._lock = threading.Lock()
        self._last_ms = -1
        self._last_tail = 0

    def new(self, kind: type[IdT]) -> IdT:
        """Generate the next ID of this kind."""
        return kind(self._next().to_bytes(16, "big"))

    def _next(self) -> int:
        with self._lock:
            ms = max(0, self._unix_ms())  # UUID v7 has no time before 1970
            if ms > self._last_ms:
                # The top bit starts at zero, to leave room for increments.
                self._last_ms, self._last_tail = ms, self._random_bits(73)
            else:
                self._last_tail += 1 + self._random_bits(32)
                if self._last_tail >= 1 << 74:
                    self._last_ms, self._last_tail = self._last_ms + 1, self._random_bits(73)
            ms, tail = self._last_ms, self._last_tail
        return (ms << 80) | (0x7 << 76) | ((tail >> 62) << 64) | (0b10 << 62) | (tail & ((1 << 62) - 1))
