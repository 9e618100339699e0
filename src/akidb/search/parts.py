"""Segments as parts of a collection's index: which of their rows are current, and what a search finds."""

from collections import OrderedDict
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from akidb.domain.filters import Filter
from akidb.search.columns.matching import Matching
from akidb.search.filters import Mask
from akidb.search.scoring import Floats, Query, candidates, exact_scores, scan, squared_norms
from akidb.search.segments.graph import Allowed, Gathered
from akidb.search.segments.recall import candidates_for
from akidb.search.segments.segment import Segment

GATHER_BELOW: Final = 0.2
"""If a smaller share of the rows is allowed than this, their compressed vectors are scanned."""
FILTERS_KEPT: Final = 16
_WIDEST: Final = 0.25
"""A graph search that would look at a larger share of the rows than this is a scan instead."""

_WIDENED: Final = "widened: near the question little is allowed"

Positions = NDArray[np.int64]
T = TypeVar("T")


class Effort(NamedTuple):
    """How far to search in graphs."""

    recall: float
    """The share of the best rows to find, as measured for each segment."""
    ef: int | None = None
    """The number of candidates, instead of the one measured for this recall."""


class PartFound(NamedTuple):
    """What a search found in a segment."""

    positions: Positions
    """Of rows that may be among the best, in no order."""
    scores: list[float]
    """Exact."""
    how: str
    """`hnsw`, `sq8` for a scan of compressed vectors, `exact` for a scan of all allowed vectors."""
    looked_at: int
    """How many vectors were compared in a scan, or kept as candidates in a graph."""
    allowed: int
    why: str
    """Why it was searched so."""


class Allowance:
    """The rows of a segment that a search may find, prepared when searches need it."""

    __slots__ = ("_bitmap", "_gathered", "_segment", "count", "mask")

    def __init__(self, segment: Segment, mask: Mask) -> None:
        self.mask = mask
        self.count = int(np.count_nonzero(mask))
        self._segment = segment
        self._bitmap: Allowed | None = None
        self._gathered: Gathered | None = None

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        prepared = (self._bitmap, self._gathered)
        return self.mask.nbytes + sum(0 if each is None else each.memory_bytes for each in prepared)

    def bitmap(self) -> Allowed:
        """Return the rows for a search in the graph."""
        if self._bitmap is None:
            self._bitmap = Allowed(self.mask)
        return self._bitmap

    def gathered(self) -> Gathered:
        """Return a copy of the compressed vectors."""
        if self._gathered is None:
            assert self._segment.graph is not None
            self._gathered = self._segment.graph.gather(np.flatnonzero(self.mask))
        return self._gathered


def keep(kept: OrderedDict[Filter, T], filter: Filter, value: T) -> None:
    """Keep something for a filter, and forget the oldest if there is too much."""
    kept[filter] = value
    if len(kept) > FILTERS_KEPT:
        with suppress(KeyError):  # another thread was faster
            kept.popitem(last=False)


