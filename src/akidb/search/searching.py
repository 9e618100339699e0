"""A search of one state of a collection: of its tail and of each segment, joined."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from akidb.domain.filters import Filter
from akidb.ports.search import Hit
from akidb.search.collection import State
from akidb.search.columns.matching import Matching
from akidb.search.filters import Mask
from akidb.search.parts import Allowance, Effort, PartFound, PartView
from akidb.search.scoring import Query

EXACT = "exact"
_PLANS = ("hnsw", "sq8")
"""The ways of a search that is not exact, in the order in which they name the plan."""


class Allowed(NamedTuple):
    """Which rows of a state a filter allows."""

    mask: Mask
    """Of the tail."""
    parts: Sequence[Allowance]


class Found(NamedTuple):
    """The best rows of a collection, best first."""

    hits: list[Hit]
    scanned: int
    allowed: int
    damaged: int
    plan: str = EXACT
    parts: Sequence[PartFound] = ()


def known(state: State, filter: Filter) -> Allowed | None:
    """Return which rows a filter allows, if that is known from another search."""
    mask = state.masks.get(filter)
    if mask is None:
        return None
    parts = []
    for part in state.parts:
        allowance = part.allowance(filter)
        if allowance is None:
            return None
        parts.append(allowance)
    return Allowed(mask, parts)


def allow(state: State, filter: Filter, matching: Matching) -> Allowed:
    """Return which rows a filter allows."""
    return Allowed(state.mask(filter, matching), [part.allow(filter, matching) for part in state.parts])


def search(state: State, query: Query, top_k: int, effort: Effort, allowed: Allowed | None) -> Found:
    """Return the best rows of the tail and of all segments. Raises SegmentDamaged."""
    of_tail = _search_tail(state, query, top_k, None if allowed is None else allowed.mask)
    if not state.parts:
        return of_tail
    hits, scanned, count = of_tail.hits, of_tail.scanned, of_tail.allowed
    found = []
    for at, part in enumerate(state.parts):
        some = part.best(query, top_k, effort, None if allowed is None else allowed.parts[at])
        found.append(some)
        scanned += some.looked_at
        count += some.allowed
        hits += _hits(part, some)
    hits.sort(key=_order)
    ways = {each.how for each in found}
    plan = next((way for way in _PLANS if way in ways), EXACT)
    return Found(hits[:top_k], scanned, count, state.damaged, plan, found)


def _search_tail(state: State, query: Query, top_k: int, mask: Mask | None) -> Found:
    view = state.view
    if not view.size:
        return Found([], 0, 0, state.damaged)
    allowed, allowed_count = view.alive, view.alive_count
    if mask is not None:
        allowed = mask if allowed is None else mask & allowed
        allowed_count = int(np.count_nonzero(allowed))
    positions, scores = view.best(query, top_k, allowed)
    ids, at = view.ids, positions.tolist()
    best = sorted(zip([-score for score in scores], [ids[each] for each in at], at, strict=True))[:top_k]
    chosen = [each for _score, _id, each in best]
    keys, sequences = view.keys[chosen].tolist(), view.sequences[chosen].tolist()
    hits = [
        Hit(key, sequence, id, -score)
        for key, sequence, (score, id, _at) in zip(keys, sequences, best, strict=True)
    ]
    return Found(hits, view.alive_count, allowed_count, state.damaged)


def _hits(part: PartView, found: PartFound) -> list[Hit]:
    segment, at = part.segment, found.positions
    columns = (segment.keys[at].tolist(), segment.sequences[at].tolist(), segment.ids.at(at), found.scores)
    return [Hit(*row) for row in zip(*columns, strict=True)]


def _order(hit: Hit) -> tuple[float, str]:
    return -hit.score, hit.id
