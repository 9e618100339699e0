"""Every float32 survives the nine digits it is sent with."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akidb.client.http.vectors import json_numbers, shortened

FINITE = st.integers(0, 2**32 - 1).filter(lambda bits: (bits >> 23) & 0xFF != 0xFF)


@given(st.lists(FINITE, min_size=1, max_size=50))
def test_every_finite_float32_is_read_back_as_it_was(bits: list[int]) -> None:
    vectors = np.array(bits, np.uint32).view(np.float32)
    read = np.array(msgspec.json.decode(msgspec.json.encode(shortened(vectors).tolist())), np.float32)
    # Bit by bit, so that minus zero stays minus zero.
    assert (read.view(np.uint32) == vectors.view(np.uint32)).all()


@pytest.mark.parametrize("dimension", [16, 384])
def test_unit_vectors_take_no_more_than_nine_digits(dimension: int) -> None:
    vector = np.random.default_rng(7).standard_normal(dimension).astype(np.float32)
    vector /= np.linalg.norm(vector)
    for number in json_numbers(vector):
        assert len(repr(number).lstrip("-0.").partition("e")[0].replace(".", "")) <= 10


def test_arrays_of_any_number_type_and_layout_become_lists() -> None:
    table = np.arange(12, dtype=np.int64).reshape(3, 4)
    assert json_numbers(table) == table.tolist()
    assert json_numbers(table.astype(np.float16)[:, ::2]) == [[0, 2], [4, 6], [8, 10]]


def test_what_is_not_finite_stays() -> None:
    assert str(json_numbers(np.array([1, np.nan, np.inf]))) == "[1.0, nan, inf]"
    assert json_numbers(np.array([1e300])) == [1e300]
