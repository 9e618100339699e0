"""Every float32 survives encoding with nine digits."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akidb.client.http.vectors import sendable, shortened
from akidb.domain.errors import InvalidArgument

FINITE = st.integers(0, 2**32 - 1).filter(lambda bits: (bits >> 23) & 0xFF != 0xFF)


@given(st.lists(FINITE, min_size=1, max_size=50))
def test_every_finite_float32_round_trips(bits: list[int]) -> None:
    vectors = np.array(bits, np.uint32).view(np.float32)
    read = np.array(msgspec.json.decode(msgspec.json.encode(shortened(vectors).tolist())), np.float32)
    # Bit by bit, so that minus zero stays minus zero.
    assert (read.view(np.uint32) == vectors.view(np.uint32)).all()


@pytest.mark.parametrize("dimension", [16, 384])
def test_unit_vectors_use_at_most_nine_digits(dimension: int) -> None:
    vector = np.random.default_rng(7).standard_normal(dimension).astype(np.float32)
    vector /= np.linalg.norm(vector)
    for number in sendable(vector, "vector"):
        assert len(repr(number).lstrip("-0.").partition("e")[0].replace(".", "")) <= 10


def test_vectors_of_any_number_type_and_layout_become_lists() -> None:
    table = np.arange(12, dtype=np.int64).reshape(3, 4)
    assert sendable(table[1], "vector") == [4, 5, 6, 7]
    assert sendable(table.astype(np.float16)[1, ::2], "vector") == [4, 6]
    assert sendable((1, 2.5), "vector") == [1, 2.5]
    assert sendable(list(table[0]), "vector") == [0, 1, 2, 3]
    assert sendable([1e38] * 30, "vector") == pytest.approx([1e38] * 30)


@pytest.mark.parametrize("fault", ["NaN", "infinity"])
@pytest.mark.parametrize("kind", [np.float32, np.float64, list])
def test_numbers_not_representable_in_json_are_rejected(fault: str, kind: Any) -> None:
    vector = [1.0, float(fault), 2.0]
    with pytest.raises(InvalidArgument, match=rf"^documents\[3\]\.vector: must not contain {fault}"):
        sendable(vector if kind is list else np.array(vector, kind), "documents[3].vector")
    with pytest.raises(InvalidArgument, match="numbers outside the range of float32"):
        sendable([1e308, 1e308], "vector")
