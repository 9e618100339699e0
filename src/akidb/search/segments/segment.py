"""A segment, opened: in memory are the graph with compressed vectors, the ids, the keys and the sequences."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from akidb.search.scoring import Query
from akidb.search.segments.files import SegmentDamaged, read_array
from akidb.search.segments.graph import NONE, Allowed, Graph, Mask
from akidb.search.segments.header import Expected, Header, read_header
from akidb.search.segments.ids import Ids, Positions
from akidb.search.segments.recall import candidates_for, ef_among, ef_for
from akidb.search.segments.rows import MORE
from akidb.search.segments.vectors import Vectors

_EFS_KEPT: Final = 256


class Segment:
    """Documents at positions `0..count-1`, which never change. For any number of threads.

    It has one open file, which is closed with the last reference to it.
    """

    def __init__(self, directory: Path, expected: Expected) -> None:
        """Open and check a segment.

        Raises SegmentDamaged, for one of another collection or format too.
        """
        self.directory = directory
        self.header: Header = read_header(directory, expected)
        self.keys: NDArray[np.int64] = self._read("keys", np.int64)
        self.sequences: NDArray[np.int64] = self._read("sequences", np.int64)
        kinds: dict[str, Any] = {
            "ids": np.uint8,
            "offsets": np.int64,
            "hashes": np.uint64,
            "places": np.uint32,
        }
        self.ids = Ids({name: self._read(name, kind) for name, kind in kinds.items()})
        path = directory / "vectors"
        self.vectors = Vectors(path, self.header.dimension, self._read("sums", np.uint64))
        self.graph = self._read_graph()
        self._efs: dict[tuple[float, int], int | None] = {}

    @property
    def count(self) -> int:
        """The number of documents."""
        return self.header.count

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        arrays = self.keys.nbytes + self.sequences.nbytes
        graph = 0 if self.graph is None else self.graph.memory_bytes
        return arrays + self.ids.memory_bytes + self.vectors.memory_bytes + graph

    def ef_for(self, recall: float, top_k: int) -> int | None:
        """Return the `ef` that reaches this recall as far as measured; None if a scan is needed."""
        key = (recall, top_k)
        if key not in self._efs:
            if len(self._efs) >= _EFS_KEPT:
                self._efs.clear()
            self._efs[key] = None if self.graph is None else ef_for(self.header.recalls, recall, top_k)
        return self._efs[key]

    def search(
        self, query: Query, top_k: int, ef: int, allowed: Allowed | None
    ) -> tuple[Positions, NDArray[np.float32]]:
        """Return the positions that the graph finds, best first, and approximate scores for their order.

        Take `candidates_for(top_k)` of them and score their `vectors` exactly.
        """
        assert self.graph is not None
        return self.graph.search(self.graph.prepare(query), top_k, ef, allowed)

    def find(
        self, query: Query, top_k: int, ef: int, mask: Mask | None, allowed: Allowed | None
    ) -> tuple[Positions, int]:
        """Return the positions to score exactly, and the `ef` that it took.

        `mask` and `allowed` say the same: which positions may be found; None for all.
        """
        assert self.graph is not None
        wanted, vector = candidates_for(top_k), self.graph.prepare(query)
        ef = max(ef, wanted)
        if mask is None:
            return self.graph.search(vector, wanted, ef, None)[0], ef
        near = self.graph.search(vector, ef, ef, None)[0]
        here = near[mask[near]]
        wider = ef_among(ef, len(near), len(here), wanted)
        if wider is None:
            return here[:wanted], ef
        return self.graph.search(vector, wanted, wider, allowed)[0], wider

    def more(self, name: str) -> NDArray[np.uint8] | None:
        """Read a further array that was written with the rows; None if there is none of this name.

        Raises SegmentDamaged.
        """
        return self._read(MORE + name, np.uint8) if MORE + name in self.header.files else None

    def _read_graph(self) -> Graph | None:
        header = self.header
        if header.graph == NONE:
            return None
        data = self._read("graph", np.uint8)
        try:
            graph = Graph.read(data, header.metric, header.scale)
        except RuntimeError as error:
            raise SegmentDamaged(self.directory / "graph", "FAISS cannot read it") from error
        if (graph.count, graph.dimension) != (header.count, header.dimension):
            raise SegmentDamaged(self.directory / "graph", "has another shape than its header says")
        return graph

    def _read(self, name: str, dtype: Any) -> NDArray[Any]:
        record = self.header.files.get(name)
        if record is None:
            raise SegmentDamaged(self.directory / name, "is not in the header")
        return read_array(self.directory / name, record, dtype)
