"""A scan with NumPy: what an index must beat."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb.bench.search.data import Condition, Documents, Floats
from akidb.bench.search.peers.base import TOP_K, Search, Setting
from akidb.bench.search.peers.columns import Columns


class Exact:
    """One matrix in memory."""

    name = "numpy, scan"
    package = "numpy"
    stores = False
    note = "index only; float32"
    bulk = 10_000
    settings: tuple[Setting, ...] = (Setting("exact", 0),)

    def create(self, folder: Path, dimension: int) -> None:
        self._parts: list[Floats] = []
        self._file, self._columns = folder / "matrix.npy", Columns(folder)

    def open(self, folder: Path, dimension: int) -> None:
        self._matrix: Floats = np.load(folder / "matrix.npy")
        self._parts = [self._matrix]
        self._columns = Columns(folder)

    def add(self, documents: Documents) -> None:
        self._parts.append(documents.vectors)
        self._columns.add(documents)

    def ready(self) -> None:
        self._matrix = np.concatenate(self._parts)
        self._parts = [self._matrix]
        np.save(self._file, self._matrix)
        self._columns.save()

    def search(self, setting: Setting, condition: Condition | None = None) -> Search:
        matrix, rows = self._matrix, None
        if condition is not None or self._columns.deleted:
            rows = np.flatnonzero(self._columns.allowed(condition))
            matrix = matrix[rows]

        def one(question: Floats) -> NDArray[np.int64]:
            scores = matrix @ question
            best = np.argpartition(-scores, min(TOP_K, len(scores)) - 1)[:TOP_K]
            best = best[np.argsort(-scores[best])]
            return best if rows is None else rows[best]

        return one

    def numbers(self, answer: Any) -> list[int]:
        found: list[int] = answer.tolist()
        return found

    def delete(self, condition: Condition) -> None:
        self._columns.deleted.append(condition)

    def close(self) -> None:
        self._parts = []
