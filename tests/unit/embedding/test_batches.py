"""Grouping texts into batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akidb.embedding.batches import plan


def test_texts_of_similar_length_are_batched_within_budget() -> None:
    assert plan([3, 9, 4, 10, 1], 20) == [[3, 1], [2, 0, 4]]


def test_text_over_budget_gets_its_own_batch() -> None:
    assert plan([50, 60], 20) == [[1], [0]]


@pytest.mark.parametrize("budget", [1, 512])
def test_no_texts_make_no_batches(budget: int) -> None:
    assert plan([], budget) == []


@given(st.lists(st.integers(0, 300)), st.integers(1, 2000))
def test_each_text_is_in_one_batch_and_shared_batches_fit_budget(lengths: list[int], budget: int) -> None:
    batches = plan(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget
