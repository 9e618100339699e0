"""Which rows of a tail match the filters of recent searches."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from akidb.domain.filters import Filter
from akidb.ports.documents import Row

FILTERS_KEPT = 16

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Masks:
    """A mask for each filter, by position; it grows with the rows."""

    def __init__(self) -> None:
        self._masks: OrderedDict[Filter, NDArray[np.bool_]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._masks)

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        return sum(mask.nbytes for mask in list(self._masks.values()))

    def find(self, filter: Filter, count: int) -> NDArray[np.bool_] | None:
        """Return which of the first `count` rows match, if it is known."""
        mask = self._masks.get(filter)
        return None if mask is None or len(mask) < count else mask[:count]

    def add(self, filter: Filter, mask: NDArray[np.bool_]) -> None:
        """Keep the mask of a filter."""
        self._masks[filter] = mask
        if len(self._masks) > FILTERS_KEPT:
            self._masks.popitem(last=False)

    def drop_patterns(self) -> None:
        """Drop filters with regular expressions: comparing rows with these may take long."""
        for filter in [filter for filter in self._masks if filter.has_patterns]:
            del self._masks[filter]

    def append(self, rows: Sequence[Row]) -> None:
        """Compare further rows, which were read with their contents, with all filters."""
        if not self._masks:
            return
        contents = [(row.id, row.text, _decode(row.metadata)) for row in rows]
        for filter, mask in self._masks.items():
            more = np.fromiter((filter.matches(*each) for each in contents), np.bool_, len(contents))
            self._masks[filter] = np.concatenate([mask, more])

    def taken(self, kept: NDArray[np.intp]) -> "Masks":
        """Return the masks of the rows at these positions."""
        taken = Masks()
        taken._masks = OrderedDict((filter, mask[kept]) for filter, mask in self._masks.items())
        return taken


def matches(filter: Filter, row: Row) -> bool:
    """Return whether a row, read with its contents, matches."""
    return filter.matches(row.id, row.text, _decode(row.metadata))
