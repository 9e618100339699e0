"""Decides a condition once for each distinct value of a field, instead of once for each row."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from akidb.domain.field_values import MAX_CHARACTERS, as_value, is_cut
from akidb.domain.filters.matching import Test, leaf_test
from akidb.domain.filters.nodes import Compare, Contains, Empty, Equal, Exists, In, Leaf, Matches, Scalar
from akidb.ports.limits import Deadline
from akidb.search.columns.entries import Mask
from akidb.search.columns.tables import Table, as_mask
from akidb.search.columns.values import EMPTY, MISSING, UNREAD, special


class Decision(NamedTuple):
    """By code: whether its value passes, and whether only the row can tell (None: nowhere)."""

    passes: Mask
    undecided: Mask | None


class _Open:
    """A decision that is being made, by number: for a value itself, and for an element of a list."""

    def __init__(self, size: int) -> None:
        self.passes = np.zeros((size, 2), dtype=np.bool_)
        self.undecided = np.zeros((size, 2), dtype=np.bool_)

    def done(self) -> Decision:
        self.passes[MISSING] = self.undecided[MISSING] = False
        open_ = self.undecided.reshape(-1)
        return Decision(self.passes.reshape(-1), open_ if open_.any() else None)


def decide(
    leaf: Leaf, table: Table, wanted: Callable[[], Mask] | None = None, deadline: Deadline | None = None
) -> Decision:
    """Decide a leaf for all codes of a table.

    `wanted` returns the numbers that matter, where strings are compared one by one.
    """
    size = len(table)
    made = _Open(size)
    if isinstance(leaf, Exists):
        made.passes[:] = True
    elif isinstance(leaf, Empty):
        made.passes[EMPTY, 0] = True
    elif isinstance(leaf, Equal):
        _equal(made, table, leaf.operand, slice(None))
    elif isinstance(leaf, In):
        for operand in leaf.operands:
            _equal(made, table, operand, slice(None))
    elif isinstance(leaf, Compare):
        _compare(made, table, leaf)
    else:
        _strings(made, table, leaf, np.ones(size, dtype=np.bool_) if wanted is None else wanted(), deadline)
    return made.done()


def _equal(made: _Open, table: Table, operand: Scalar, sides: slice | int) -> None:
    """Mark the values, or only the elements of lists (`sides` is 1), that equal the operand."""
    if operand is None or isinstance(operand, bool):
        made.passes[special(operand), sides] = True
        return
    value = as_value(operand)
    number = table.find(value)
    if number and number < len(made.passes):
        (made.undecided if is_cut(value) else made.passes)[number, sides] = True
    if type(operand) is str and sides != 1:
        made.undecided[UNREAD] = True


def _compare(made: _Open, table: Table, leaf: Compare) -> None:
    value = as_value(leaf.operand)
    passes = table.compare(leaf.order, value)[: len(made.passes)]
    made.passes[: len(passes)] = passes[:, None]
    if type(value) is str:
        made.undecided[UNREAD] = True
        number = table.find(value) if is_cut(value) else 0
        if number and number < len(made.passes):
            made.passes[number], made.undecided[number] = False, True


def _strings(
    made: _Open, table: Table, leaf: Contains | Matches, wanted: Mask | None, deadline: Deadline | None
) -> None:
    """Decide a leaf that looks into strings."""
    test = leaf_test(leaf)
    if isinstance(leaf, Contains):
        if not leaf.ignore_case:
            _equal(made, table, leaf.operand, 1)
        if not isinstance(leaf.operand, str):
            return
        if len(leaf.operand) > MAX_CHARACTERS and not leaf.ignore_case:
            _only_cut(made, table, wanted)
            made.undecided[UNREAD] = True
            return
    made.undecided[UNREAD] = True
    for numbers, texts in table.texts(wanted):
        if deadline is not None:
            deadline.check()
        _decide_texts(made, numbers, texts, leaf, test)


def _decide_texts(
    made: _Open, numbers: list[int], texts: list[str], leaf: Contains | Matches, test: Test
) -> None:
    cut = [number for number, text in zip(numbers, texts, strict=True) if is_cut(text)]
    if isinstance(leaf, Matches):
        made.passes[numbers] = as_mask(list(map(test, texts)))[:, None]
        made.passes[cut], made.undecided[cut] = False, True
        return
    # What the beginning of a string contains it contains, also with case folded. CUT is in no operand.
    made.passes[numbers, 0] = as_mask(list(map(test, texts)))
    made.undecided[cut, 0] = ~made.passes[cut, 0]
    if leaf.ignore_case:
        made.passes[numbers, 1] = as_mask([test([text]) for text in texts])
        made.undecided[cut, 1] = True


def _only_cut(made: _Open, table: Table, wanted: Mask | None) -> None:
    """Leave open the strings that may contain an operand longer than those in memory."""
    for numbers, texts in table.texts(wanted):
        cut = [number for number, text in zip(numbers, texts, strict=True) if is_cut(text)]
        made.undecided[cut, 0] = True
