"""Documents as input, as stored and as search results, and their limits."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from operator import eq
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]
else:
    Vector = Any  # NumPy is imported only by modules that create vectors

MAX_ID_BYTES = 512
MAX_TEXT_BYTES = 2**20
MAX_BATCH_DOCUMENTS = 10_000
MAX_TRUNCATED_IDS = 100
"""Ids of truncated documents in a response; their number is exact."""
MAX_TOP_K = 10_000
MAX_QUESTIONS = 200
"""Questions of one batch of searches: with the longest vectors they fit in a JSON body."""
MAX_CANDIDATES = 100_000
"""Rows that are looked at, best first, for the groups or for a later page of a search."""
MAX_GROUP_SIZE = 100
MAX_BATCH_MATCHES = 100_000
"""Matches that a batch of searches may ask for in all."""
HIGHLIGHT_START, HIGHLIGHT_END = "<em>", "</em>"
HIGHLIGHT_WORDS = 40
"""The length of a highlighted part of a text."""
MAX_PAGE_LIMIT = 1_000
DEFAULT_PAGE_LIMIT = 100

T = TypeVar("T")


class Include(StrEnum):
    """Parts of a document that a response includes besides its id."""

    TEXT = "text"
    METADATA = "metadata"
    VECTOR = "vector"


DEFAULT_INCLUDE = frozenset({Include.TEXT, Include.METADATA})


class SearchMode(StrEnum):
    """What a search compares."""

    VECTOR = "vector"
    """The vectors."""
    KEYWORD = "keyword"
    """The words of the texts (BM25)."""
    HYBRID = "hybrid"
    """Both: one ranking from the two."""


class UpsertMode(StrEnum):
    """What an upsert does with documents that exist, and with those that do not."""

    UPSERT = "upsert"
    """Write all: existing ones are replaced."""
    INSERT = "insert"
    """Write all, and refuse to if one exists."""
    SKIP = "skip"
    """Write new ones; existing ones are kept as they are."""
    UPDATE = "update"
    """Change existing ones, which keep the parts that are not given; others are ignored."""


class DocumentInput(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A document to write. Requires a text, a vector or metadata; an absent id is generated."""

    id: str | None = None
    text: str | None = None
    vector: Sequence[float] | None = None
    metadata: dict[str, Any] | None = None


DocumentLike = DocumentInput | Mapping[str, Any]
"""The input of `upsert`: the struct, or a mapping with the same keys, whose vector may be an array."""


def same_values(one: msgspec.Struct, other: object) -> bool:
    """Return whether two structs of one type have equal fields; a `vector` is compared by its numbers."""
    if type(other) is not type(one):
        return False
    for name in one.__struct_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine is None or theirs is None:
            equal = mine is theirs
        elif name == "vector":
            equal = len(mine) == len(theirs) and all(map(eq, mine, theirs))
        else:
            equal = mine == theirs
        if not equal:
            return False
    return True


class Document(msgspec.Struct, kw_only=True, frozen=True, eq=False, omit_defaults=True):
    """A stored document. Parts that were not requested are None."""

    id: str
    text: str | None = None
    vector: Vector | None = None
    metadata: dict[str, Any] | None = None

    __eq__ = same_values

    def __hash__(self) -> int:
        return hash(self.id)


GroupValue = str | int | float | bool


class Match(msgspec.Struct, kw_only=True, frozen=True, eq=False, omit_defaults=True):
    """A search result. Higher scores are better."""

    id: str
    score: float
    text: str | None = None
    vector: Vector | None = None
    metadata: dict[str, Any] | None = None
    highlight: str | None = None
    """The part of the text with most of the words searched for, each between `<em>` and `</em>`; only on
    request, and None for a text without any. The text itself is not escaped for HTML."""
    group: GroupValue | None = None
    """The value of the field that the search groups by; absent without groups."""

    __eq__ = same_values

    def __hash__(self) -> int:
        return hash(self.id)


class SearchStep(msgspec.Struct, kw_only=True, frozen=True):
    """What a search did in one part of the index."""

    part: str
    """`tail` for the newest documents, `segment` for a segment, `store` for a search without the index."""
    way: str
    """Like `plan`."""
    allowed: int
    """Documents that the filter allows."""
    scanned: int
    """Vectors compared, or kept as candidates in a graph."""
    why: str
    """Why this way was chosen."""


