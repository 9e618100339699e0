"""Conversion between parts and frames, with checks of their order and counts.

Documents are a JSON frame with their columns, followed by four byte planes: the first bytes of all vector
components, then the second bytes, and so on. Each plane compresses well or not at all: for unit vectors the
last plane (sign and exponent) shrinks to a third, the others not at all.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from akidb.archive.frames import END, JSON, PLANE, FrameReader, FrameWriter
from akidb.domain.archives import ByteSink, ByteSource, fault
from akidb.domain.errors import Unavailable
from akidb.ports import wire
from akidb.ports.archive import (
    RECORDS,
    TENANT_TABLES,
    CollectionImage,
    Documents,
    Header,
    Part,
    Rows,
    StoreHead,
    Summary,
    Tombstones,
)

if TYPE_CHECKING:
    from akidb.domain.ids import CollectionId, TenantId

ROWS_BYTES: Final = 2**20
"""Approximate size of a frame of rows."""
MAX_TENANT_ROWS: Final = 200_000
"""Metadata rows plus store collections in a single-tenant archive: all are held in memory."""
MAX_TENANT_ROWS_BYTES: Final = 128 * 2**20
"""Maximum size of the rows of a single-tenant archive as JSON."""
MAX_TENANT_FRAME_BYTES: Final = 4 * 2**20
"""Maximum size of one frame of such rows: a row has an object of at most a megabyte."""
PLANES: Final = 4
"""Bytes of a float32, little-endian."""


class _Columns(msgspec.Struct, frozen=True, tag="documents", forbid_unknown_fields=True, omit_defaults=True):
    """Documents without their vectors."""

    sequences: list[int]
    ids: list[str]
    texts: list[str | None]
    metadata: list[str]
    dimension: int
    without_vector: list[int] = []
    """Places of the documents that have none, ascending; the planes do not have them."""


class _Rows(msgspec.Struct, frozen=True, tag="rows", forbid_unknown_fields=True):
    """Rows of a table, not decoded yet."""

    table: str
    rows: msgspec.Raw


_decode = msgspec.json.Decoder(
    Header | StoreHead | CollectionImage | _Columns | Tombstones | _Rows | Summary, dec_hook=wire.dec_hook
).decode
_row_decoders: Mapping[str, msgspec.json.Decoder[Any]] = {
    table: msgspec.json.Decoder(list[kind], dec_hook=wire.dec_hook)  # type: ignore[valid-type]
    for table, kind in RECORDS.items()
}


class ArchiveWriter:
    """Writes an archive, part by part."""

    def __init__(self, target: ByteSink, header: Header) -> None:
        self._frames = FrameWriter(target)
        self._counts: Counter[str] = Counter()
        self._json(header)

    def add(self, part: StoreHead | CollectionImage | Documents | Tombstones | Rows) -> None:
        """Add a part, in the order specified in `akidb.ports.archive`."""
        self._counts.update(_counted(part))
        if isinstance(part, Documents):
            self._json(
                _Columns(
                    list(part.sequences),
                    list(part.ids),
                    list(part.texts),
                    list(part.metadata),
                    part.vectors.shape[1],
                    list(part.without_vector),
                )
            )
            planes = part.vectors.astype("<f4", copy=False).view(np.uint8).reshape(-1, PLANES).T
            for plane in planes:
                self._frames.plane(plane.tobytes())
        elif isinstance(part, Rows):
            self._rows(part)
        else:
            self._json(part)

    def finish(self, left_out: "Sequence[TenantId]" = (), rows_left_out: int = 0) -> Summary:
        """Write the summary with the counts, and the checksum."""
        summary = Summary(dict(self._counts), list(left_out), rows_left_out)
        self._json(summary)
        self._frames.end()
        return summary

    @property
    def written_bytes(self) -> int:
        """The size of the archive so far."""
        return self._frames.written_bytes

    def _rows(self, part: Rows) -> None:
        """Add rows, split into several frames if needed: a single row may have megabytes."""
        content = wire.encode(part.rows)
        if len(content) > ROWS_BYTES and len(part.rows) > 1:
            half = len(part.rows) // 2
            self._rows(Rows(part.table, part.rows[:half]))
            self._rows(Rows(part.table, part.rows[half:]))
        else:
            self._json(_Rows(part.table, msgspec.Raw(content)))

    def _json(self, part: object) -> None:
        self._frames.json(wire.encode(part))


class ArchiveReader:
    """Reads an archive once. `digest` is set after the whole archive was read."""

    def __init__(self, source: ByteSource, *, room_bytes: int) -> None:
        """Limit the unpacked content to `room_bytes`. Raises like `FrameReader`."""
        self._frames = FrameReader(source, room_bytes)
        self._order = _Order()
        self._bound: _Bound | None = None
        self.digest = b""
        header = self._part()
        if not isinstance(header, Header):
            raise fault("does not start with a header")
        self.header = header
        if header.kind == "tenant":
            self._bound = _Bound()

    def __iter__(self) -> Iterator[Part]:
        """Yield the parts after the header, the summary last.

        Raises InvalidArgument for a part out of order, and if the counts or the checksum differ.
        The parts must not be used before the iteration has ended without an error.
        """
        counts: Counter[str] = Counter()
        while True:
            part = self._part()
            self._order.check(part, self.header)
            if isinstance(part, Summary):
                if part.counts != counts:
                    raise fault("does not match the counts in its summary")
                frame = self._frames.next()
                if frame.kind != END:
                    raise fault("has data after its summary")
                self.digest = frame.content
                yield part
                return
            counts.update(_counted(part))
            yield part

    def _part(self) -> Part:
        frame = self._frames.next()
        if frame.kind != JSON:
            raise fault(
                "ends without a summary" if frame.kind == END else f"has an unknown frame {frame.kind!r}"
            )
        place = f"frame {self._frames.number}"
        try:
            part = _decode(frame.content)
            if isinstance(part, _Rows):
                place = part.table
                if self._bound is not None:
                    self._bound.take_bytes(place, len(part.rows))
                rows = Rows(place, _rows(part))
                if self._bound is not None:
                    self._bound.take_rows(place, len(rows.rows))
                return rows
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise fault(f"{place}: {error}") from None
        if isinstance(part, CollectionImage) and self._bound is not None:
            self._bound.take_rows("store", 1)
        return self._documents(part) if isinstance(part, _Columns) else part

    def _documents(self, columns: _Columns) -> Documents:
        count = len(columns.ids)
        if not count == len(columns.sequences) == len(columns.texts) == len(columns.metadata) or not count:
            raise fault("has columns of different lengths", ".documents")
        without = columns.without_vector
        if any(a >= b for a, b in pairwise([-1, *without, count])):
            raise fault("has documents without a vector that are out of order", ".documents")
        vectors = count - len(without)
        planes = []
        for _ in range(PLANES):
            frame = self._frames.next()
            if frame.kind != PLANE or len(frame.content) != vectors * columns.dimension:
                raise fault("has a vector plane of the wrong size", ".documents")
            planes.append(np.frombuffer(frame.content, np.uint8))
        joined = np.ascontiguousarray(np.stack(planes, axis=1)).view("<f4")
        matrix = joined.reshape(vectors, columns.dimension).astype(np.float32, copy=False)
        return Documents(columns.sequences, columns.ids, columns.texts, columns.metadata, matrix, without)


def _rows(part: _Rows) -> list[Any]:
    decoder = _row_decoders.get(part.table)
    if decoder is None:
        raise fault(f"has rows of an unknown table {part.table!r}")
    rows: list[Any] = decoder.decode(part.rows)
    return rows


class _Bound:
    """Remaining metadata budget of a single-tenant archive."""

    def __init__(self) -> None:
        self._rows = MAX_TENANT_ROWS
        self._bytes = MAX_TENANT_ROWS_BYTES

    def take_bytes(self, place: str, size: int) -> None:
        if size > MAX_TENANT_FRAME_BYTES:
            raise fault(f"has more than {MAX_TENANT_FRAME_BYTES} bytes of rows in one frame", f".{place}")
        self._bytes -= size
        if self._bytes < 0:
            raise fault(f"has more than {MAX_TENANT_ROWS_BYTES} bytes of metadata", f".{place}")

    def take_rows(self, place: str, count: int) -> None:
        self._rows -= count
        if self._rows < 0:
            raise fault(f"has more than {MAX_TENANT_ROWS} rows of metadata", f".{place}")


def require_exportable(rows: Sequence[Rows], collections: int) -> None:
    """Raise Unavailable if the tenant has more metadata than a single-tenant archive may have."""
    count = collections + sum(len(part.rows) for part in rows)
    # One more comma per row: the maximum overhead of splitting the rows into frames.
    size = sum(len(wire.encode(part.rows)) + len(part.rows) for part in rows)
    if count > MAX_TENANT_ROWS or size > MAX_TENANT_ROWS_BYTES:
        raise Unavailable(
            f"the tenant has {count} metadata rows of {size} bytes; an export is limited to {MAX_TENANT_ROWS}"
            f" rows and {MAX_TENANT_ROWS_BYTES} bytes, use a backup instead"
        )


class _Order:
    """Checks the order of the parts."""

    def __init__(self) -> None:
        self._stores: set[TenantId] = set()
        self._collections: set[CollectionId] | None = None
        """Collections of the current store."""
        self._buried = True
        """Whether documents are out of order: no collection has started, or its tombstones came already."""
        self._in_collection = False
        self._table = -1

    def check(self, part: Part, header: Header) -> None:
        if isinstance(part, StoreHead):
            self._begin_store(part, header)
        elif isinstance(part, CollectionImage):
            if self._collections is None or part.collection_id in self._collections:
                raise fault(f"has collection {part.collection_id} twice, or outside a store")
            self._collections.add(part.collection_id)
            self._in_collection, self._buried = True, False
        elif isinstance(part, Documents):
            if self._buried:
                raise fault("has documents out of order")
        elif isinstance(part, Tombstones):
            if not self._in_collection:
                raise fault("has tombstones outside a collection")
            self._buried = True
        elif isinstance(part, Rows):
            self._begin_rows(part, header)
        elif isinstance(part, Header):
            raise fault("has two headers")

    def _begin_store(self, part: StoreHead, header: Header) -> None:
        if self._table >= 0 or part.tenant_id in self._stores:
            raise fault(f"has the store of tenant {part.tenant_id} twice, or out of order")
        if self._stores and header.kind == "tenant":
            raise fault("is of the kind tenant, but has several stores")
        self._stores.add(part.tenant_id)
        self._collections, self._buried, self._in_collection = set(), True, False

    def _begin_rows(self, part: Rows, header: Header) -> None:
        if header.kind == "tenant" and part.table not in TENANT_TABLES:
            raise fault(f"is of the kind tenant, but has rows of {part.table}")
        table = list(RECORDS).index(part.table)
        if table < self._table:
            raise fault(f"has rows of {part.table} out of order")
        self._table = table
        self._collections, self._buried, self._in_collection = None, True, False


def _counted(part: Part) -> dict[str, int]:
    """Return the counts that a part adds to the summary."""
    if isinstance(part, StoreHead):
        return {"stores": 1}
    if isinstance(part, Documents):
        return {"documents": len(part.ids)}
    if isinstance(part, Tombstones):
        return {"tombstones": len(part.ids)}
    if isinstance(part, Rows):
        return {part.table: len(part.rows)}
    return {}
