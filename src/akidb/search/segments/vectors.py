"""The float32 vectors of a segment: read from their file by position, each checked when it is read.

They are not in memory, where the graph has them compressed: a search reads those of its few candidates.
"""

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from akidb.search.scoring import Floats
from akidb.search.segments.files import SegmentDamaged, as_bytes, unreadable

CHUNK_ROWS: Final = 2048


def row_sums(rows: Floats) -> NDArray[np.uint64]:
    """Return the sum of the 64-bit words of each row, by which a damaged one is found."""
    if rows.shape[1] % 2:
        rows = np.pad(rows, ((0, 0), (0, 1)))
    sums: NDArray[np.uint64] = np.add.reduce(rows.view(np.uint64), axis=1)
    return sums


class Vectors:
    """Reads vectors, in any thread. The file is closed with the last reference to this."""

    def __init__(self, path: Path, dimension: int, sums: NDArray[np.uint64]) -> None:
        """Open the file.

        Raises SegmentDamaged.
        """
        self.path = path
        self._dimension = dimension
        self._row_bytes = 4 * dimension
        self._sums = sums
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise unreadable(path, error) from error
        weakref.finalize(self, os.close, self._descriptor)
        if os.fstat(self._descriptor).st_size != len(sums) * self._row_bytes:
            raise SegmentDamaged(path, "has another size than its header says")

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        return self._sums.nbytes

    def read(self, positions: NDArray[np.integer[Any]]) -> Floats:
        """Return the vectors at these positions, shape `(n, dimension)`, read-only.

        Raises SegmentDamaged.
        """
        descriptor, size = self._descriptor, self._row_bytes
        try:
            body = b"".join([os.pread(descriptor, size, size * at) for at in positions.tolist()])
        except OSError as error:
            raise unreadable(self.path, error) from error
        return self._checked(body, self._sums[positions])

    def chunks(self) -> Iterator[tuple[int, Floats]]:
        """Yield all vectors, in chunks with the position of the first.

        Raises SegmentDamaged.
        """
        for start in range(0, len(self._sums), CHUNK_ROWS):
            sums = self._sums[start : start + CHUNK_ROWS]
            try:
                body = os.pread(self._descriptor, self._row_bytes * len(sums), self._row_bytes * start)
            except OSError as error:
                raise unreadable(self.path, error) from error
            yield start, self._checked(body, sums)

    def _checked(self, body: bytes, sums: NDArray[np.uint64]) -> Floats:
        if len(body) != self._row_bytes * len(sums):
            raise SegmentDamaged(self.path, "ends too early")
        rows = np.frombuffer(body, dtype=np.float32).reshape(-1, self._dimension)
        if (row_sums(rows) != sums).any():
            raise SegmentDamaged(self.path, "has vectors that do not match their checksums")
        return rows


def vector_bytes(rows: Floats) -> NDArray[np.uint8]:
    """Return rows as they are in the file."""
    return as_bytes(rows.astype("<f4", copy=False))