class SearchStatistics(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Statistics of a search."""

    plan: str
    """`exact` for a scan of vectors, `exact_from_disk` when they exceed the memory quota; `hnsw` for a search
    in a graph, `sq8` for a scan of compressed vectors, of which the best are compared exactly; `keyword` or
    `hybrid` for these modes."""
    scanned: int
    """Number of vectors compared, or kept as candidates in a graph. Of a keyword search: of documents with
    its words that were looked at."""
    allowed: int
    """Number of documents with a vector that match the filter; without a filter, of all with a vector. Of a
    keyword search: of those looked at."""
    damaged: int = 0
    """Number of documents left out because they are damaged; omitted in JSON if there are none."""
    limited: bool = False
    """Whether there may be further matches or groups beyond the 100,000 best rows, which are all that a
    search looks at; omitted in JSON if not."""
    query_truncated: bool = False
    """Whether the text is longer than the embedding model accepts, so that its end was ignored; omitted in
    JSON if not."""
    steps: list[SearchStep] | None = None
    """With `explain`: what was done in each part of the index of vectors."""


class SearchResult(msgspec.Struct, kw_only=True, frozen=True):
    """Matches, best first; equal scores are sorted by id. Those of a group follow each other."""

    matches: list[Match]
    statistics: SearchStatistics
    next_cursor: str | None = None
    """The cursor of the next page; None on the last page, and with groups."""


class UpsertResult(msgspec.Struct, kw_only=True, frozen=True):
    """The result of an upsert: the documents that were written, in the order of the given ones.

    With the modes `skip` and `update` these may be fewer than were given.
    """

    upserted: int
    ids: list[str]
    truncated: int = 0
    """Number of documents whose text is longer than the embedding model accepts: the rest has no part in the
    vector. The text is stored whole."""
    truncated_ids: list[str] = msgspec.field(default_factory=list)
    """The ids of the first 100 of them."""
    without_vector: int = 0
    """Number of documents that are stored without a vector, so that no vector search finds them."""


class Page(msgspec.Struct, Generic[T], kw_only=True, frozen=True):
    """A page of a list, and the cursor of the next page; None on the last page."""

    items: list[T]
    next_cursor: str | None = None
    damaged: int | msgspec.UnsetType = msgspec.UNSET
    """Number of rows left out of this page because they are damaged; unset if there are none."""


VECTOR_NUMBER_BYTES = 12
"""About what a number of a vector takes in an answer."""


def answer_size(id: str, text: str | None, metadata: str | None, vector: bytes | None) -> int:
    """Return about how many bytes a document takes in an answer, of the parts that it has there.

    `metadata` is JSON, `vector` has 4 bytes for each number.
    """
    size = len(id)
    for part in (text, metadata):
        if isinstance(part, str):  # not bytes, as in a damaged row
            size += len(part) if part.isascii() else len(part.encode())
    return size if vector is None else size + len(vector) * VECTOR_NUMBER_BYTES // 4


def size_in_answer(document: Document) -> int:
    """Return about how many bytes a document takes in an answer."""
    metadata = None if document.metadata is None else msgspec.json.encode(document.metadata)
    size = answer_size(document.id, document.text, None, None) + len(metadata or b"")
    return size if document.vector is None else size + len(document.vector) * VECTOR_NUMBER_BYTES


def stored_size(id: str, text: str | None, metadata: str, vector_bytes: int) -> int:
    """Return the bytes that a document counts towards the storage quota; `metadata` is canonical JSON."""
    return len(id.encode()) + len((text or "").encode()) + len(metadata.encode()) + vector_bytes


def stored_sizes(
    ids: Sequence[str], texts: Sequence[str | None], metadata: Sequence[str], vector_bytes: int
) -> int:
    """Return the sum of `stored_size` of these documents, whose vectors have so many bytes together."""
    return (
        len("".join(ids).encode())
        + len("".join(filter(None, texts)).encode())
        + len("".join(metadata).encode())
        + vector_bytes
    )
