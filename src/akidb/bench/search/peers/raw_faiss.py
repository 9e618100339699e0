"""FAISS without anything around it: the limit of what an engine that uses it can reach."""

from pathlib import Path
from typing import Any

import numpy as np

from akidb.bench.search.data import Condition, Documents, Floats
from akidb.bench.search.peers.base import EF_CONSTRUCTION, TOP_K, M, Search, Setting, efs
from akidb.bench.search.peers.columns import Columns

CANDIDATES = 2
"""For each of the ten, how many candidates are scored again in float32."""


class RawFaiss:
    """An HNSW graph over 8-bit codes, its candidates scored again with the float32 vectors."""

    name = "faiss, raw"
    package = "faiss-cpu"
    stores = False
    note = f"index only; HNSW M={M} ef_construction={EF_CONSTRUCTION}, 8-bit, {CANDIDATES * TOP_K} rescored"
    bulk = 10_000
    settings = efs(16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024)

    def create(self, folder: Path, dimension: int) -> None:
        self._parts: list[Floats] = []
        self._file, self._columns = folder / "faiss", Columns(folder)

    def open(self, folder: Path, dimension: int) -> None:
        import faiss

        self._parts = []
        self._columns = Columns(folder)
        self._index = faiss.read_index(str(folder / "faiss"))

    def add(self, documents: Documents) -> None:
        self._parts.append(documents.vectors)
        self._columns.add(documents)

    def ready(self) -> None:
        import faiss

        rows = np.concatenate(self._parts)
        self._parts = []
        graph = faiss.IndexHNSWSQ(rows.shape[1], faiss.ScalarQuantizer.QT_8bit, M, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = EF_CONSTRUCTION
        self._graph = graph  # the refining index refers to it
        self._index = faiss.IndexRefineFlat(graph)
        self._index.train(rows)
        self._index.add(rows)
        faiss.write_index(self._index, str(self._file))
        self._columns.save()

    def search(self, setting: Setting, condition: Condition | None = None) -> Search:
        import faiss

        of_graph: dict[str, Any] = {"efSearch": setting.value}
        if condition is not None or self._columns.deleted:
            bits = np.packbits(self._columns.allowed(condition), bitorder="little")
            of_graph["sel"] = faiss.IDSelectorBitmap(bits)
        parameters = faiss.IndexRefineSearchParameters(
            k_factor=CANDIDATES, base_index_params=faiss.SearchParametersHNSW(**of_graph)
        )
        index, threads = self._index, faiss.omp_set_num_threads

        def one(question: Floats) -> Any:
            threads(1)  # of this thread: a parallel region costs more than a search
            return index.search(question[None], TOP_K, params=parameters)

        return one

    def numbers(self, answer: Any) -> list[int]:
        return [int(number) for number in answer[1][0] if number >= 0]

    def delete(self, condition: Condition) -> None:
        self._columns.deleted.append(condition)

    def close(self) -> None:
        self._parts = []
