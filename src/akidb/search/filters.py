"""Filters on rows that are read."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from akidb.domain.filters import Filter
from akidb.ports.documents import Row

Mask = NDArray[np.bool_]

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def matches(filter: Filter, row: Row) -> bool:
    """Return whether a row, read with its contents, matches."""
    return filter.matches(row.id, row.text, _decode(row.metadata))
