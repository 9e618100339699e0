"""The state of a collection's index: what it has of the vectors, and how well it finds them."""

import msgspec


class SegmentState(msgspec.Struct, kw_only=True, frozen=True):
    """A segment: vectors in files, with a graph over them."""

    documents: int
    """Current documents; if the index is not loaded, also those that were replaced or deleted."""
    deleted: int | None
    """Documents in its files that were replaced or deleted since; null if the index is not loaded."""
    graph: str
    """`hnsw_sq8` with one byte for each component, `hnsw_flat` with four, or `none`: it is scanned."""
    m: int | None
    ef_construction: int | None
    candidates: int | None
    """How many candidates a search for 10 matches keeps to find 95 % of them; null if a scan is needed."""
    recall: float | None
    """The share of the 10 best matches that these find, as measured when it was built."""
    memory_bytes: int
    disk_bytes: int


class IndexState(msgspec.Struct, kw_only=True, frozen=True):
    """The index of a collection's vectors, derived from its documents."""

    loaded: bool
    """Whether it is in memory. It is loaded by a search."""
    sequence: int
    """The number of the last write to the collection."""
    indexed: int
    """The last write that the index has. Each search first applies those that follow."""
    lag: int
    """The number of writes that it does not have yet."""
    tail: int
    """Documents in memory that are newer than the segments, and compared one by one."""
    deleted: int
    """Vectors in memory of documents that were replaced or deleted since."""
    building: bool
    """Whether a segment is being built, or waits for that."""
    memory_bytes: int
    """Of vectors; those of metadata for filters are not counted here."""
    disk_bytes: int
    segments: list[SegmentState]


EMPTY = IndexState(
    loaded=False,
    sequence=0,
    indexed=0,
    lag=0,
    tail=0,
    deleted=0,
    building=False,
    memory_bytes=0,
    disk_bytes=0,
    segments=[],
)
"""Of a collection without documents."""
