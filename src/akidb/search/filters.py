"""The rows of a tail that match a filter: by columns of the metadata, which the first filter reads."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from akidb.domain.filters import Filter
from akidb.ports.documents import Row
from akidb.ports.limits import Deadline
from akidb.search.columns import Documents, GrowingColumns

MASKS_KEPT = 16

Mask = NDArray[np.bool_]

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class TailFilters:
    """The columns of a tail's rows by position, and the masks of recent filters."""

    def __init__(self) -> None:
        self.columns: GrowingColumns | None = None
        """None until a filter needs them."""
        self._lock = threading.Lock()
        self._masks: OrderedDict[Filter, Mask] = OrderedDict()

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        with self._lock:
            masks = sum(mask.nbytes for mask in self._masks.values())
        return masks + (0 if self.columns is None else self.columns.memory_bytes)

    def append(self, rows: Sequence[Row]) -> None:
        """Append rows, which were read with their contents if there are columns."""
        if self.columns is not None:
            self.columns.append((row.text, row.metadata) for row in rows)

    def find(self, filter: Filter, count: int) -> Mask | None:
        """Return which of the first `count` rows match, if it is known."""
        mask = self._masks.get(filter)
        return None if mask is None or len(mask) < count else mask[:count]

    def mask(
        self, filter: Filter, count: int, documents: Documents, among: Mask | None, deadline: Deadline | None
    ) -> Mask | None:
        """Return which of the first `count` rows match, of those in `among`; None if there are no columns."""
        if self.columns is None:
            return None
        mask = self.columns.mask(filter, count, documents, among=among, deadline=deadline)
        with self._lock:
            self._masks[filter] = mask
            self._masks.move_to_end(filter)
            if len(self._masks) > MASKS_KEPT:
                self._masks.popitem(last=False)
        return mask


def matches(filter: Filter, row: Row) -> bool:
    """Return whether a row, read with its contents, matches."""
    return filter.matches(row.id, row.text, _decode(row.metadata))