class PartView:
    """What a search sees of a segment. Which rows are alive does not change."""

    __slots__ = ("_all", "_by_filter", "_contents", "alive", "alive_count", "segment")

    def __init__(
        self, segment: Segment, alive: Mask, alive_count: int, contents: OrderedDict[Filter, Mask]
    ) -> None:
        """`contents` says which rows match recent filters, alive or not; views of a segment share it."""
        self.segment = segment
        self.alive = alive
        self.alive_count = alive_count
        self._all = None if alive_count == segment.count else Allowance(segment, alive)
        self._contents = contents
        self._by_filter: OrderedDict[Filter, Allowance] = OrderedDict()

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory, without the segment."""
        kept = [*self._by_filter.values()]
        own = 0 if self._all is None else self._all.memory_bytes
        return self.alive.nbytes + own + sum(each.memory_bytes for each in kept)

    def allowance(self, filter: Filter) -> Allowance | None:
        """Return what a filter allows, if that is known."""
        found = self._by_filter.get(filter)
        if found is None and (content := self._contents.get(filter)) is not None:
            found = Allowance(self.segment, content & self.alive)
            keep(self._by_filter, filter, found)
        return found

    def allow(self, filter: Filter, matching: Matching) -> Allowance:
        """Return what a filter allows, and keep which rows match it."""
        found = self.allowance(filter)
        if found is None:
            content = matching.of(self.segment.sequences)
            keep(self._contents, filter, content)
            found = Allowance(self.segment, content & self.alive)
            keep(self._by_filter, filter, found)
        return found

    def best(self, query: Query, top_k: int, effort: Effort, among: Allowance | None = None) -> PartFound:
        """Return rows that may be among the best `top_k`, of those that a filter allows.

        Raises SegmentDamaged.
        """
        segment, allowance = self.segment, among or self._all
        count = segment.count if allowance is None else allowance.count
        wanted = candidates_for(top_k)
        if count <= wanted:
            return self._all_of(query, allowance, count, "so few are allowed")
        ef = effort.ef or (None if effort.recall >= 1 else segment.ef_for(effort.recall, top_k))
        if ef is None or segment.graph is None:
            return self._scanned(query, top_k, allowance, count, "no graph reaches this recall")
        if max(ef, wanted) > _WIDEST * segment.count:
            return self._scanned(query, top_k, allowance, count, "a graph would lead to most of them")
        if allowance is not None and count < GATHER_BELOW * segment.count:
            return self._from_gathered(query, wanted, allowance, "less than a fifth is allowed")
        mask, bitmap = (None, None) if allowance is None else (allowance.mask, allowance.bitmap())
        positions, looked_at = segment.find(query, top_k, ef, mask, bitmap)
        if len(positions) < min(top_k, count) and allowance is not None:  # the graph did not lead to them
            return self._from_gathered(query, wanted, allowance, "the graph led to too few")
        scores = exact_scores(segment.vectors.read(positions), query)
        why = "near the question enough is allowed" if looked_at <= max(ef, wanted) else _WIDENED
        return PartFound(positions, scores, "hnsw", looked_at, count, why)

    def _from_gathered(self, query: Query, wanted: int, allowance: Allowance, why: str) -> PartFound:
        segment = self.segment
        assert segment.graph is not None
        positions, _ = allowance.gathered().search(segment.graph.prepare(query), wanted)
        scores = exact_scores(segment.vectors.read(positions), query)
        return PartFound(positions, scores, "sq8", allowance.count, allowance.count, why)

    def _all_of(self, query: Query, allowance: Allowance | None, count: int, why: str) -> PartFound:
        positions = np.arange(count) if allowance is None else np.flatnonzero(allowance.mask)
        if not count:
            return PartFound(positions, [], "exact", 0, 0, "nothing is allowed")
        scores = exact_scores(self.segment.vectors.read(positions), query)
        return PartFound(positions, scores, "exact", count, count, why)

    def _scanned(
        self, query: Query, top_k: int, allowance: Allowance | None, count: int, why: str
    ) -> PartFound:
        best, scores = np.empty(0, np.int64), np.empty(0)
        for start, rows in self.segment.vectors.chunks():
            mask = None if allowance is None else allowance.mask[start : start + len(rows)]
            chosen = _chosen(rows, mask, query, top_k)
            best = np.concatenate([best, chosen + start])
            scores = np.concatenate([scores, exact_scores(rows[chosen], query)])
            if len(best) > top_k:
                kept = scores >= np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
                best, scores = best[kept], scores[kept]
        return PartFound(best, scores.tolist(), "exact", self.segment.count, count, why)


def _chosen(rows: Floats, mask: Mask | None, query: Query, top_k: int) -> NDArray[np.intp]:
    """Return the positions of the rows that may be among the best of a chunk."""
    if mask is None:
        return candidates(*scan(rows, squared_norms(rows), query), top_k)
    among = np.flatnonzero(mask)
    rows = rows[among]
    return among[candidates(*scan(rows, squared_norms(rows), query), top_k)]


class Part:
    """A segment whose rows die one after the other. One thread at a time may change it."""

    def __init__(self, segment: Segment, alive: Mask) -> None:
        self.segment = segment
        self._alive = alive
        self._alive_count = int(np.count_nonzero(alive))
        self._view: PartView | None = None
        self._contents: OrderedDict[Filter, Mask] = OrderedDict()

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        own = self._alive.nbytes if self._view is None else self._view.memory_bytes
        return self.segment.memory_bytes + own + sum(mask.nbytes for mask in list(self._contents.values()))

    def remove(self, ids: list[str]) -> None:
        """Mark the rows of documents as dead."""
        at = self.segment.ids.positions(ids)
        at = at[at >= 0]
        at = at[self._alive[at]]
        if not len(at):
            return
        if self._view is not None:
            self._alive = self._alive.copy()
            self._view = None
        self._alive[at] = False
        self._alive_count = int(np.count_nonzero(self._alive))

    def view(self) -> PartView:
        """Return the current state for searches."""
        if self._view is None:
            self._view = PartView(self.segment, self._alive, self._alive_count, self._contents)
        return self._view
