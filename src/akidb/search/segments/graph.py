"""FAISS: a graph (HNSW) over compressed vectors. The only module that knows it; loaded when it is used.

For inner products the graph is one of distances between vectors with a further component that makes them all
equally long, which leaves the order as it is (Bachrach et al., Speeding Up the Xbox Recommender System,
2014): in a graph of inner products there is no way to many vectors.
"""

import logging
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from akidb.domain.entities import Metric
from akidb.domain.extras import needing_extras
from akidb.ports.search import GraphSettings
from akidb.search.scoring import Floats, Query
from akidb.search.segments.files import Bytes

Mask = NDArray[np.bool_]
Positions = NDArray[np.int64]

COMPRESSED: Final = "hnsw_sq8"
"""One byte for each component, between the least and the greatest value that it has in the segment."""
PLAIN: Final = "hnsw_flat"
"""For vectors that are unusable when compressed so, such as those of very different lengths."""
NONE: Final = "none"

_MARGIN: Final = 0.05
_PARAMETERS_KEPT: Final = 64
_FARTHEST: Final = 1e3
"""The length to which the query of an l2 search is limited, in a space where no vector is longer than 1."""


@cache
def faiss() -> Any:
    """Import FAISS. Takes 0.1 s and more.

    Raises Unavailable if it is not installed.
    """
    logger = logging.getLogger("faiss")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)  # it reports each import
    with needing_extras():
        import faiss
    return faiss


def scale_for(largest_norm: float) -> float:
    """Return the power of two that brings vectors to lengths of at most 1, without rounding them."""
    if not largest_norm:
        return 1.0
    return float(2.0 ** -np.frexp(largest_norm)[1])


class Allowed:
    """The positions that a search may find. Made once for many searches, in any thread."""

    __slots__ = ("_bits", "_by_ef", "_selector", "count")

    def __init__(self, mask: Mask) -> None:
        self.count = int(np.count_nonzero(mask))
        self._bits = np.packbits(mask, bitorder="little")
        self._selector = faiss().IDSelectorBitmap(self._bits)
        self._by_ef: dict[int, Any] = {}

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        return self._bits.nbytes + 1000

    def of_graph(self, ef: int) -> Any:
        """Return the parameters of a search in the graph."""
        found = self._by_ef.get(ef)
        if found is None:
            # Without the bounded queue FAISS 1.14 ignored the selector.
            found = faiss().SearchParametersHNSW(efSearch=ef, bounded_queue=True, sel=self._selector)
            _keep(self._by_ef, ef, found)
        return found


_unfiltered: dict[int, Any] = {}


def _parameters(ef: int) -> Any:
    found = _unfiltered.get(ef)
    if found is None:
        found = faiss().SearchParametersHNSW(efSearch=ef)
        _keep(_unfiltered, ef, found)
    return found


def _keep(kept: dict[int, Any], ef: int, parameters: Any) -> None:
    if len(kept) >= _PARAMETERS_KEPT:
        kept.clear()
    kept[ef] = parameters


class Graph:
    """A graph, for searches in any number of threads."""

    def __init__(self, index: Any, metric: Metric, scale: float, data: Bytes | None = None) -> None:
        self._index = index
        self._storage = faiss().downcast_index(index.storage)
        self.metric = metric
        self._scale = scale
        self._data = data
        """What the index refers to, if it was read without copying."""
        self._pointer = faiss().swig_ptr
        self._distance = faiss().METRIC_L2

    @classmethod
    def read(cls, data: Bytes, metric: Metric, scale: float) -> "Graph":
        """Read a graph that is used where it is, in `data`.

        FAISS raises RuntimeError for contents that it cannot read; check them first.
        """
        # Large NumPy arrays get huge pages: a search takes 20 to 30 % less time than in FAISS's own memory.
        index = faiss().read_index(faiss().ZeroCopyIOReader(faiss().swig_ptr(data), len(data)))
        return cls(index, metric, scale, data)

    @property
    def count(self) -> int:
        """The number of vectors."""
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """The dimension of the vectors."""
        return int(self._index.d) - (self.metric is Metric.DOT)

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        return 0 if self._data is None else self._data.nbytes

    def prepare(self, query: Query) -> Floats:
        """Return the query as the graph's vectors are."""
        if self.metric is Metric.COSINE:
            return query.vector
        norm = math.sqrt(query.square)
        if self.metric is Metric.DOT:
            vector = np.zeros(len(query.vector) + 1, dtype=np.float32)
            vector[:-1] = query.wide / (norm or 1.0)  # its length changes no order
            return vector
        return (query.wide * min(self._scale, _FARTHEST / (norm or 1.0))).astype(np.float32)

    def search(
        self, vector: Floats, top_k: int, ef: int, allowed: Allowed | None
    ) -> tuple[Positions, Floats]:
        """Return the positions found, best first, with approximate scores at the graph's scale.

        `vector` is what `prepare` returned. There may be fewer than `top_k`. `ef` is how many candidates the
        search keeps.
        """
        parameters = _parameters(ef) if allowed is None else allowed.of_graph(ef)
        return self.found(self._index, vector, top_k, parameters)

    def search_many(self, queries: Sequence[Query], top_k: int, ef: int) -> Positions:
        """Return positions of shape `(n, top_k)`, -1 where there are fewer; in several threads."""
        vectors = np.stack([self.prepare(query) for query in queries])
        labels: Positions = self._index.search(vectors, top_k, params=_parameters(ef))[1]
        return labels

    def decoded(self, start: int, count: int) -> Floats:
        """Return vectors as they are after compression, as `transformed` gives them."""
        rows: Floats = self._storage.reconstruct_n(start, count)
        return rows

    def gather(self, positions: Positions) -> "Gathered":
        """Return a copy of the compressed vectors at these positions, for scans."""
        return Gathered(self, positions)

    def codes(self) -> tuple[Any, Bytes]:
        """Return FAISS's index of the compressed vectors, and these, shape `(count, bytes)`, not copied."""
        size = int(self._storage.code_size)
        flat: Bytes = faiss().rev_swig_ptr(self._storage.codes.data(), self.count * size)
        return self._storage, flat.reshape(self.count, size)

    def found(self, index: Any, vector: Floats, top_k: int, parameters: Any) -> tuple[Positions, Floats]:
        """Search an index of FAISS."""
        scores, labels = np.empty(top_k, np.float32), np.empty(top_k, np.int64)
        pointer = self._pointer
        index.search_c(1, pointer(vector), top_k, pointer(scores), pointer(labels), parameters)
        if labels[-1] < 0:
            count = int(np.count_nonzero(labels >= 0))  # they come first
            scores, labels = scores[:count], labels[:count]
        return labels, -scores if index.metric_type == self._distance else scores


