"""Evaluates a filter over columns, in three values: a row passes, does not, or its contents must tell."""

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Final, NamedTuple, Protocol

import numpy as np

from akidb.domain.filters.matching import ORDERS, leaf_test
from akidb.domain.filters.nodes import ID, And, Compare, Contains, Equal, In, Leaf, Matches, Node, Not, Or
from akidb.ports.limits import Deadline
from akidb.search.columns.decisions import decide
from akidb.search.columns.entries import Entries, Mask, Positions
from akidb.search.columns.tables import CHUNK, GrowingTable, Table, as_mask

_IDS_CHECKED_EVERY: Final = 8192


class Column(NamedTuple):
    """The values of one field, as far as they are in memory."""

    table: Table
    entries: Entries
    loose: Positions
    """The rows of which only their contents tell; sorted."""

    @classmethod
    def of(cls, found: tuple[Table, Entries] | None, loose: Positions) -> "Column":
        """Return a column; an empty one where none was found."""
        table, entries = found or (GrowingTable(), Entries(np.empty(0, dtype=np.uint8)))
        return cls(table, entries, loose)

    def loose_in(self, count: int) -> Mask | None:
        """Return the loose rows among the first ones; None if there are none."""
        end = int(np.searchsorted(self.loose, count))
        if not end:
            return None
        mask = np.zeros(count, dtype=np.bool_)
        mask[self.loose[:end]] = True
        return mask


class Known(NamedTuple):
    """Which rows pass, and which must be read (None: none). What does not matter is arbitrary."""

    passes: Mask
    open: Mask | None


class _Ids(Protocol):
    @property
    def ids(self) -> Sequence[str]: ...


class Evaluation:
    """One filter over the first `count` rows of a part."""

    def __init__(
        self, column: Callable[[str], Column], count: int, documents: _Ids, deadline: Deadline | None
    ) -> None:
        self._column = column
        self._count = count
        self._documents = documents
        self._deadline = deadline

    def of(self, node: Node, live: Mask | None) -> Known:
        """Evaluate a tree; `live` are the rows that matter, all if it is None."""
        if isinstance(node, And):
            return self._all(node, live)
        if isinstance(node, Or):
            return self._any(node, live)
        if isinstance(node, Not):
            passes, open_ = self.of(node.part, live)
            return Known(~passes if open_ is None else ~(passes | open_), open_)
        if self._deadline is not None:
            self._deadline.check()
        return self._ids(node, live) if node.field.name == ID else self._leaf(node, live)

    def _all(self, node: And, live: Mask | None) -> Known:
        if not node.parts:
            return Known(np.ones(self._count, dtype=np.bool_), None)
        passes: Mask | None = None
        possible: Mask | None = None
        for part in sorted(node.parts, key=_cost):
            known = self.of(part, live)
            here = known.passes if known.open is None else known.passes | known.open
            passes = known.passes if passes is None else passes & known.passes
            possible = here if possible is None else possible & here
            live = here if live is None else live & here
            if not live.any():
                break
        assert passes is not None
        assert possible is not None
        return _known(passes, possible)

    def _any(self, node: Or, live: Mask | None) -> Known:
        passes = np.zeros(self._count, dtype=np.bool_)
        possible = passes
        for part in sorted(node.parts, key=_cost):
            known = self.of(part, live)
            passes = passes | known.passes
            possible = possible | (known.passes if known.open is None else known.passes | known.open)
            live = ~passes if live is None else live & ~passes
            if not live.any():
                break
        return _known(passes, possible)

    def _leaf(self, leaf: Leaf, live: Mask | None) -> Known:
        column = self._column(leaf.field.name)
        entries = column.entries.until(self._count)

        def wanted() -> Mask:
            size = len(column.table)
            numbers = np.zeros(size, dtype=np.bool_)
            numbers[(entries if live is None else entries.among(live)).codes >> 1] = True
            return numbers

        decision = decide(leaf, column.table, wanted, self._deadline)
        passes = entries.where(decision.passes, self._count)
        open_ = (
            None if decision.undecided is None else entries.where(decision.undecided, self._count) & ~passes
        )
        loose = column.loose_in(self._count)
        if loose is not None:
            passes &= ~loose
            open_ = loose if open_ is None else open_ | loose
        return Known(passes, open_)

    def _ids(self, leaf: Leaf, live: Mask | None) -> Known:
        passes = np.zeros(self._count, dtype=np.bool_)
        every = self._documents.ids
        chosen = None if live is None else np.flatnonzero(live[: self._count])
        total = self._count if chosen is None else len(chosen)
        step = CHUNK if isinstance(leaf, Matches | Contains) else _IDS_CHECKED_EVERY
        for start in range(0, total, step):
            if self._deadline is not None:
                self._deadline.check()
            if chosen is None:
                end = min(start + step, total)
                passes[start:end] = as_mask(_test_ids(leaf, every[start:end]))
            else:
                positions = chosen[start : start + step]
                passes[positions] = as_mask(_test_ids(leaf, [every[at] for at in positions.tolist()]))
        return Known(passes, None)


def _known(passes: Mask, possible: Mask) -> Known:
    open_ = possible & ~passes
    return Known(passes, open_ if open_.any() else None)


def _cost(node: Node) -> int:
    """Return about how much longer a part takes than a look into a table: the cheap ones come first."""
    if isinstance(node, And | Or):
        return max(map(_cost, node.parts), default=0)
    if isinstance(node, Not):
        return _cost(node.part)
    if isinstance(node, Matches):
        return 3
    return 2 if isinstance(node, Contains) else 1 if node.field.name == ID else 0


def _test_ids(leaf: Leaf, ids: Sequence[str]) -> list[bool]:
    if isinstance(leaf, Equal | In):
        operands = leaf.operands if isinstance(leaf, In) else (leaf.operand,)
        among = {operand for operand in operands if isinstance(operand, str)}
        return [id in among for id in ids]
    if isinstance(leaf, Compare) and isinstance(leaf.operand, str):
        return list(map(ORDERS[leaf.order], ids, repeat(leaf.operand)))
    return list(map(leaf_test(leaf), ids))
