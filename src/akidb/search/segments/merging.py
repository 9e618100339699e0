"""Rows of several sources in the order of a new segment."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from akidb.search.scoring import Floats
from akidb.search.segments.rows import Source

CHUNK_ROWS: Final = 8192
Indices = NDArray[np.int64]


class Merged:
    """The kept rows of sources, one source after the other, but with a random sample of the new ones last.

    All are new, except for those of a first source that is extended: these keep their positions.
    """

    def __init__(self, sources: Sequence[Source], samples: int, *, extend: bool = False) -> None:
        self._sources = sources
        self._starts = np.cumsum([0, *(len(source.kept) for source in sources)])
        self.count = int(self._starts[-1])
        self.old = len(sources[0].kept) if extend else 0
        """The number of rows that are not new."""
        new = self.count - self.old
        self.sampled = min(samples, new // 10)
        last = np.random.default_rng(new).permutation(new)[: self.sampled] + self.old
        rest = np.ones(self.count, dtype=np.bool_)
        rest[last] = False
        self._order = np.concatenate([np.flatnonzero(rest), np.sort(last)])

    def keys(self) -> Indices:
        """Return the keys of the documents."""
        keys: Indices = np.concatenate([each.keys[each.kept] for each in self._sources])[self._order]
        return keys

    def sequences(self) -> Indices:
        """Return the sequences of the documents."""
        sequences: Indices = np.concatenate([each.sequences[each.kept] for each in self._sources])[
            self._order
        ]
        return sequences

    def sums(self) -> NDArray[np.uint64]:
        """Return the checksums of the vectors."""
        sums: NDArray[np.uint64] = np.concatenate([each.sums[each.kept] for each in self._sources])[
            self._order
        ]
        return sums

    def ids(self) -> list[bytes]:
        """Return the ids."""
        ids = [source.id(at) for source in self._sources for at in source.kept.tolist()]
        return [ids[at] for at in self._order.tolist()]

    def places(self) -> Iterator[tuple[Source, Indices, Indices]]:
        """Yield each source, with its positions that are kept and their positions in the segment."""
        of_row = np.empty(self.count, dtype=np.int64)
        of_row[self._order] = np.arange(self.count)
        for source, start in zip(self._sources, self._starts[:-1], strict=True):
            yield source, source.kept, of_row[start : start + len(source.kept)]

    def vectors(self) -> Iterator[Floats]:
        """Yield the vectors in chunks.

        Raises SegmentDamaged.
        """
        for start in range(0, self.count, CHUNK_ROWS):
            wanted = self._order[start : start + CHUNK_ROWS]
            of = np.searchsorted(self._starts, wanted, side="right") - 1
            rows = np.empty((len(wanted), self._sources[0].header.dimension), dtype=np.float32)
            for number in np.unique(of):
                here = of == number
                source = self._sources[number]
                rows[here] = source.vectors(source.kept[wanted[here] - self._starts[number]])
            yield rows
