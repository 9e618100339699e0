"""Filters that were parsed are kept, and told apart by the types of their values."""

from datetime import date

import numpy as np
import pytest

from akidb.domain.errors import InvalidArgument
from akidb.domain.filters import Filter


def test_parsed_filters_are_kept_by_the_types_of_their_values() -> None:
    found = [Filter.parse({"n": value}).canonical for value in (1, 1.0, True, "1", 1, 1.0, True, "1")]
    assert found[:4] == found[4:]
    assert len(set(found)) == 4
    Filter.parse({"n": "2026-01-01"})
    with pytest.raises(InvalidArgument):
        Filter.parse({"n": date(2026, 1, 1)})
    with pytest.raises(InvalidArgument):
        Filter.parse({"n": b"1"})
    assert Filter.parse({"n": np.float64(1.5)}) == Filter.parse({"n": 1.5})
    assert Filter.parse({"n": np.int64(np.float64(1.5).view(np.int64))}) != Filter.parse({"n": 1.5})
