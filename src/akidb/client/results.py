"""Results that are lists with extra attributes. They never call the server."""

from collections.abc import Iterable
from typing import TypeVar

from akidb.domain.documents import Match, SearchStatistics

T = TypeVar("T")


class Page(list[T]):
    """A page of a list."""

    next_cursor: str | None
    """The `cursor` of the next page; None on the last."""

    def __init__(self, items: Iterable[T], next_cursor: str | None) -> None:
        super().__init__(items)
        self.next_cursor = next_cursor


class Matches(list[Match]):
    """The matches of a search, best first; equal scores are sorted by id."""

    statistics: SearchStatistics
    """How the search was executed."""

    def __init__(self, matches: Iterable[Match], statistics: SearchStatistics) -> None:
        super().__init__(matches)
        self.statistics = statistics
