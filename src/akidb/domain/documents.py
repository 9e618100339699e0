"""Documents as they are given, kept and found, and the limits on them."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]
else:
    Vector = Any  # NumPy is loaded by those who make vectors, not by those who name the type

MAX_ID_BYTES = 512
MAX_TEXT_BYTES = 2**20
MAX_BATCH_DOCUMENTS = 10_000
MAX_TOP_K = 10_000
MAX_PAGE_LIMIT = 1_000
DEFAULT_PAGE_LIMIT = 100

T = TypeVar("T")


class Include(StrEnum):
    """Parts of a document that an answer carries beside its id."""

    TEXT = "text"
    METADATA = "metadata"
    VECTOR = "vector"


DEFAULT_INCLUDE = frozenset({Include.TEXT, Include.METADATA})


class DocumentInput(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A document to be written. It needs a text or a vector; an absent id is made."""

    id: str | None = None
    text: str | None = None
    vector: Sequence[float] | None = None
    metadata: dict[str, Any] | None = None


DocumentLike = DocumentInput | Mapping[str, Any]
"""What `upsert` takes: the struct, or a mapping with the same keys, whose vector may be an array."""


class Document(msgspec.Struct, kw_only=True, frozen=True, eq=False, omit_defaults=True):
    """A document that is kept. What was not asked for is None."""

    id: str
    text: str | None = None
    vector: Vector | None = None
    metadata: dict[str, Any] | None = None


class Match(msgspec.Struct, kw_only=True, frozen=True, eq=False, omit_defaults=True):
    """A document that was found. A higher score is better."""

    id: str
    score: float
    text: str | None = None
    vector: Vector | None = None
    metadata: dict[str, Any] | None = None


class SearchStatistics(msgspec.Struct, kw_only=True, frozen=True):
    """How an answer came about."""

    plan: str
    """`exact` for a scan of vectors in memory, `exact_from_disk` when they do not fit the quota."""
    scanned: int
    """Vectors compared."""
    allowed: int
    """Documents that the filter let through; all of them without one."""


class SearchResult(msgspec.Struct, kw_only=True, frozen=True, eq=False):
    """Matches, best first; equal scores in the order of their ids."""

    matches: list[Match]
    statistics: SearchStatistics


class UpsertResult(msgspec.Struct, kw_only=True, frozen=True):
    """What an upsert wrote, ids in the order of the documents given."""

    upserted: int
    ids: list[str]


class Page(msgspec.Struct, Generic[T], kw_only=True, frozen=True, eq=False):
    """A part of a list, and where the next one starts; None after the last."""

    items: list[T]
    next_cursor: str | None = None


def stored_size(id: str, text: str | None, metadata: str, dimension: int) -> int:
    """The bytes that a document takes of the storage quota; `metadata` in canonical JSON."""
    return len(id.encode()) + len((text or "").encode()) + len(metadata.encode()) + 4 * dimension
