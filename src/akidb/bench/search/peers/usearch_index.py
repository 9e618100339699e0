"""USearch, an index without storage."""

from pathlib import Path
from typing import Any

from akidb.bench.search.data import Condition, Documents, Floats
from akidb.bench.search.peers.base import EF_CONSTRUCTION, TOP_K, M, Search, Setting, efs
from akidb.bench.search.peers.columns import Columns

DTYPE = "bf16"
"""Half the memory of float32 at the same recall; 8-bit codes end at a recall of 0.96 on WordNet."""


class USearch:
    """An HNSW graph over vectors in bfloat16; it has no filters in Python."""

    name = "usearch"
    package = "usearch"
    stores = False
    note = f"index only; HNSW M={M} ef_construction={EF_CONSTRUCTION}, {DTYPE}"
    bulk = 10_000
    settings = efs(16, 24, 32, 48, 64, 96, 128, 192, 256, 512)

    def create(self, folder: Path, dimension: int) -> None:
        from usearch.index import Index

        self._file, self._columns = folder / "usearch", Columns(folder)
        self._index = Index(
            ndim=dimension, metric="cos", dtype=DTYPE, connectivity=M, expansion_add=EF_CONSTRUCTION
        )

    def open(self, folder: Path, dimension: int) -> None:
        from usearch.index import Index

        self._index = Index.restore(str(folder / "usearch"))
        self._columns = Columns(folder)

    def add(self, documents: Documents) -> None:
        import numpy as np

        numbers = np.arange(documents.first, documents.first + len(documents.vectors), dtype=np.uint64)
        self._index.add(numbers, documents.vectors)
        self._columns.add(documents)

    def ready(self) -> None:
        self._index.save(str(self._file))
        self._columns.save()

    def search(self, setting: Setting, condition: Condition | None = None) -> Search:
        if condition is not None:
            raise NotImplementedError("no filters")
        index = self._index
        index.expansion_search = setting.value

        def one(question: Floats) -> Any:
            return index.search(question, TOP_K)

        return one

    def numbers(self, answer: Any) -> list[int]:
        return [int(number) for number in answer.keys]

    def delete(self, condition: Condition) -> None:
        import numpy as np

        self._index.remove(np.flatnonzero(self._columns.matching(condition)))

    def close(self) -> None:
        self._index.reset()
