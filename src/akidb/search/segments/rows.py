"""Rows in files: what a segment is built from. Written by the process that reads the store, for its child."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from akidb.search.scoring import Floats
from akidb.search.segments.files import Bytes, SegmentDamaged, read_array, write_array
from akidb.search.segments.graph import NONE
from akidb.search.segments.header import Expected, Header, read_header, write_header
from akidb.search.segments.ids import ids_as_arrays
from akidb.search.segments.vectors import row_sums, vector_bytes

MORE: Final = "more."
"""Prefix of the names of further arrays, which their owners know."""


def write_rows(
    directory: Path,
    expected: Expected,
    vectors: Floats,
    keys: NDArray[np.int64],
    sequences: NDArray[np.int64],
    ids: Sequence[str],
    more: Mapping[str, NDArray[np.uint8]],
) -> None:
    """Write rows to a new directory. `vectors` are prepared for scoring; nothing is synced."""
    directory.mkdir(mode=0o700)
    encoded = [id.encode() for id in ids]
    arrays: dict[str, NDArray[Any]] = {"vectors": vector_bytes(vectors), "sums": row_sums(vectors)}
    arrays |= {"keys": keys, "sequences": sequences, **ids_as_arrays(encoded)}
    arrays |= {MORE + name: array for name, array in more.items()}
    files = {name: write_array(directory / name, array, sync=False) for name, array in arrays.items()}
    header = Header(
        store_id=str(expected.store_id),
        collection_id=str(expected.collection_id),
        dimension=expected.dimension,
        metric=expected.metric,
        count=len(ids),
        after=0,
        through=0,
        graph=NONE,
        files=files,
    )
    write_header(directory, header)


class Source:
    """Rows or a segment, read by a build. Its vectors are mapped: the process that reads it is expendable."""

    def __init__(self, directory: Path, alive: NDArray[np.bool_] | None) -> None:
        """Read all but the vectors; `alive` says which rows are to be kept.

        Raises SegmentDamaged.
        """
        self.directory = directory
        self.header = header = read_header(directory)
        count = header.count
        self.kept = np.arange(count) if alive is None else np.flatnonzero(alive)
        self.keys = self._read("keys", np.int64)
        self.sequences = self._read("sequences", np.int64)
        self.sums = self._read("sums", np.uint64)
        self._offsets = self._read("offsets", np.int64)
        self._text = self._read("ids", np.uint8).tobytes()
        path = directory / "vectors"
        if not path.is_file() or path.stat().st_size != 4 * count * header.dimension:
            raise SegmentDamaged(path, "is missing or has another size than its header says")
        self._vectors: Floats = np.memmap(path, np.float32, "r", shape=(count, header.dimension))

    def id(self, at: int) -> bytes:
        """Return the id at a position."""
        return self._text[self._offsets[at] : self._offsets[at + 1]]

    def vectors(self, positions: NDArray[np.int64]) -> Floats:
        """Return vectors.

        Raises SegmentDamaged.
        """
        rows: Floats = np.ascontiguousarray(self._vectors[positions])
        if not np.array_equal(row_sums(rows), self.sums[positions]):
            raise SegmentDamaged(self.directory / "vectors", "has vectors that do not match their checksums")
        return rows

    def graph(self) -> Bytes:
        """Return the graph of a segment.

        Raises SegmentDamaged.
        """
        graph: Bytes = self._read("graph", np.uint8)
        return graph

    def more(self, name: str) -> NDArray[np.uint8] | None:
        """Return a further array, None if there is none of this name."""
        return self._read(MORE + name, np.uint8) if MORE + name in self.header.files else None

    def _read(self, name: str, dtype: Any) -> NDArray[Any]:
        if name not in self.header.files:
            raise SegmentDamaged(self.directory / name, "is not in the header")
        return read_array(self.directory / name, self.header.files[name], dtype)