class Gathered:
    """A copy of some of a graph's compressed vectors, scanned by any number of threads.

    A scan takes half the time of one of float32 vectors, and a tenth of one of FAISS through a selector.
    """

    def __init__(self, graph: Graph, positions: Positions) -> None:
        self.positions = positions
        self._graph = graph
        lib = faiss()
        storage, codes = graph.codes()
        # The graph's distances have only some of the digits of inner products.
        measure = storage.metric_type if graph.metric is Metric.L2 else lib.METRIC_INNER_PRODUCT
        if isinstance(storage, lib.IndexScalarQuantizer):
            index = lib.IndexScalarQuantizer(storage.d, storage.sq.qtype, measure)
            lib.copy_array_to_vector(lib.vector_to_array(storage.sq.trained), index.sq.trained)
            index.is_trained = True
        else:
            index = lib.IndexFlat(storage.d, measure)
        if len(positions):
            index.add_sa_codes(codes[positions])
        self._index = index
        self._one_thread = lib.omp_set_num_threads

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        return self.positions.nbytes + len(self.positions) * int(self._index.code_size)

    def search(self, vector: Floats, top_k: int) -> tuple[Positions, Floats]:
        """Return positions in the segment, best first, with approximate scores, as `Graph.search` does."""
        # For the calling thread: FAISS has others spin beside a single query, for 4 ms on busy cores.
        self._one_thread(1)
        labels, scores = self._graph.found(self._index, vector, top_k, None)
        return self.positions[labels], scores


class GraphMaker:
    """Builds a graph: `see` all vectors, `train`, `add` them, in as many threads as `set_threads` said."""

    def __init__(
        self,
        kind: str,
        dimension: int,
        metric: Metric,
        settings: GraphSettings,
        scale: float,
        old: Bytes | None = None,
    ) -> None:
        """`old` is a graph of this kind and scale, to which vectors are added: it is trained already."""
        lib = faiss()
        measure = lib.METRIC_INNER_PRODUCT if metric is Metric.COSINE else lib.METRIC_L2
        dimension += metric is Metric.DOT
        if old is not None:
            index = lib.deserialize_index(old)
        elif kind == COMPRESSED:
            index = lib.IndexHNSWSQ(dimension, lib.ScalarQuantizer.QT_8bit, settings.m, measure)
        else:
            index = lib.IndexHNSWFlat(dimension, settings.m, measure)
        index.hnsw.efConstruction = settings.ef_construction
        self._index = index
        self._scale = scale
        self._metric = metric
        self._least = np.full(dimension, np.inf, dtype=np.float32)
        self._greatest = -self._least

    def see(self, rows: Floats) -> None:
        """Learn the ranges of the components."""
        moved = self.transformed(rows)
        self._least = np.minimum(self._least, moved.min(axis=0))
        self._greatest = np.maximum(self._greatest, moved.max(axis=0))

    def train(self) -> None:
        """Choose the compression for the vectors seen, and for some that are added later."""
        margin = (self._greatest - self._least) * _MARGIN
        self._index.train(np.stack([self._least - margin, self._greatest + margin]))

    def add(self, rows: Floats) -> None:
        """Add the next vectors."""
        self._index.add(self.transformed(rows))

    def graph(self) -> Graph:
        """Return the graph as it is now."""
        return Graph(self._index, self._metric, self._scale)

    def contents(self) -> Bytes:
        """Return what `Graph.read` reads."""
        contents: Bytes = faiss().serialize_index(self._index)
        return contents

    def transformed(self, rows: Floats) -> Floats:
        """Return vectors as they are in the graph, before compression."""
        moved = scaled(rows, self._scale)
        if self._metric is not Metric.DOT:
            return moved
        rest = 1 - np.einsum("ij,ij->i", moved, moved)
        return np.column_stack([moved, np.sqrt(np.maximum(rest, 0))])


def scaled(rows: Floats, scale: float) -> Floats:
    """Return rows multiplied by a scale, which a float32 may not be able to express."""
    if scale == 1:
        return np.ascontiguousarray(rows)
    return (rows.astype(np.float64) * scale).astype(np.float32)


def set_threads(count: int) -> None:
    """Limit the threads of this process that build graphs."""
    faiss().omp_set_num_threads(count)
