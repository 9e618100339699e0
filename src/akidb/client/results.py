"""Answers that are lists and know something more. They hold what was found; they ask for nothing."""

from collections.abc import Iterable
from typing import TypeVar

from akidb.domain.documents import Match, SearchStatistics

T = TypeVar("T")


class Page(list[T]):
    """A part of a list."""

    next_cursor: str | None
    """Where the next part starts, to be given as `cursor`; None after the last."""

    def __init__(self, items: Iterable[T], next_cursor: str | None) -> None:
        super().__init__(items)
        self.next_cursor = next_cursor


class Matches(list[Match]):
    """What a search found, best first; equal scores in the order of their ids."""

    statistics: SearchStatistics
    """How the answer came about."""

    def __init__(self, matches: Iterable[Match], statistics: SearchStatistics) -> None:
        super().__init__(matches)
        self.statistics = statistics
