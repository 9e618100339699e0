"""The masks of recent filters."""

import threading
from collections import OrderedDict
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb.search.columns.entries import Mask

MASK_BYTES: Final = 500
"""Of a kept mask beside its rows and its filter."""


class KeptMask(NamedTuple):
    """Which of the first rows match a filter."""

    content: Mask
    """Of rows that are current or not."""
    since: int
    """Of rows that ended up to this sequence some are unknown."""
    sequence: int
    """The last state that was asked for."""
    mask: Mask
    """Of rows that are current in that state."""


class Masks:
    """The masks of recent filters, by their canonical JSON. For any number of threads."""

    def __init__(self) -> None:
        self.memory_bytes = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, KeptMask] = OrderedDict()

    def find(self, filter: bytes) -> KeptMask | None:
        """Return the mask of a filter."""
        with self._lock:
            found = self._kept.get(filter)
            if found is not None:
                self._kept.move_to_end(filter)
            return found

    def keep(self, filter: bytes, mask: KeptMask, most_bytes: int) -> None:
        """Keep a mask, unless more rows are known, and those used last, all of them within `most_bytes`."""
        with self._lock:
            known = self._kept.get(filter)
            if known is not None and known.sequence > mask.sequence:
                return
            self._drop(filter)
            cost = _cost(filter, mask)
            if cost > most_bytes:
                return
            self._kept[filter] = mask
            self.memory_bytes += cost
            while self.memory_bytes > most_bytes:
                self._drop(next(iter(self._kept)))

    def only(self, rows: NDArray[np.intp]) -> "Masks":
        """Return the masks for some rows alone, in ascending order."""
        made = Masks()
        with self._lock:
            for filter, (content, *_) in self._kept.items():
                own = content[rows[: np.searchsorted(rows, len(content))]]
                made.keep(filter, KeptMask(own, 0, -1, own), self.memory_bytes)
        return made

    def _drop(self, filter: bytes) -> None:
        found = self._kept.pop(filter, None)
        if found is not None:
            self.memory_bytes -= _cost(filter, found)


def _cost(filter: bytes, mask: KeptMask) -> int:
    return 2 * mask.content.nbytes + len(filter) + MASK_BYTES
