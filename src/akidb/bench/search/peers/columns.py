"""The metadata as columns, for an index that is given the allowed rows instead of a filter."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from akidb.bench.search.data import Condition, Documents


class Columns:
    """The metadata of all documents, and what was deleted."""

    def __init__(self, folder: Path) -> None:
        self.deleted: list[Condition] = []
        self._file = folder.with_suffix(".columns")
        self._rows: list[dict[str, Any]] = []

    def add(self, documents: Documents) -> None:
        """Append the metadata of more documents."""
        self._rows += documents.metadata

    def save(self) -> None:
        """Write them beside the folder of the index, whose size they are no part of."""
        self._file.write_bytes(msgspec.json.encode(self._rows))

    def allowed(self, condition: Condition | None) -> NDArray[np.bool_]:
        """Return the rows that fulfil a condition, if any, and are not deleted."""
        self._read()
        mask = np.ones(len(self._rows), np.bool_)
        for excluded in self.deleted:
            mask &= ~self.matching(excluded)
        return mask if condition is None else mask & self.matching(condition)

    def matching(self, condition: Condition) -> NDArray[np.bool_]:
        """Return the rows that fulfil a condition."""
        self._read()
        return condition.mask(self._columns(condition))

    def _read(self) -> None:
        if not self._rows:
            self._rows = msgspec.json.decode(self._file.read_bytes())

    def _columns(self, condition: Condition) -> dict[str, NDArray[Any]]:
        return {condition.field: np.array([row[condition.field] for row in self._rows])}
